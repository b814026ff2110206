"""Manifests: the origin of a record file, to decide whether it can be reused.

The manifest `<file>.manifest.json` holds the number of records, the settings that the file was
written with, and the digests of its inputs. While a file is replaced, its manifest says that it is
unfinished. So at any moment, even if the program is killed, a file of this program has a manifest
that is true of it, and a file without one was made by another program.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence

from absl import logging

from albert_tf.io import files, json_files, locks
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import FormatError, JsonObject, shown
from albert_tf.records.record_files import (
    RECORD_OVERHEAD,
    RecordFields,
    RecordValues,
    RecordWriter,
    check_first_record,
    count_records,
    serialize_example,
)

_DIGEST_LENGTH = 12
_FORMAT = 1
_UNFINISHED = json_files.versioned(_FORMAT, {"unfinished": True})


@dataclass(frozen=True)
class Origin:
    """Settings and inputs of a record file.

    Attributes:
      settings: values of the settings that the records depend on, by name.
      inputs: digests of the inputs, by name.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Short digest, for file names."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]

    def changes_since(self, earlier: Origin | None) -> list[str]:
        """Describe the settings and inputs that differ from an earlier origin, if it is known."""
        if earlier is None:
            return ["its origin is unknown"]
        changes = []
        for name in sorted({*self.settings, *earlier.settings}):
            was, now = earlier.settings.get(name), self.settings.get(name)
            if was != now:
                changes.append(f"{name} is now {now}, was {was}")
        for name in sorted({*self.inputs, *earlier.inputs}):
            if earlier.inputs.get(name) != self.inputs.get(name):
                changes.append(f"{name} has changed")
        return changes


@dataclass(frozen=True)
class Manifest:
    """Contents of a manifest.

    Attributes:
      num_records: number of records.
      bytes: size of the file in bytes.
      origin: settings and inputs of the records; None for a file written by another program.
      sampled_digest: `files.sampled_digest` of the file; None for that of another program.
      lengths: number of examples of each length in pieces, before they were cut; empty if unknown.
    """

    num_records: int
    bytes: int
    origin: Origin | None = None
    sampled_digest: str | None = None
    lengths: Mapping[int, int] = field(default_factory=dict)

    def differences(self, path: str) -> list[str]:
        """Describe how a file differs from the one that the manifest was written for."""
        size = Path(path).stat().st_size
        if size != self.bytes:
            return [f"its size is now {size} bytes, was {self.bytes}"]
        if self.sampled_digest != files.sampled_digest(path):
            return ["its content has changed"]
        return []


def manifest_path(path: str) -> Path:
    """Path of the manifest of a record file."""
    return Path(f"{path}{files.MANIFEST_SUFFIX}")


@contextmanager
def record_writer(path: str, origin: Origin) -> Iterator[RecordWriter]:
    """Write a record file, with its manifest; see `record_writers`."""
    with record_writers([path], origin) as (writer,):
        yield writer


@contextmanager
def record_writers(paths: Sequence[str], origin: Origin) -> Iterator[list[RecordWriter]]:
    """Write record files that belong together, with their manifests.

    If another process has written the same files in the meantime, its files are kept.

    Args:
      paths: paths of the record files.
      origin: settings and inputs of the records.

    Yields:
      A `RecordWriter` per path. The files appear when the block ends without an error.

    Raises:
      InputError: if another process is reading files that would be replaced.
    """
    with contextlib.ExitStack() as stack:
        temporaries = [stack.enter_context(files.temporary_file(path)) for path in paths]
        writers = [RecordWriter(temporary) for temporary in temporaries]
        try:
            yield writers
        finally:
            for writer in writers:
                writer.close()
        for temporary, path in zip(temporaries, paths):
            with files.named_in_errors(path):
                files.flush(temporary)
        _publish(paths, temporaries, writers, origin)


def _publish(
    paths: Sequence[str],
    temporaries: Sequence[Path],
    writers: Sequence[RecordWriter],
    origin: Origin,
) -> None:
    """Put finished record files and their manifests in place of older ones."""
    with contextlib.ExitStack() as stack:
        for path in sorted(paths):
            stack.enter_context(_only_publisher(Path(path)))
        if is_made(paths, origin):
            return
        for path in paths:
            stack.enter_context(locks.replacing(Path(path)))
        made = [
            Manifest(
                writer.num_records,
                temporary.stat().st_size,
                origin,
                files.sampled_digest(temporary),
                writer.lengths,
            )
            for temporary, writer in zip(temporaries, writers)
        ]
        for path in paths:
            files.write_json(manifest_path(path), _UNFINISHED)
        for temporary, path in zip(temporaries, paths):
            temporary.replace(path)
        for path, manifest in zip(paths, made):
            _write(path, manifest)


@contextmanager
def _only_publisher(path: Path) -> Iterator[None]:
    """Exclude other processes from publishing a file, if the file system supports locks."""
    try:
        lock = locks.Lock(path.with_name(f"{path.name}{files.PUBLISHING_SUFFIX}"), waits=True)
    except OSError as error:
        if not locks.is_unsupported(error):
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _write(path: str, manifest: Manifest) -> None:
    assert manifest.origin is not None
    values = {
        "records": manifest.num_records,
        "bytes": manifest.bytes,
        "sampled_digest": manifest.sampled_digest,
        **asdict(manifest.origin),
    }
    if manifest.lengths:
        values["lengths"] = {str(n): manifest.lengths[n] for n in sorted(manifest.lengths)}
    files.write_json(manifest_path(path), json_files.versioned(_FORMAT, values))


def write_manifest(path: str, num_records: int, origin: Origin) -> None:
    """Write the manifest of a finished file.

    Args:
      path: path of the file.
      num_records: number of records.
      origin: settings and inputs of the records.
    """
    size, digest = Path(path).stat().st_size, files.sampled_digest(path)
    _write(path, Manifest(num_records, size, origin, digest))


def write_records(path: str, origin: Origin, rows: Iterable[RecordValues]) -> int:
    """Write a record file and its manifest.

    Args:
      path: path of the record file.
      origin: settings and inputs of the records.
      rows: values of each record.

    Returns:
      Number of records.
    """
    with record_writer(path, origin) as writer:
        for values in rows:
            writer.write(serialize_example(values))
    logging.info("%s: wrote %d records", path, writer.num_records)
    return writer.num_records


def usable_manifest(
    path: str, origin: Origin, fields: RecordFields | None = None
) -> Manifest | None:
    """Read the manifest of a record file if the file can be reused; otherwise log the reason.

    Args:
      path: path of the record file.
      origin: settings and inputs of this run.
      fields: fields of a record, to check the first record of a file without a manifest, which
        another program wrote. Without `fields`, such a file is rejected.

    Returns:
      The manifest; None if the file does not exist, is unfinished or has another origin, and must
      be rebuilt.

    Raises:
      InputError: if a file without a manifest is truncated or does not match the run.
    """
    if not Path(path).exists():
        return None
    if is_foreign(path):
        return _manifest_of_foreign_file(path, fields)
    try:
        manifest = _read_manifest(path)
    except FormatError as error:
        logging.info("%s: rebuilding because its manifest is of another version: %s", path, error)
        return None
    if manifest is None:
        logging.info("%s: rebuilding because the run that was writing it was killed", path)
        return None
    changes = origin.changes_since(manifest.origin) + manifest.differences(path)
    if changes:
        logging.info("%s: rebuilding because %s", path, "; ".join(changes))
        return None
    for file in (path, manifest_path(path)):
        files.remove_leftovers(file)
    logging.info("%s: reusing %d records", path, manifest.num_records)
    return manifest


def is_foreign(path: str) -> bool:
    """Whether a file was not written by this program: it has no manifest."""
    return Path(path).exists() and not manifest_path(path).exists()


def check_own(path: str) -> None:
    """Check that a file, if it exists, was written by this program.

    Raises:
      InputError: if it was not.
    """
    if is_foreign(path):
        raise _foreign_error(path)


def _foreign_error(path: str) -> InputError:
    return InputError(
        f"{path}: no manifest next to it, so it was not written by this program; choose another "
        "path, or remove the file to rebuild it"
    )


def is_made(paths: Sequence[str], origin: Origin) -> bool:
    """Whether record files exist that this program has made with an origin."""
    for path in paths:
        if not (Path(path).exists() and manifest_path(path).exists()):
            return False
        try:
            manifest = _read_manifest(path)
        except FormatError:
            return False
        if manifest is None or origin.changes_since(manifest.origin) or manifest.differences(path):
            return False
    return True


def checked_manifest(path: str, fields: RecordFields) -> Manifest:
    """Read the manifest of an input file and check the file against it.

    Without a manifest, the records of the file are counted.

    Args:
      path: path of the record file.
      fields: fields of a record, to check the first record.

    Raises:
      InputError: if the file is unfinished or truncated, or does not match the run.
    """
    if is_foreign(path):
        return _manifest_of_foreign_file(path, fields)
    manifest = _read_manifest(path)
    if manifest is None:
        raise InputError(
            f"{path}: unfinished, because the run that was writing it was killed; make it again "
            "with the same command"
        )
    differences = manifest.differences(path)
    if differences:
        raise InputError(
            f"{path}: {differences[0]}, says {manifest_path(path).name}; copy both again, or "
            "remove both and rebuild the file"
        )
    check_first_record(path, fields)
    return manifest


def _read_manifest(path: str) -> Manifest | None:
    """Read a manifest; None if its file is unfinished. `FormatError` for another version's."""
    remedy = f"remove it and {path} to rebuild both"
    manifest = json_files.read(manifest_path(path), "the manifest", remedy)
    manifest.check_format(_FORMAT)
    if manifest.values == _UNFINISHED:
        return None
    inputs = manifest.child("inputs")
    origin = Origin(
        manifest.child("settings").values, {name: inputs.text(name) for name in inputs.values}
    )
    digest = manifest.text("sampled_digest")
    size = manifest.integer("bytes", 0)
    num_records = manifest.integer("records", 0, size // RECORD_OVERHEAD)
    return Manifest(num_records, size, origin, digest, _lengths_in(manifest))


def _lengths_in(manifest: JsonObject) -> dict[int, int]:
    """Number of examples of each length, if the manifest tells."""
    if "lengths" not in manifest:
        return {}
    lengths = manifest.child("lengths")
    wrong = [name for name in lengths.values if not re.fullmatch("[0-9]{1,9}", name)]
    if wrong:
        raise lengths.error(f"lengths has {shown(wrong[0])}, which is no length")
    return {int(name): lengths.integer(name, 0) for name in lengths.values}


def _manifest_of_foreign_file(path: str, fields: RecordFields | None) -> Manifest:
    """Check the first record of a file without a manifest, and count its records."""
    if fields is None:
        raise _foreign_error(path)
    num_records = count_records(path)
    check_first_record(path, fields)
    logging.warning(
        "%s: no manifest, but the first record matches; using %d records. Nothing tells which "
        "inputs and settings they were made with: remove the file to make them anew",
        path,
        num_records,
    )
    return Manifest(num_records, Path(path).stat().st_size)

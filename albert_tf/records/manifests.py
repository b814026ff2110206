"""Manifests: the origin of a record file, by which it is reused, or made again.

The manifest `<file>.manifest.json` holds the number of records, the settings that the file was
written with, and the digests of its inputs and of the file. It appears before its file does, so a
file of this program that fits its manifest is whole, and a file without one was made by another
program.
"""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from absl import logging

from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError
from albert_tf.records.record_files import (
    RECORD_OVERHEAD,
    RecordFields,
    RecordWriter,
    check_first_record,
    count_records,
)

_FORMAT = 1


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
        return json_files.short_digest(asdict(self))

    def changes_since(self, earlier: Origin) -> list[str]:
        """Describe the settings and inputs that differ from those of an earlier file."""
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
    """Content of a manifest.

    Attributes:
      num_records: number of records.
      origin: settings and inputs of the records.
      difference: how the file differs from the one that the manifest was written for; None if it
        does not.
    """

    num_records: int
    origin: Origin
    difference: str | None


def manifest_path(path: str) -> Path:
    """Path of the manifest of a record file."""
    return Path(f"{path}{files.MANIFEST_SUFFIX}")


def is_foreign(path: str) -> bool:
    """Whether a file was not written by this program: it has no manifest."""
    return Path(path).exists() and not manifest_path(path).exists()


def check_own(path: str) -> None:
    """Check that a file, if it exists, was written by this program.

    Raises:
      InputError: if it was not.
    """
    if is_foreign(path):
        raise InputError(
            f"{path}: no manifest next to it, so it was not written by this program; choose "
            "another path, or remove the file to rebuild it"
        )


@contextmanager
def record_writers(paths: Sequence[str], origin: Origin) -> Iterator[list[RecordWriter]]:
    """Write record files that belong together, with their manifests.

    Args:
      paths: paths of the record files.
      origin: settings and inputs of the records.

    Yields:
      A `RecordWriter` per path. The files appear when the block ends without an error.
    """
    with contextlib.ExitStack() as stack:
        temporaries = [stack.enter_context(files.atomic_file(path)) for path in paths]
        writers = [RecordWriter(temporary) for temporary in temporaries]
        try:
            yield writers
        finally:
            for writer in writers:
                writer.close()
        for path, temporary, writer in zip(paths, temporaries, writers):
            values = {
                "records": writer.num_records,
                "bytes": temporary.stat().st_size,
                "sampled_digest": files.sampled_digest(temporary),
                **asdict(origin),
            }
            files.write_json(manifest_path(path), json_files.versioned(_FORMAT, values))


def usable_manifest(path: str, origin: Origin) -> Manifest | None:
    """Read the manifest of a record file if the file can be reused; otherwise log the reason.

    What killed processes have left of the file or its manifest is removed.

    Args:
      path: path of the record file.
      origin: settings and inputs of this run.

    Returns:
      The manifest; None if there is no file of this program, or one that must be made again.
    """
    for unfinished in (path, manifest_path(path)):
        files.remove_leftovers(unfinished)
    if not Path(path).exists() or is_foreign(path):
        return None
    try:
        manifest = _read(path)
    except InputError as error:
        logging.info("%s: rebuilding because its manifest cannot be read: %s", path, error)
        return None
    changes = origin.changes_since(manifest.origin)
    if changes or manifest.difference:
        reason = "; ".join(changes) or manifest.difference
        logging.info("%s: rebuilding because %s", path, reason)
        return None
    logging.info("%s: reusing %d records", path, manifest.num_records)
    return manifest


def is_made(path: str, origin: Origin) -> bool:
    """Whether a record file can be reused, so that it is not to be written; see above."""
    try:
        manifest = _read(path)
        return manifest.origin == origin and manifest.difference is None
    except (InputError, FileNotFoundError):
        return False


def checked_count(path: str, fields: RecordFields) -> tuple[int, Origin | None]:
    """Check an input file against its manifest, and count its records.

    Args:
      path: path of the record file.
      fields: fields of a record, to check the first record.

    Returns:
      Number of records, and their origin; None for a file of another program.

    Raises:
      InputError: if the file is truncated, or does not match its manifest or the run.
    """
    if is_foreign(path):
        num_records = count_records(path)
        check_first_record(path, fields)
        logging.warning(
            "%s: no manifest, but the first record matches; using %d records. Nothing tells which "
            "inputs and settings they were made with: remove the file to make them anew",
            path,
            num_records,
        )
        return num_records, None
    manifest = _read(path)
    if manifest.difference:
        raise InputError(
            f"{path}: {manifest.difference}, says {manifest_path(path).name}; copy both again, or "
            "remove both and rebuild the file"
        )
    check_first_record(path, fields)
    return manifest.num_records, manifest.origin


def _read(path: str) -> Manifest:
    remedy = f"remove it and {path} to rebuild both"
    manifest = json_files.read(manifest_path(path), "the manifest", remedy, _FORMAT)
    settings, inputs = manifest.child("settings"), manifest.child("inputs")
    origin = Origin(settings.values, {name: inputs.text(name) for name in inputs.values})
    size, sampled_digest = manifest.integer("bytes", 0), manifest.text("sampled_digest")
    num_records = manifest.integer("records", 0, size // RECORD_OVERHEAD)
    found = Path(path).stat().st_size
    difference = None
    if found != size:
        difference = f"its size is now {found} bytes, was {size}"
    elif sampled_digest != files.sampled_digest(path):
        difference = "its content has changed"
    return Manifest(num_records, origin, difference)

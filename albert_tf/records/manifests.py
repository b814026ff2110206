"""Manifests: what made a record file, and whether it can be used again.

The manifest `<file>.manifest.json` holds the number of records, and the settings and the digests of
the inputs that made the file.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

from absl import logging

from albert_tf import files
from albert_tf.errors import InputError
from albert_tf.records.record_files import (
    RecordFields,
    RecordValues,
    RecordWriter,
    check_first_record,
    count_records,
    serialize_example,
)


@dataclass(frozen=True)
class Origin:
    """Settings and inputs that a record file is made from.

    Attributes:
      settings: settings that the records depend on, by name.
      inputs: digests of the input files, by name.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    def changes_since(self, earlier: Origin) -> list[str]:
        """Settings and inputs that differ from an earlier origin, in words."""
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
    """Facts about a record file.

    Attributes:
      num_records: number of records.
      bytes: size of the file.
      origin: settings and inputs that made it; None of a file that another program has made.
    """

    num_records: int
    bytes: int
    origin: Origin | None = None


def manifest_path(path: str) -> Path:
    """Path of the manifest of a record file."""
    return Path(f"{path}{files.MANIFEST_SUFFIX}")


@contextmanager
def record_writer(path: str, origin: Origin) -> Iterator[RecordWriter]:
    """Yield a `RecordWriter`; file and manifest appear when the block ends without error.

    Args:
      path: path of the record file.
      origin: settings and inputs of the records.
    """
    manifest_path(path).unlink(missing_ok=True)
    with files.atomic_file(path) as temporary:
        writer = RecordWriter(temporary)
        try:
            yield writer
        finally:
            writer.close()
    write_manifest(path, writer.num_records, origin)


def write_manifest(path: str, num_records: int, origin: Origin) -> None:
    """Write the manifest of a file that has just been made."""
    manifest = {
        "records": num_records,
        "bytes": Path(path).stat().st_size,
        **asdict(origin),
    }
    files.write_json(manifest_path(path), manifest)


def write_records(path: str, origin: Origin, rows: Iterable[RecordValues]) -> int:
    """Write a record file and its manifest.

    Args:
      path: path of the record file.
      origin: settings and inputs of the records.
      rows: values of the records.

    Returns:
      The number of records.
    """
    with record_writer(path, origin) as writer:
        for values in rows:
            writer.write(serialize_example(values))
    logging.info("%s has been made: %d records", path, writer.num_records)
    return writer.num_records


def usable_manifest(
    path: str, origin: Origin, fields: RecordFields | None = None
) -> Manifest | None:
    """Tell whether a record file can be used as it is, and log why not.

    Args:
      path: path of the record file.
      origin: settings and inputs that this run would make it from.
      fields: a record's fields; the first record of a file without a manifest, made by another
        program, is checked against them. Without fields such a file is refused.

    Returns:
      The manifest; None if there is no such file, or it has another origin and is to be made again.

    Raises:
      InputError: if a file without a manifest is truncated or does not fit the run.
    """
    if not Path(path).exists():
        return None
    if not manifest_path(path).exists():
        return _manifest_of_foreign_file(path, fields)
    manifest = _read_manifest(path)
    changes = origin.changes_since(manifest.origin)
    size = Path(path).stat().st_size
    if size != manifest.bytes:
        changes.append(f"its size is {size} bytes, was {manifest.bytes}")
    if changes:
        logging.info("%s is made again: %s", path, "; ".join(changes))
        return None
    logging.info("%s is used again: %d records", path, manifest.num_records)
    return manifest


def checked_manifest(path: str, fields: RecordFields) -> Manifest:
    """The manifest of a file that a run reads and does not make; counts the records of a file that
    has none.

    Args:
      path: path of the record file.
      fields: a record's fields; the first record is checked against them.

    Raises:
      InputError: if the file is truncated or does not fit the run.
    """
    if not manifest_path(path).exists():
        return _manifest_of_foreign_file(path, fields)
    manifest, size = _read_manifest(path), Path(path).stat().st_size
    if size != manifest.bytes:
        raise InputError(
            f"{path}: its size is {size} bytes, but {manifest_path(path).name} says "
            f"{manifest.bytes}: copy both again, or remove both and make the file again"
        )
    check_first_record(path, fields)
    return manifest


def _read_manifest(path):
    try:
        values = json.loads(manifest_path(path).read_text(encoding="utf-8"))
        origin = Origin(values["settings"], values["inputs"])
        return Manifest(values["records"], values["bytes"], origin)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{manifest_path(path)}: not a manifest ({error}); remove it and {path}, and both are "
            "made again"
        ) from error


def _manifest_of_foreign_file(path, fields):
    """Check the first record of a file that came without a manifest, and count its records."""
    if fields is None:
        raise InputError(
            f"{path}: there is no manifest beside it, so it was not made by this program; give "
            "another path or remove it, and it is made again"
        )
    num_records = count_records(path)
    check_first_record(path, fields)
    logging.info("%s has no manifest; its first record fits: %d records", path, num_records)
    return Manifest(num_records, Path(path).stat().st_size)

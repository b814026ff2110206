"""Manifests: the origin of a record file, to decide whether it can be reused.

The manifest `<file>.manifest.json` holds the number of records, the settings that the file was
written with, and the digests of its inputs.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

from absl import logging

from albert_tf import files, json_files
from albert_tf.bounds import Bounds
from albert_tf.errors import InputError
from albert_tf.records.record_files import (
    RecordFields,
    RecordValues,
    RecordWriter,
    check_first_record,
    count_records,
    serialize_example,
)

_COUNT = Bounds(is_whole=True, lower=0)


@dataclass(frozen=True)
class Origin:
    """Settings and inputs of a record file.

    Attributes:
      settings: values of the settings that the records depend on, by name.
      inputs: digests of the inputs, by name.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    def changes_since(self, earlier: Origin) -> list[str]:
        """Describe the settings and inputs that differ from an earlier origin."""
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
    """

    num_records: int
    bytes: int
    origin: Origin | None = None


def manifest_path(path: str) -> Path:
    """Path of the manifest of a record file."""
    return Path(f"{path}{files.MANIFEST_SUFFIX}")


@contextmanager
def record_writer(path: str, origin: Origin) -> Iterator[RecordWriter]:
    """Write a record file atomically, with its manifest.

    Args:
      path: path of the record file.
      origin: settings and inputs of the records.

    Yields:
      A `RecordWriter`. The files appear when the block ends without an error.
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
    """Write the manifest of a finished record file.

    Args:
      path: path of the record file.
      num_records: number of records.
      origin: settings and inputs of the records.
    """
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
      The manifest; None if the file does not exist or has another origin and must be rebuilt.

    Raises:
      InputError: if a file without a manifest is truncated or does not match the run.
    """
    if not Path(path).exists():
        return None
    if not manifest_path(path).exists():
        return _manifest_of_foreign_file(path, fields)
    manifest = _read_manifest(path)
    changes = origin.changes_since(manifest.origin)
    size = Path(path).stat().st_size
    if size != manifest.bytes:
        changes.append(f"its size is now {size} bytes, was {manifest.bytes}")
    if changes:
        logging.info("%s: rebuilding because %s", path, "; ".join(changes))
        return None
    logging.info("%s: reusing %d records", path, manifest.num_records)
    return manifest


def checked_manifest(path: str, fields: RecordFields) -> Manifest:
    """Read the manifest of an input file and check the file against it.

    Without a manifest, the records of the file are counted.

    Args:
      path: path of the record file.
      fields: fields of a record, to check the first record.

    Raises:
      InputError: if the file is truncated or does not match the run.
    """
    if not manifest_path(path).exists():
        return _manifest_of_foreign_file(path, fields)
    manifest, size = _read_manifest(path), Path(path).stat().st_size
    if size != manifest.bytes:
        raise InputError(
            f"{path}: its size is {size} bytes, but {manifest_path(path).name} says "
            f"{manifest.bytes}; copy both again, or remove both and rebuild the file"
        )
    check_first_record(path, fields)
    return manifest


def _read_manifest(path):
    remedy = f"remove it and {path} to rebuild both"
    manifest = json_files.read(manifest_path(path), "the manifest", remedy)
    inputs = manifest.object("inputs")
    origin = Origin(
        manifest.object("settings").values, {name: inputs.text(name) for name in inputs.values}
    )
    return Manifest(manifest.number("records", _COUNT), manifest.number("bytes", _COUNT), origin)


def _manifest_of_foreign_file(path, fields):
    """Check the first record of a file without a manifest, and count its records."""
    if fields is None:
        raise InputError(
            f"{path}: no manifest next to it, so it was not written by this program; choose "
            "another path, or remove the file to rebuild it"
        )
    num_records = count_records(path)
    check_first_record(path, fields)
    logging.info(
        "%s: no manifest, but the first record matches; using %d records", path, num_records
    )
    return Manifest(num_records, Path(path).stat().st_size)

"""TFRecord files with a manifest beside each.

The manifest `<file>.manifest.json` tells how many records the file holds, and the settings and the
digests of the inputs that made it. It decides whether a file can be used again.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import os
import re
import shutil
import struct
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.errors import InputError

_READ_BLOCK = 1 << 20  # bytes

FeatureSpec = Mapping[str, tf.io.FixedLenFeature]
RecordValues = Mapping[str, "Sequence[int] | Sequence[float]"]


@dataclass(frozen=True)
class Manifest:
    """What is known of a record file.

    Attributes:
      records: number of records.
      bytes: size of the file.
      settings: what the records depend on beside the inputs, by name.
      inputs: digests of the files they were made from, by name.
    """

    records: int
    bytes: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def is_foreign(self) -> bool:
        """Whether the file came without a manifest: another program has made it."""
        return not self.settings

    def differences(self, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
        """What settings and inputs differ in from those of the file, in words."""
        changes = []
        for name in sorted({*settings, *self.settings}):
            was, now = self.settings.get(name), settings.get(name)
            if was != now:
                changes.append(f"{name} is now {now}, was {was}")
        for name in sorted({*inputs, *self.inputs}):
            if self.inputs.get(name) != inputs.get(name):
                changes.append(f"{name} has changed")
        return changes


def manifest_path(path: str) -> Path:
    """Where the manifest of a record file is."""
    return Path(f"{path}.manifest.json")


def is_companion(path: str) -> bool:
    """Whether a file is a manifest, or one that is still being written."""
    return bool(re.search(r"(\.manifest\.json|\.tmp-\d+)$", path))


def digest(path: str) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    sha256 = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(_READ_BLOCK), b""):
            sha256.update(block)
    return sha256.hexdigest()


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Lets a file appear whole or not at all.

    Yields the path of a temporary file beside it, which becomes `path` when the block ends, and is
    removed if the block fails. Those of processes that were killed are removed first.
    """
    path = Path(path)
    temporary = _temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        _remove(temporary)


@contextmanager
def whole_directory(path: str | Path) -> Iterator[Path]:
    """Lets a directory appear with all of its files or not at all.

    Yields the path of a new directory beside it, which becomes `path` when the block ends, and is
    removed if the block fails.

    Raises:
      InputError: if there is something at `path` already.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: it exists already; remove it or give another path")
    temporary = _temporary_path(path)
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(path)
    finally:
        _remove(temporary)


def _temporary_path(path):
    """Where this process prepares a file or directory; what killed processes left is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
        if not _is_running(int(leftover.name.rpartition("-")[2])):
            _remove(leftover)
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def _remove(path):
    """Removes a file, or a directory with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_running(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def write_json(path: str | Path, value: Any, indent: int | None = 4) -> None:
    """Writes a value as JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


class RecordWriter:
    """Writes records to a file and counts them."""

    def __init__(self, path: str | Path):
        """Opens the file."""
        self.records = 0
        self._writer = tf.io.TFRecordWriter(str(path))

    def write(self, record: bytes) -> None:
        """Appends a record."""
        self._writer.write(record)
        self.records += 1

    def close(self) -> None:
        """Writes out what is buffered and closes the file."""
        self._writer.close()


@contextmanager
def record_writer(
    path: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Iterator[RecordWriter]:
    """Yields a `RecordWriter`; the file and its manifest appear when the block ends without error.

    Args:
      path: path of the record file.
      settings: what the records depend on beside the inputs, by name.
      inputs: digests of the files that the records are made from, by name.
    """
    manifest_path(path).unlink(missing_ok=True)
    with whole_file(path) as temporary:
        writer = RecordWriter(temporary)
        try:
            yield writer
        finally:
            writer.close()
    write_manifest(path, writer.records, settings, inputs)


def write_manifest(
    path: str, records: int, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> None:
    """Writes the manifest of a file that has just been made; the arguments are its attributes."""
    manifest = Manifest(records, Path(path).stat().st_size, settings, inputs)
    write_json(manifest_path(path), asdict(manifest))


def make_records(
    path: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    feature_spec: FeatureSpec,
    rows: Callable[[], Iterable[RecordValues]],
) -> int:
    """Makes a record file, if there is none that can be used as it is; the number of its records.

    Args:
      path: path of the record file.
      settings: what the records depend on beside the inputs, by name.
      inputs: digests of the files that the records are made from, by name.
      feature_spec: what a record holds.
      rows: returns the values of the records; called only if the file is made.

    Raises:
      InputError: if a file without a manifest is truncated or does not fit the run.
    """
    manifest = usable_manifest(path, settings, inputs, feature_spec)
    return manifest.records if manifest else write_records(path, settings, inputs, rows())


def write_records(
    path: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    rows: Iterable[RecordValues],
) -> int:
    """Writes a record file and its manifest; the number of its records.

    The arguments are those of `make_records`, but for `rows`: the values of the records.
    """
    with record_writer(path, settings, inputs) as writer:
        for values in rows:
            writer.write(serialize_example(values))
    logging.info("%s has been made: %d records", path, writer.records)
    return writer.records


def serialize_example(features: RecordValues) -> bytes:
    """A `tf.train.Example` of lists of ints, or of floats, by name."""
    example = tf.train.Example()
    for name, values in features.items():
        feature = example.features.feature[name]
        if isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return example.SerializeToString(deterministic=True)


def usable_manifest(
    path: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    feature_spec: FeatureSpec | None = None,
) -> Manifest | None:
    """Tells whether a record file can be used as it is, and logs why not.

    Args:
      path: path of the record file.
      settings: what the records of this run depend on beside the inputs, by name.
      inputs: digests of the files that the records of this run are made from, by name.
      feature_spec: what a record holds; checked for a file without a manifest, which another
        program has made. Without it such a file is refused.

    Returns:
      The manifest; or None if there is no such file, or it was made from something else and is to
      be made again.

    Raises:
      InputError: if a file without a manifest is truncated or does not fit the run.
    """
    if not Path(path).exists():
        return None
    if not manifest_path(path).exists():
        return _manifest_of_foreign_file(path, feature_spec)
    manifest = _read_manifest(path)
    changes = manifest.differences(settings, inputs)
    size = Path(path).stat().st_size
    if size != manifest.bytes:
        changes.append(f"its size is {size} bytes, was {manifest.bytes}")
    if changes:
        logging.info("%s is made again: %s", path, "; ".join(changes))
        return None
    logging.info("%s is used again: %d records", path, manifest.records)
    return manifest


def checked_manifest(path: str, feature_spec: FeatureSpec) -> Manifest:
    """The manifest of a file that this run reads but does not make; if it has none, its records are
    counted.

    Args:
      path: path of the record file.
      feature_spec: what a record holds; the first one is checked.

    Raises:
      InputError: if the file is truncated or does not fit the run.
    """
    if not manifest_path(path).exists():
        return _manifest_of_foreign_file(path, feature_spec)
    manifest, size = _read_manifest(path), Path(path).stat().st_size
    if size != manifest.bytes:
        raise InputError(
            f"{path}: its size is {size} bytes, but {manifest_path(path).name} says "
            f"{manifest.bytes}: copy both again, or remove both and make the file again"
        )
    _check_first_record(path, feature_spec)
    return manifest


def _read_manifest(path):
    try:
        return Manifest(**json.loads(manifest_path(path).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{manifest_path(path)}: not a manifest ({error}); remove it and {path}, and both are "
            "made again"
        ) from error


def _manifest_of_foreign_file(path, feature_spec):
    """Checks the first record of a file that came without a manifest, and counts its records."""
    if feature_spec is None:
        raise InputError(
            f"{path}: there is no manifest beside it, so it was not made by this program; give "
            "another path or remove it, and it is made again"
        )
    records = count_records(path)
    _check_first_record(path, feature_spec)
    logging.info("%s has no manifest; its first record fits: %d records", path, records)
    return Manifest(records, Path(path).stat().st_size, {}, {})


def _check_first_record(path, feature_spec):
    """Raises `InputError` if the first record of a file has other features than it should have."""
    first = tf.train.Example.FromString(next(read_records(path)))
    for name, spec in feature_spec.items():
        feature = first.features.feature.get(name)
        if feature is None:
            raise InputError(f"{path}: record 1 has no {name!r}; is it a file of another task?")
        found = len(feature.int64_list.value) or len(feature.float_list.value)
        needed = spec.shape[0] if spec.shape else 1
        if found != needed:
            flag = "max_predictions_per_seq" if "masked_lm" in name else "max_seq_length"
            raise InputError(
                f"{path}: record 1 has {found} values of {name}, this run needs {needed}: give the "
                f"{flag} that the file was made with, or remove it and it is made again"
            )


def first_values(path: str, names: Sequence[str], count: int = 100) -> list[int]:
    """The whole numbers that the first records of a file have under some names."""
    examples = map(tf.train.Example.FromString, itertools.islice(read_records(path), count))
    return [
        value
        for example in examples
        for name in names
        for value in example.features.feature[name].int64_list.value
    ]


def count_records(path: str) -> int:
    """Counts the records of a file by their lengths, without reading them.

    Raises:
      InputError: if the file is empty or ends within a record.
    """
    size = Path(path).stat().st_size
    count = position = 0
    with Path(path).open("rb") as file:
        while position < size:
            # A record: its length (8 bytes), checksum (4), data, checksum (4).
            header = file.read(12)
            position += 16 + (struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size)
            if position > size:
                raise InputError(
                    f"{path}: record {count + 1} is cut off, or this is no TFRecord file; copy it "
                    "again, or remove it and it is made again"
                )
            file.seek(position)
            count += 1
    if not count:
        raise InputError(f"{path}: there is no record in the file; remove it and it is made again")
    return count


def read_records(path: str) -> Iterator[bytes]:
    """Yields the records of a file.

    Raises:
      InputError: if a record is damaged or cut off.
    """
    number = 0
    try:
        for record in tf.io.tf_record_iterator(str(path)):
            number += 1
            yield record
    except tf.errors.DataLossError as error:
        raise InputError(
            f"{path}: record {number + 1} is damaged; copy the file again, or remove it and it is "
            "made again"
        ) from error


def raise_if_damaged(paths: Sequence[str]) -> None:
    """Reads record files through and raises `InputError` for the first damaged record."""
    for path in paths:
        for _ in read_records(path):
            pass

"""TFRecord files of `tf.train.Example`s: writing, reading, counting, checking."""

from __future__ import annotations

import itertools
import math
import struct
from pathlib import Path
from typing import Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

from albert_tf.io.errors import InputError

# Errors of TensorFlow on records that are damaged or no `tf.train.Example`s. Its message quotes the
# record, and cannot always be decoded.
READING_ERRORS = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError)
_FIRST_RECORDS = 100
RECORD_OVERHEAD = 16  # bytes of a record beside its data: length (8 bytes) and two checksums (4)

RecordFields = Mapping[str, tf.io.FixedLenFeature]  # shapes and dtypes by name
RecordValues = Mapping[str, "Sequence[int] | Sequence[float]"]


class RecordWriter:
    """TFRecord writer that counts its records.

    Attributes:
      num_records: number of records written so far.
    """

    def __init__(self, path: str | Path):
        """Open the file."""
        self.num_records = 0
        self._writer = tf.io.TFRecordWriter(str(path))

    def write(self, record: bytes) -> None:
        """Append a record."""
        self._writer.write(record)
        self.num_records += 1

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def serialize_example(values: RecordValues) -> bytes:
    """Serialize a record.

    Args:
      values: non-empty lists of ints or of floats, by name.

    Returns:
      Serialized `tf.train.Example`.
    """
    example = tf.train.Example()
    for name, numbers in values.items():
        feature = example.features.feature[name]
        if isinstance(numbers[0], float):
            feature.float_list.value.extend(numbers)
        else:
            feature.int64_list.value.extend(numbers)
    return example.SerializeToString(deterministic=True)


def with_number(record: bytes, name: str, number: int) -> bytes:
    """Add a field with one integer to a serialized record."""
    example = tf.train.Example.FromString(record)
    example.features.feature[name].int64_list.value[:] = [number]
    return example.SerializeToString(deterministic=True)


def read_records(path: str) -> Iterator[bytes]:
    """Yield the records of a file.

    Raises:
      InputError: if a record is damaged or truncated.
    """
    number = 0
    try:
        for record in tf.io.tf_record_iterator(str(path)):
            number += 1
            yield record
    except tf.errors.DataLossError as error:
        raise InputError(
            f"{path}: record {number + 1} is damaged; copy the file again, or remove it to rebuild "
            "it"
        ) from error


def count_records(path: str) -> int:
    """Count the records of a file from their length fields, without reading the data.

    Raises:
      InputError: if the file is empty or its last record is truncated.
    """
    size = Path(path).stat().st_size
    count = position = 0
    with Path(path).open("rb") as file:
        while position < size:
            # A record: its length (8 bytes), checksum (4), data, checksum (4).
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size
            position += RECORD_OVERHEAD + length
            if position > size:
                raise InputError(
                    f"{path}: record {count + 1} is truncated, or this is not a TFRecord file; "
                    "copy it again, or remove it to rebuild it"
                )
            file.seek(position)
            count += 1
    if not count:
        raise InputError(f"{path}: the file has no records; remove it to rebuild it")
    return count


def check_first_record(path: str, fields: RecordFields) -> None:
    """Check the names, types and lengths of the fields in a file's first record.

    Raises:
      InputError: if they differ from `fields`, or if there is no record.
    """
    record = next(read_records(path), None)
    if record is None:
        raise InputError(f"{path}: the file has no records; remove it")
    _check_record(path, 1, record, fields)


def _check_record(path: str, number: int, record: bytes, fields: RecordFields) -> None:
    example = _parsed(path, number, record)
    for name, field in fields.items():
        feature = example.features.feature.get(name)
        if feature is None:
            raise InputError(
                f"{path}: record {number} has no {name!r}; check that it is for this task"
            )
        kind = "float_list" if field.dtype == tf.float32 else "int64_list"
        if feature.WhichOneof("kind") not in (kind, None):
            raise InputError(
                f"{path}: record {number} has a {feature.WhichOneof('kind')} of {name}, this run "
                f"needs a {kind}; check that it is for this task"
            )
        found = len(getattr(feature, kind).value)
        needed = math.prod(field.shape)
        if found != needed:
            flag = "max_predictions_per_seq" if "masked_lm" in name else "max_seq_length"
            raise InputError(
                f"{path}: record {number} has {found} values of {name}, this run needs {needed}; "
                f"set the {flag} that the file was written with, or remove the file to rebuild it"
            )


def _parsed(path: str, number: int, record: bytes) -> tf.train.Example:
    try:
        return tf.train.Example.FromString(record)
    except DecodeError as error:
        raise InputError(
            f"{path}: record {number} is not a tf.train.Example; check that it is a file of "
            "records for this task, or remove it to rebuild it"
        ) from error


def first_values(path: str, names: Sequence[str]) -> list[int]:
    """Read integer values from the first records of a file.

    Args:
      path: path of the record file.
      names: names of the int64 features to read.

    Returns:
      All values of these features, in one list.

    Raises:
      InputError: if a record is not a `tf.train.Example`.
    """
    values = []
    for number, record in enumerate(itertools.islice(read_records(path), _FIRST_RECORDS), 1):
        features = _parsed(path, number, record).features.feature
        for name in names:
            values += features[name].int64_list.value
    return values


def check_records(path: str, fields: RecordFields) -> None:
    """Check all records of a file, to find the one that ended a run.

    Raises:
      InputError: at the first record that is not a `tf.train.Example` with these fields.
    """
    for number, record in enumerate(read_records(path), 1):
        _check_record(path, number, record, fields)

"""TFRecord files of `tf.train.Example`s: writing, counting, reading, and a look at the first."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.errors import InputError

RecordFields = Mapping[str, tf.io.FixedLenFeature]  # shapes and types of a record's values
RecordValues = Mapping[str, "Sequence[int] | Sequence[float]"]


class RecordWriter:
    """Writer of records that counts them.

    Attributes:
      num_records: number of the records written.
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
        """Write out what is buffered and close the file."""
        self._writer.close()


def serialize_example(values: RecordValues) -> bytes:
    """A `tf.train.Example` of lists of ints, or of floats, by name."""
    example = tf.train.Example()
    for name, numbers in values.items():
        feature = example.features.feature[name]
        if isinstance(numbers[0], float):
            feature.float_list.value.extend(numbers)
        else:
            feature.int64_list.value.extend(numbers)
    return example.SerializeToString(deterministic=True)


def read_records(path: str) -> Iterator[bytes]:
    """Yield the records of a file.

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


def count_records(path: str) -> int:
    """Count the records of a file by their lengths, without reading them.

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


def check_first_record(path: str, fields: RecordFields) -> None:
    """Check the names and lengths of the values of a file's first record.

    Raises:
      InputError: if they are not those of `fields`; the message names both.
    """
    first = tf.train.Example.FromString(next(read_records(path)))
    for name, field in fields.items():
        feature = first.features.feature.get(name)
        if feature is None:
            raise InputError(f"{path}: record 1 has no {name!r}; is it a file of another task?")
        found = len(feature.int64_list.value) or len(feature.float_list.value)
        needed = field.shape[0] if field.shape else 1
        if found != needed:
            flag = "max_predictions_per_seq" if "masked_lm" in name else "max_seq_length"
            raise InputError(
                f"{path}: record 1 has {found} values of {name}, this run needs {needed}: give the "
                f"{flag} that the file was made with, or remove it and it is made again"
            )


def first_values(path: str, names: Sequence[str], count: int = 100) -> list[int]:
    """Integers that the first `count` records of a file have under some names."""
    examples = map(tf.train.Example.FromString, itertools.islice(read_records(path), count))
    return [
        value
        for example in examples
        for name in names
        for value in example.features.feature[name].int64_list.value
    ]


def check_readable(paths: Sequence[str]) -> None:
    """Read record files through.

    Raises:
      InputError: for the first damaged record.
    """
    for path in paths:
        for _ in read_records(path):
            pass

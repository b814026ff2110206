"""Datasets of record files: batches to train on, to evaluate on, and of a few lengths."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.records.record_files import RecordFields

SHUFFLE_SEED = 12345
_SHUFFLE_BUFFER = 100_000  # records; they are shuffled before they are parsed
_FILES_READ_TOGETHER = 16

# Takes the numbers of records, int64 [B], and their features; returns features.
Prepare = Callable[[tf.Tensor, "dict[str, tf.Tensor]"], "dict[str, tf.Tensor]"]


def training_dataset(
    paths: str | Sequence[str],
    num_records: int,
    fields: RecordFields,
    batch_size: int,
    skip_records: int = 0,
    parallel: bool = True,
    prepare: Prepare | None = None,
    micro_batches: int = 1,
    spans: Sequence[range] | None = None,
) -> tf.data.Dataset:
    """Batches of record files without end, each pass in another order.

    The orders are the same in every run, so that a run that was interrupted can go on with the
    records that it had not yet read.

    Args:
      paths: paths of the record files, which are read side by side.
      num_records: number of the records that are read of all of them.
      fields: the fields of a record.
      batch_size: number of records in a batch.
      skip_records: number of records that an earlier run has read.
      parallel: whether more than one thread reads and parses.
      prepare: changes the features of a batch.
      micro_batches: number of equal micro-batches, one after the other, that a batch is cut into
        at the end.
      spans: which records are read of each file; all by default.

    Returns:
      A dataset of dictionaries of int32 and float32 tensors [batch_size / micro_batches, ...].
    """
    paths = [paths] if isinstance(paths, str) else list(paths)
    firsts = [span.start for span in spans] if spans else [0] * len(paths)
    counts = [len(span) for span in spans] if spans else [-1] * len(paths)
    threads = tf.data.experimental.AUTOTUNE if parallel else None
    first_pass = skip_records // num_records

    def one_pass(number):
        seed = SHUFFLE_SEED + number
        files = tf.data.Dataset.from_tensor_slices((paths, np.int64(firsts), np.int64(counts)))
        dataset = files.shuffle(len(paths), seed=seed).interleave(
            lambda path, first, count: tf.data.TFRecordDataset(path).skip(first).take(count),
            cycle_length=min(len(paths), _FILES_READ_TOGETHER),
            num_parallel_calls=threads,
        )
        return dataset.shuffle(min(num_records, _SHUFFLE_BUFFER), seed=seed)

    dataset = tf.data.Dataset.range(first_pass, tf.int64.max).flat_map(one_pass)
    dataset = dataset.skip(skip_records % num_records)
    dataset = _batched(dataset, skip_records, fields, batch_size, threads, prepare, True)
    if micro_batches > 1:
        dataset = dataset.flat_map(lambda batch: _cut(batch, batch_size // micro_batches))
    return dataset.prefetch(tf.data.experimental.AUTOTUNE)


def _cut(batch, size):
    """Micro-batches of `size` records of a batch, one after the other."""
    return tf.data.Dataset.from_tensor_slices(batch).batch(size, drop_remainder=True)


def spans_of(span: range, counts: Sequence[int]) -> list[range]:
    """Ranges of records by file, of a range of records numbered through all files.

    Args:
      span: the numbers of the records.
      counts: the number of the records of each file.
    """
    spans, first = [], 0
    for count in counts:
        start, stop = (min(max(number - first, 0), count) for number in (span.start, span.stop))
        spans.append(range(start, stop))
        first += count
    return spans


def first_batches(
    paths: Sequence[str],
    fields: RecordFields,
    batch_size: int,
    span: range | None = None,
    prepare: Prepare | None = None,
) -> tf.data.Dataset:
    """Batches of some records of record files, or of all, in their order; the last may have fewer
    records.

    The arguments and the result are like those of `training_dataset`; the records of all files are
    numbered together.
    """
    first, count = (span.start, len(span)) if span is not None else (0, -1)
    dataset = tf.data.TFRecordDataset(list(paths)).skip(first).take(count)
    threads = tf.data.experimental.AUTOTUNE
    dataset = _batched(dataset, first, fields, batch_size, threads, prepare, False)
    return dataset.prefetch(threads)


def _batched(dataset, first, fields, batch_size, threads, prepare, drop_remainder):
    """Parsed batches of records that are numbered from `first` on."""

    def parse(numbers, serialized):
        features = parse_examples(serialized, fields)
        return prepare(numbers, features) if prepare else features

    dataset = dataset.enumerate(first).batch(batch_size, drop_remainder=drop_remainder)
    return dataset.map(parse, num_parallel_calls=threads)


def bucketed_dataset(
    path: str,
    fields: RecordFields,
    batch_size: int,
    buckets: Sequence[int],
    number_name: str | None = None,
    first_number: int = 0,
) -> tf.data.Dataset:
    """Batches of a record file, once through, padded to the least of a few lengths.

    Records of like length come together, so that little padding is computed. A batch comes when it
    is full, and those left over at the end, so the order is not that of the file.

    Args:
      path: path of the record file.
      fields: the fields of a record; `input_mask` tells its length.
      batch_size: the most records in a batch.
      buckets: the lengths that batches may have, ascending; the last is that of the records.
      number_name: name of a feature to add that tells each record's number.
      first_number: number of the first record.

    Returns:
      A dataset of dictionaries of int32 and float32 tensors [up to batch_size, a bucket's length].
    """

    def without_padding(number, record):
        features = _with_int32(tf.io.parse_single_example(record, fields))
        length = tf.reduce_sum(features["input_mask"])
        if number_name:
            features[number_name] = tf.cast(number, tf.int32)
        return {
            name: value[:length] if value.shape.ndims else value for name, value in features.items()
        }

    dataset = tf.data.TFRecordDataset(path).enumerate(first_number)
    dataset = dataset.map(without_padding, num_parallel_calls=tf.data.experimental.AUTOTUNE)
    dataset = dataset.bucket_by_sequence_length(
        lambda features: tf.size(features["input_mask"]),
        bucket_boundaries=[length + 1 for length in buckets],
        bucket_batch_sizes=[batch_size] * (len(buckets) + 1),
        pad_to_bucket_boundary=True,
    )
    return dataset.prefetch(tf.data.experimental.AUTOTUNE)


def parse_examples(serialized: tf.Tensor, fields: RecordFields) -> dict[str, tf.Tensor]:
    """The features of serialized `tf.train.Example`s, strings [B]: int32 and float32 [B, ...]."""
    return _with_int32(tf.io.parse_example(serialized, fields))


def _with_int32(features):
    """The features with int32 in place of int64, which accelerators lack."""
    return {
        name: tf.cast(value, tf.int32) if value.dtype == tf.int64 else value
        for name, value in features.items()
    }

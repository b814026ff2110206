"""Datasets of record files, for training, evaluation and prediction."""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.records.record_files import RecordFields

DEFAULT_SEED = 12345
_EPOCHS_BETWEEN_SEEDS = 1_000_003  # runs with different seeds share no order
_SHUFFLE_BUFFER = 100_000  # records, in serialized form
_FILES_READ_TOGETHER = 16
_PARALLEL_CALLS = 4
_BATCHES_READ_AHEAD = 4
_BATCHES_DEALT_TOGETHER = 16
_BATCHES_SORTED_TOGETHER = 512

# From record numbers, int64 [B], and features to changed features.
Prepare = Callable[[tf.Tensor, "dict[str, tf.Tensor]"], "dict[str, tf.Tensor]"]

# The functions of the datasets need none of AutoGraph's conversions, which take about a second.
without_autograph = tf.autograph.experimental.do_not_convert


def read_ahead(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Read some batches ahead, as the last step of a dataset.

    TensorFlow does not tune the numbers of threads and batches: its thread for that may miss the
    end of an iterator and sleep on, and whatever ends the iterator waits for it, up to a minute.

    Args:
      dataset: dataset of batches.

    Returns:
      The same batches.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(_BATCHES_READ_AHEAD).with_options(options)


@without_autograph
def training_dataset(
    spans: Sequence[tuple[str, range]],
    fields: RecordFields,
    batch_size: int,
    skip_records: int = 0,
    parallel: bool = True,
    prepare: Prepare | None = None,
    micro_batches: int = 1,
    seed: int = DEFAULT_SEED,
    deal_by_length: bool = False,
) -> tf.data.Dataset:
    """Endless dataset of shuffled batches from record files, reshuffled in each epoch.

    The order of the records depends on the seed alone. An interrupted run can therefore resume with
    the records that it has not read yet.

    Args:
      spans: paths of the record files, which are read in parallel, and the range of records to read
        from each.
      fields: fields of a record.
      batch_size: number of records in a batch.
      skip_records: number of records already read by an earlier run.
      parallel: whether to read and parse with several threads.
      prepare: function applied to the features of each batch.
      micro_batches: number of equal micro-batches to split each batch into, as the last step.
      seed: seed of the order.
      deal_by_length: whether to deal the records of 16 consecutive batches out among these, so that
        all have about as many tokens. It takes the sum of `input_mask` for the length of a record.

    Returns:
      Dataset of dictionaries of int32 and float32 tensors [batch_size / micro_batches, ...].
    """
    paths = [path for path, _ in spans]
    firsts = np.array([span.start for _, span in spans], np.int64)
    counts = np.array([len(span) for _, span in spans], np.int64)
    num_records = int(counts.sum())
    parallel_calls = _PARALLEL_CALLS if parallel else None
    files_read_together = min(len(paths), _FILES_READ_TOGETHER)
    dealt_together = _BATCHES_DEALT_TOGETHER * batch_size if deal_by_length else 1
    skip_after_dealing = skip_records % dealt_together
    skip_before_dealing = skip_records - skip_after_dealing
    first_epoch = skip_before_dealing // num_records
    first_seed = DEFAULT_SEED + (seed - DEFAULT_SEED) * _EPOCHS_BETWEEN_SEEDS

    def one_epoch(number: tf.Tensor) -> tf.data.Dataset:
        seed = first_seed + number
        files = tf.data.Dataset.from_tensor_slices((paths, firsts, counts))
        dataset = files.shuffle(len(paths), seed=seed).interleave(
            lambda path, first, count: tf.data.TFRecordDataset(path).skip(first).take(count),
            cycle_length=files_read_together,
            num_parallel_calls=min(_PARALLEL_CALLS, files_read_together) if parallel else None,
        )
        return dataset.shuffle(min(num_records, _SHUFFLE_BUFFER), seed=seed)

    dataset = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch)
    dataset = dataset.skip(skip_before_dealing % num_records)
    if deal_by_length:
        dataset = dataset.batch(dealt_together, drop_remainder=True)
        dataset = dataset.map(
            lambda records: _dealt_by_length(records, fields, batch_size),
            num_parallel_calls=parallel_calls,
        )
        dataset = dataset.unbatch().skip(skip_after_dealing)
    dataset = dataset.enumerate(skip_records)
    dataset = _batched(dataset, fields, batch_size, parallel_calls, prepare, drop_remainder=True)
    if micro_batches > 1:
        size = batch_size // micro_batches
        dataset = dataset.flat_map(
            lambda batch: tf.data.Dataset.from_tensor_slices(batch).batch(size, drop_remainder=True)
        )
    return read_ahead(dataset)


def _dealt_by_length(records: tf.Tensor, fields: RecordFields, batch_size: int) -> tf.Tensor:
    """Reorder serialized records, [n * batch_size], so that n batches of them have like lengths.

    They are dealt in the order of their lengths, to the first batch to the last and back again.
    """
    lengths = tf.reduce_sum(tf.reshape(_masks(records, fields), [tf.size(records), -1]), axis=1)
    rounds = tf.reshape(tf.argsort(lengths, stable=True), [batch_size, -1])
    is_back = tf.range(batch_size)[:, tf.newaxis] % 2 == 1
    batches = tf.transpose(tf.where_v2(is_back, tf.reverse(rounds, [1]), rounds))
    return tf.gather(records, tf.reshape(batches, [-1]))


def _masks(records: tf.Tensor, fields: RecordFields) -> tf.Tensor:
    """Feature `input_mask` of serialized records."""
    return tf.io.parse_example(records, {"input_mask": fields["input_mask"]})["input_mask"]


def spans_of(span: range, counts: Sequence[int]) -> list[range]:
    """Split a range of records, numbered across all files, into one range per file.

    Args:
      span: range of record numbers.
      counts: number of records in each file.

    Returns:
      For each file, the range of its records in `span`, numbered within the file.
    """
    spans, first = [], 0
    for count in counts:
        start, stop = (min(max(number - first, 0), count) for number in (span.start, span.stop))
        spans.append(range(start, stop))
        first += count
    return spans


@without_autograph
def first_batches(
    paths: Sequence[str],
    fields: RecordFields,
    batch_size: int,
    span: range | None = None,
    prepare: Prepare | None = None,
) -> tf.data.Dataset:
    """Dataset of one epoch of batches from record files, in file order.

    The last batch may have fewer records.

    Args:
      paths: paths of the record files.
      fields: fields of a record.
      batch_size: maximum number of records in a batch.
      span: range of records to read, numbered across all files; all records by default.
      prepare: function applied to the features of each batch.

    Returns:
      Dataset of dictionaries of int32 and float32 tensors [up to batch_size, ...].
    """
    first, count = (span.start, len(span)) if span is not None else (0, -1)
    dataset = tf.data.TFRecordDataset(list(paths)).skip(first).take(count).enumerate(first)
    return read_ahead(_batched(dataset, fields, batch_size, _PARALLEL_CALLS, prepare))


def _batched(
    dataset: tf.data.Dataset,
    fields: RecordFields,
    batch_size: int,
    parallel_calls: int | None,
    prepare: Prepare | None,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Batch and parse a dataset of numbers and serialized records."""

    def parse(numbers: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        features = parse_examples(serialized, fields)
        return prepare(numbers, features) if prepare else features

    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
    return dataset.map(parse, num_parallel_calls=parallel_calls)


@without_autograph
def sorted_dataset(
    path: str, fields: RecordFields, batch_size: int, number_name: str
) -> tf.data.Dataset:
    """Dataset of one epoch of batches from a record file, sorted by length to save padding.

    Of each 512 consecutive batches, the records are sorted by length, the longest first, so the
    file order is lost. A batch is as long as its longest record; only the last may have fewer
    records than the others.

    Args:
      path: path of the record file.
      fields: fields of a record. The last axis of its vectors is as long as the longest sequence,
        the largest sum of `input_mask` over that axis.
      batch_size: maximum number of records in a batch.
      number_name: name of an extra feature with the record's number.

    Returns:
      Dataset of dictionaries of int32 and float32 tensors [up to batch_size, ..., longest length],
      or [up to batch_size] for scalar fields.
    """

    def lengths(masks: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(tf.reshape(tf.reduce_sum(masks, axis=-1), [tf.shape(masks)[0], -1]), 1)

    def in_order(numbers: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        order = tf.argsort(lengths(_masks(records, fields)), direction="DESCENDING", stable=True)
        return tf.gather(numbers, order), tf.gather(records, order)

    def cut(numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        longest = tf.reduce_max(lengths(features["input_mask"]))
        return {**_cut(features, longest), number_name: tf.cast(numbers, tf.int32)}

    dataset = tf.data.TFRecordDataset(path).enumerate()
    dataset = dataset.batch(_BATCHES_SORTED_TOGETHER * batch_size).map(in_order).unbatch()
    return read_ahead(_batched(dataset, fields, batch_size, _PARALLEL_CALLS, cut))


def _cut(
    features: Mapping[str, tf.Tensor], length: tf.Tensor, scalar_rank: int = 1
) -> dict[str, tf.Tensor]:
    """Cut the last axis of the features to a length, apart from those of scalar fields."""
    return {
        name: value[..., :length] if value.shape.ndims > scalar_rank else value
        for name, value in features.items()
    }


@without_autograph
def bucketed_dataset(
    path: str,
    fields: RecordFields,
    batch_size: int,
    buckets: Sequence[int],
    number_name: str,
) -> tf.data.Dataset:
    """Dataset of one epoch of batches from a record file, bucketed by length to save padding.

    Records of similar length share a batch, which is padded to the length of its bucket. A batch is
    emitted as soon as it is full, and incomplete batches at the end, so the file order is lost.

    Args:
      path: path of the record file.
      fields: fields of a record. The last axis of its vectors is as long as the longest sequence,
        the largest sum of `input_mask` over that axis.
      batch_size: maximum number of records in a batch.
      buckets: lengths of the batches, ascending; the last is the full length of a record.
      number_name: name of an extra feature with the record's number.

    Returns:
      Dataset of dictionaries of int32 and float32 tensors [up to batch_size, ..., bucket length],
      or [up to batch_size] for scalar fields.
    """

    def without_padding(number: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        features = _with_int32(tf.io.parse_single_example(record, fields))
        length = tf.reduce_max(tf.reduce_sum(features["input_mask"], axis=-1))
        features[number_name] = tf.cast(number, tf.int32)
        return _cut(features, length, scalar_rank=0)

    dataset = tf.data.TFRecordDataset(path).enumerate()
    dataset = dataset.map(without_padding, num_parallel_calls=_PARALLEL_CALLS)
    dataset = dataset.bucket_by_sequence_length(
        lambda features: tf.shape(features["input_mask"])[-1],
        bucket_boundaries=[length + 1 for length in buckets],
        bucket_batch_sizes=[batch_size] * (len(buckets) + 1),
        pad_to_bucket_boundary=True,
    )
    return read_ahead(dataset)


def parse_examples(serialized: tf.Tensor, fields: RecordFields) -> dict[str, tf.Tensor]:
    """Parse serialized `tf.train.Example`s.

    Args:
      serialized: string tensor [B].
      fields: fields of a record.

    Returns:
      Features by name, int32 or float32 [B, ...].
    """
    return _with_int32(tf.io.parse_example(serialized, fields))


def _with_int32(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Cast int64 features to int32, as accelerators lack int64."""
    return {
        name: tf.cast(value, tf.int32) if value.dtype == tf.int64 else value
        for name, value in features.items()
    }

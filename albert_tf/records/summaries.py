"""Lengths and labels of the records in a file, for the report page and the dry run."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import Counter

import tensorflow.compat.v1 as tf

_BINS = 24
_BATCH = 1024  # records


@dataclass(frozen=True)
class Summary:
    """Lengths and labels of records.

    Attributes:
      limit: `max_seq_length`, the length of a full record.
      lengths: number of records of each length, without padding.
      labels: number of records with each label, by its index; empty for records without labels.
    """

    limit: int
    lengths: Counter[int]
    labels: Counter[int]

    @property
    def bin_size(self) -> int:
        """Width of a bin of the histogram, in tokens."""
        return -(-self.limit // _BINS)

    def histogram(self) -> list[int]:
        """Number of records in each bin of lengths, from 0 on."""
        counts = [0] * (max(self.lengths) // self.bin_size + 1)
        for length, count in self.lengths.items():
            counts[length // self.bin_size] += count
        return counts

    def text(self) -> str:
        """Median, longest, and how many records are full."""
        total, full = sum(self.lengths.values()), self.lengths[self.limit]
        lengths = sorted(self.lengths.elements())
        text = f"median {lengths[(total - 1) // 2]:,} tokens, longest {lengths[-1]:,}"
        if not full:
            return f"{text}, none as long as max_seq_length"
        return f"{text}; {full:,} ({full / total:.1%}) fill max_seq_length or were cut to it"


def summary(path: str, limit: int, has_labels: bool = False) -> Summary:
    """Count the lengths and labels of the records in a file.

    Args:
      path: path of the record file.
      limit: `max_seq_length` of the records, which may have several sequences.
      has_labels: whether the records have labels.
    """
    names = ["input_mask", "label_ids"] if has_labels else ["input_mask"]
    lengths: Counter[int] = collections.Counter()
    labels: Counter[int] = collections.Counter()
    with tf.Graph().as_default(), tf.Session() as session:
        records = tf.data.TFRecordDataset(path).batch(_BATCH)
        parsed = tf.io.parse_example(
            tf.data.make_one_shot_iterator(records).get_next(),
            dict.fromkeys(names, tf.io.VarLenFeature(tf.int64)),
        )
        masks = tf.sparse.to_dense(parsed["input_mask"])
        sums = tf.reduce_sum(tf.reshape(masks, [tf.shape(masks)[0], -1, limit]), axis=2)
        fetches = [tf.reduce_max(sums, axis=1), *(parsed[name].values for name in names[1:])]
        while True:
            try:
                found, *found_labels = session.run(fetches)
            except tf.errors.OutOfRangeError:
                return Summary(limit, lengths, labels)
            lengths.update(found.tolist())
            for values in found_labels:
                labels.update(values.tolist())

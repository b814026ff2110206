"""Tests of splits: limits of the numbers of their examples and records."""

from __future__ import annotations

import pytest

from albert_tf.records.splits import DEV, TRAIN, RecordSplit, Split


def split_of(examples):
    return Split(TRAIN, "train.tfrecord", {"train_file": "a.json", "more": "b.json"}, examples)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [0]), (3, [0, 3, 6]), (7, [0, 1, 2, 4, 5, 7, 8])],
)
def test_a_limit_spreads_the_examples_over_the_file(most, expected):
    limited = split_of(range(10)).limited(most)
    assert limited.examples == expected
    assert limited.max_examples == most
    assert limited.paths == ["a.json", "b.json"]


@pytest.mark.parametrize("most", [None, 10, 11])
def test_a_limit_above_the_number_of_examples_changes_nothing(most):
    split = split_of(range(10))
    assert split.limited(most) is split
    assert split.max_examples is None


def test_examples_are_limited_without_access_by_index():
    class Stream(list):
        def __getitem__(self, index):
            raise AssertionError(f"example {index} is searched for")

    assert split_of(Stream(range(10))).limited(3).examples == [0, 3, 6]


@pytest.mark.parametrize(
    ("own", "most", "expected"), [(None, None, None), (None, 5, 5), (8, None, 8), (8, 5, 5)]
)
def test_the_lower_limit_of_records_counts(own, most, expected):
    split = RecordSplit(DEV, "eval_file", ["a"], max_records=own)
    assert split.limited(most).max_records == expected

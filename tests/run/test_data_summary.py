"""Tests of the summary of lengths."""

from __future__ import annotations

from albert_tf.run.data_summary import binned


def test_lengths_are_binned_and_counted_against_the_limit():
    lengths = {10: 2, 47: 1, 48: 3, 49: 1, 500: 1}
    summary = binned(lengths, 48)
    assert summary["step"] == 2
    counts = {2 * index: n for index, n in enumerate(summary["counts"]) if n}
    assert counts == {10: 2, 46: 1, 48: 4, 96: 1}
    assert (summary["median"], summary["longest"], summary["longer"]) == (48, 500, 2)

"""Tests of the summaries of record files: lengths and labels of the records."""

from __future__ import annotations

import collections

import pytest

from albert_tf.records import manifests, record_files, summaries
from albert_tf.records.manifests import Origin
from albert_tf.records.summaries import Summary


def summary_of(lengths, limit):
    return Summary(limit, collections.Counter(lengths), collections.Counter())


def test_lengths_are_counted_in_bins():
    summary = summary_of({10: 2, 47: 1, 48: 4}, 48)
    assert summary.bin_size == 2
    counts = {2 * number: n for number, n in enumerate(summary.histogram()) if n}
    assert counts == {10: 2, 46: 1, 48: 4}
    assert summary_of({512: 1}, 512).bin_size == 22
    assert summary_of({3: 1}, 8).histogram() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        (
            {10: 2, 47: 1, 48: 4},
            "median 48 tokens, longest 48; 4 (57.1%) fill max_seq_length or were cut to it",
        ),
        ({10: 2, 20: 2}, "median 10 tokens, longest 20, none as long as max_seq_length"),
    ],
)
def test_the_text_says_how_many_records_are_full(lengths, text):
    assert summary_of(lengths, 48).text() == text


def write(path, masks, labels=None):
    with manifests.record_writers([path], Origin({}, {})) as (writer,):
        for number, mask in enumerate(masks):
            values = {"input_mask": mask, "label_ids": [labels[number]] if labels else [0]}
            writer.write(record_files.serialize_example(values))


def test_records_of_a_file_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "_BATCH", 4)
    path = str(tmp_path / "records")
    lengths = [1, 2, 8, 2, 5, 8, 8]
    write(path, [[1] * n + [0] * (8 - n) for n in lengths], [0, 2, 0, 1, 2, 2, 0])
    summary = summaries.summary(path, 8, has_labels=True)
    assert summary == Summary(8, {1: 1, 2: 2, 5: 1, 8: 3}, {0: 3, 1: 1, 2: 3})
    assert summaries.summary(path, 8) == Summary(8, {1: 1, 2: 2, 5: 1, 8: 3}, {})


def test_the_longest_of_several_sequences_counts(tmp_path):
    """Records with two sequences each, as those of RACE."""
    path = str(tmp_path / "records")
    write(path, [[1, 0, 0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0, 0]])
    assert summaries.summary(path, 4).lengths == {3: 1, 4: 1}

"""Features of RACE against the golden files."""

from __future__ import annotations

import dataclasses

import pytest

from albert_tf.io.errors import InputError
from albert_tf.tasks.race.data import LEVELS, find_articles, read_articles
from albert_tf.tasks.race.features import check_room, make_features, with_option
from golden import golden_lines
from scripts import SAMPLE_RACE


@pytest.fixture(scope="module")
def examples():
    """Questions of the sample's dev set, those of middle schools first."""
    paths = find_articles(str(SAMPLE_RACE), "dev", LEVELS)
    levels = zip(LEVELS, paths.values())
    return [e for level, path in levels for e in read_articles(path, level, True)]


def test_features_are_golden(sample_tokenizer, examples):
    features = list(make_features(examples, sample_tokenizer, 96, 24, True))
    golden = golden_lines("race_dev_s96")
    assert [example.id.rpartition("-")[0] for example in examples] == [
        feature["example_id"] for feature in golden
    ]
    assert [feature.label for feature in features] == [feature["label_id"] for feature in golden]
    for feature, expected in zip(features, golden):
        assert [ids for ids, _ in feature.sequences] == expected["input_ids"]
        assert [segments for _, segments in feature.sequences] == expected["segment_ids"]


def test_records_have_the_sequences_one_after_the_other(sample_tokenizer, examples):
    (feature,) = make_features(examples[2:3], sample_tokenizer, 96, 24, True)
    record = feature.record(96)
    assert set(record) == {"input_ids", "input_mask", "segment_ids", "label_ids", "is_real_example"}
    for number, (ids, segments) in enumerate(feature.sequences):
        own = slice(96 * number, 96 * (number + 1))
        padding = [0] * (96 - len(ids))
        assert record["input_ids"][own] == ids + padding
        assert record["input_mask"][own] == [1] * len(ids) + padding
        assert record["segment_ids"][own] == segments + padding
    assert [len(record[name]) for name in ("input_ids", "label_ids")] == [4 * 96, 1]


def test_the_last_pieces_of_question_and_option_are_kept(sample_tokenizer, examples):
    example = dataclasses.replace(examples[0], label=None)
    whole, cut = (
        next(make_features([example], sample_tokenizer, 96, length, True)) for length in (90, 6)
    )
    for (ids, segments), (cut_ids, cut_segments) in zip(whole.sequences, cut.sequences):
        assert cut_ids[-7:] == ids[-7:]
        assert sum(cut_segments) == 7 < sum(segments)
        assert len(cut_ids) == 96
    assert cut.label == 0


def test_gaps_are_filled():
    assert with_option("Why?", "So.") == "Why? So."
    assert with_option("The _ and the _ .", "sea") == "The sea and the sea ."


def test_room_for_the_article():
    check_room(32, 28)
    with pytest.raises(InputError, match="--max_seq_length 32 leaves no room for the article"):
        check_room(32, 29)

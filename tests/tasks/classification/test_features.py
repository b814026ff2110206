"""Inputs made of one or two texts; the golden ones are tested with the GLUE files."""

from __future__ import annotations

import pytest

from albert_tf.tasks.classification.features import make_feature


def test_records_are_padded(sample_tokenizer):
    feature = make_feature(("Hail", "broke"), 1, sample_tokenizer, 16, do_lower_case=True)
    length = len(feature.input_ids)
    record = feature.record(16)
    assert record["input_ids"] == feature.input_ids + [0] * (16 - length)
    assert record["input_mask"] == [1] * length + [0] * (16 - length)
    assert record["segment_ids"] == feature.segment_ids + [0] * (16 - length)
    assert record["label_ids"] == [1]
    assert record["is_real_example"] == [1]


def test_the_longer_text_is_cut(sample_tokenizer):
    def texts_of(a, b, max_seq_length):
        feature = make_feature(("a " * a, "b " * b), 0, sample_tokenizer, max_seq_length, True)
        assert len(feature.input_ids) <= max_seq_length
        return feature.segment_ids.count(0) - 2, feature.segment_ids.count(1) - 1

    assert texts_of(9, 2, 10) == (5, 2)
    assert texts_of(2, 9, 10) == (2, 5)
    assert texts_of(9, 9, 10) == (4, 3)  # of two equally long texts, the second is truncated
    assert texts_of(3, 4, 10) == (3, 4)


@pytest.mark.parametrize("second", ["", " ", "\u0301"])
def test_a_second_text_without_pieces_is_left_out(sample_tokenizer, second):
    pair = make_feature(("a " * 9, second), 1, sample_tokenizer, 10, True)
    single = make_feature(("a " * 9,), 1, sample_tokenizer, 10, True)
    assert pair == single
    assert pair.segment_ids == [0] * 10


def test_a_first_text_without_pieces(sample_tokenizer):
    feature = make_feature(("", "a"), 1, sample_tokenizer, 10, True)
    a_id = sample_tokenizer.ids_of_text("a", True)
    assert feature.input_ids == [2, 3, *a_id, 3]
    assert feature.segment_ids == [0, 0, *[1] * len(a_id), 1]


def test_a_single_text_without_pieces(sample_tokenizer):
    feature = make_feature(("",), 1, sample_tokenizer, 10, True)
    assert feature.input_ids == [2, 3]

"""Inputs made of one or two texts; the golden ones are tested with the GLUE files."""

from __future__ import annotations

import pytest

from albert_tf.tasks.classification.features import make_record


def test_records_are_padded(sample_tokenizer):
    record = make_record(("Hail", "broke"), 1, sample_tokenizer, 16, do_lower_case=True)
    hail, broke = (sample_tokenizer.ids_of_text(text, True) for text in ("Hail", "broke"))
    ids = [2, *hail, 3, *broke, 3]
    padding = [0] * (16 - len(ids))
    assert record == {
        "input_ids": ids + padding,
        "input_mask": [1] * len(ids) + padding,
        "segment_ids": [0] * (len(hail) + 2) + [1] * (len(broke) + 1) + padding,
        "label_ids": [1],
        "is_real_example": [1],
    }


def test_the_longer_text_is_cut(sample_tokenizer):
    def texts_of(a, b, max_seq_length):
        record = make_record(("a " * a, "b " * b), 0, sample_tokenizer, max_seq_length, True)
        assert len(record["input_ids"]) == max_seq_length
        of_second = sum(record["segment_ids"])
        return sum(record["input_mask"]) - of_second - 2, of_second - 1

    assert texts_of(9, 2, 10) == (5, 2)
    assert texts_of(2, 9, 10) == (2, 5)
    assert texts_of(9, 9, 10) == (4, 3)  # of two equally long texts, the second is truncated
    assert texts_of(3, 4, 10) == (3, 4)


@pytest.mark.parametrize("second", ["", " ", "\u0301"])
def test_a_second_text_without_pieces_is_left_out(sample_tokenizer, second):
    pair = make_record(("a " * 9, second), 1, sample_tokenizer, 10, True)
    single = make_record(("a " * 9,), 1, sample_tokenizer, 10, True)
    assert pair == single
    assert pair["segment_ids"] == [0] * 10


def test_a_first_text_without_pieces(sample_tokenizer):
    a_id = sample_tokenizer.ids_of_text("a", True)
    record = make_record(("", "a"), 1, sample_tokenizer, 3 + len(a_id), True)
    assert record["input_ids"] == [2, 3, *a_id, 3]
    assert record["segment_ids"] == [0, 0, *[1] * len(a_id), 1]


def test_a_single_text_without_pieces(sample_tokenizer):
    record = make_record(("",), 1, sample_tokenizer, 10, True)
    assert record["input_ids"] == [2, 3] + [0] * 8
    assert record["input_mask"] == [1, 1] + [0] * 8

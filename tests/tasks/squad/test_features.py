"""Features of questions, compared with the golden files."""

from __future__ import annotations

import pytest

from albert_tf.tasks.squad.data import V2, Question, read_squad
from albert_tf.tasks.squad.features import (
    FIRST_UNIQUE_ID,
    FeatureConverter,
    FeatureSettings,
    Window,
    doc_spans,
    max_context,
)
from golden import GOLDEN, golden_lines

SETTINGS = {
    "s96": FeatureSettings(96, 32, 24, True),
    "s384": FeatureSettings(384, 128, 64, True),
    "cased_s128": FeatureSettings(128, 48, 32, False),
}
SAMPLE = {
    "train": str(GOLDEN / "sample/sample_squad_train.json"),
    "predict": str(GOLDEN / "sample/sample_squad.json"),
}


@pytest.mark.parametrize("split", SAMPLE)
@pytest.mark.parametrize("name", SETTINGS)
def test_features_are_golden(sample_tokenizer, name, split):
    for_training = split == "train"
    questions = read_squad(SAMPLE[split], for_training)
    converter = FeatureConverter(sample_tokenizer, SETTINGS[name])
    features = list(converter.features(questions, for_training))
    expected = golden_lines(f"squad_{split}_{name}")
    assert len(features) == len(expected)
    assert converter.dropped == []
    for number, (feature, golden) in enumerate(zip(features, expected), FIRST_UNIQUE_ID):
        window = feature.window
        around = [0] * window.first_position
        ours = {
            "unique_id": number,
            "example_index": None if for_training else window.question,
            "doc_span_index": window.index,
            "input_ids": feature.input_ids,
            "segment_ids": feature.segment_ids,
            "p_mask": feature.p_mask,
            "paragraph_len": window.num_positions,
            "tok_start_to_orig_index": window.start_to_char,
            "tok_end_to_orig_index": window.end_to_char,
            "max_context": [*around, *map(int, window.max_context), 0],
        }
        if for_training:
            ours["start_position"] = feature.start_position
            ours["end_position"] = feature.end_position
            ours["is_impossible"] = feature.is_impossible
        assert ours == golden


@pytest.mark.parametrize(
    ("sample", "golden"),
    [("sample_squad_v2_train", "squad_v2_train_s96"), ("sample_squad_v2", "squad_v2_s96_predict")],
)
def test_features_of_v2_are_golden(sample_tokenizer, sample, golden):
    """The windows of an unanswerable question in training have no answer, as those without it."""
    for_training = sample.endswith("train")
    questions = read_squad(str(GOLDEN / f"sample/{sample}.json"), for_training, V2)
    converter = FeatureConverter(sample_tokenizer, SETTINGS["s96"])
    features = list(converter.features(questions, for_training))
    expected = golden_lines(golden)
    assert len(features) == len(expected) == 217
    labels = ("start_position", "end_position", "is_impossible") if for_training else ()
    for number, (feature, line) in enumerate(zip(features, expected), FIRST_UNIQUE_ID):
        ours = {
            "unique_id": number,
            "example_index": None if for_training else feature.window.question,
            "doc_span_index": feature.window.index,
            **{name: getattr(feature, name) for name in ("input_ids", "segment_ids", "p_mask")},
            **{name: getattr(feature, name) for name in labels},
        }
        assert ours == line


def test_records_are_padded(sample_tokenizer):
    questions = read_squad(SAMPLE["train"], True)
    converter = FeatureConverter(sample_tokenizer, SETTINGS["s384"])
    feature = next(converter.features(questions, True))
    length = len(feature.input_ids)
    record = feature.record(384, for_training=True)
    assert {name: len(values) for name, values in record.items()} == {
        "start_positions": 1,
        "end_positions": 1,
        "is_impossible": 1,
        "input_ids": 384,
        "input_mask": 384,
        "segment_ids": 384,
        "p_mask": 384,
    }
    assert record["input_ids"] == feature.input_ids + [0] * (384 - length)
    assert record["input_mask"] == [1] * length + [0] * (384 - length)
    assert record["p_mask"][length:] == [1] * (384 - length)
    assert set(feature.record(384, for_training=False)) == set(record) - {
        "start_positions",
        "end_positions",
        "is_impossible",
    }


@pytest.mark.parametrize(
    ("num_pieces", "expected"),
    [
        (0, []),
        (10, [(0, 10)]),
        (11, [(0, 10), (4, 7)]),
        (14, [(0, 10), (4, 10)]),
        (20, [(0, 10), (4, 10), (8, 10), (12, 8)]),
    ],
)
def test_doc_spans(num_pieces, expected):
    spans = doc_spans(num_pieces, window_length=10, doc_stride=4)
    assert [(span.start, len(span)) for span in spans] == expected


def test_a_stride_longer_than_the_window_leaves_nothing_out():
    spans = doc_spans(25, window_length=10, doc_stride=128)
    assert [(span.start, len(span)) for span in spans] == [(0, 10), (10, 10), (20, 5)]


def test_every_piece_has_one_window_with_max_context():
    spans = doc_spans(100, window_length=30, doc_stride=7)
    shown = [0] * 100
    for index, span in enumerate(spans):
        for offset, is_max in enumerate(max_context(spans, index)):
            shown[span.start + offset] += is_max
    assert shown == [1] * 100


def test_max_context_of_two_windows():
    """Piece 6 has more context in the first window, piece 7 in the second: 3.1 against 2.1."""
    first, second = (max_context([range(0, 10), range(4, 14)], index) for index in (0, 1))
    assert first == [True] * 7 + [False] * 3
    assert second == [False] * 3 + [True] * 7


def test_questions_about_nothing_are_named(sample_tokenizer):
    questions = [
        Question("n1", "what?", ""),
        Question("n2", "what?", "\u0301\u0327 \n"),
        Question("e1", "what?", "The lamp."),
    ]
    converter = FeatureConverter(sample_tokenizer, SETTINGS["s96"])
    features = list(converter.features(questions, for_training=False))
    assert converter.dropped == ["n1", "n2"]
    assert [feature.window.question for feature in features] == [2]


def test_windows_name_their_question_among_all(sample_tokenizer):
    converter = FeatureConverter(sample_tokenizer, SETTINGS["s96"])
    questions = [Question("e1", "what?", "The lamp."), Question("e2", "who?", "The lamp.")]
    features = converter.features(questions, for_training=False, first_question=7)
    assert [feature.window.question for feature in features] == [7, 8]


def test_window_positions():
    window = Window(0, 0, 3, [0], [1], [True])
    assert window.num_positions == 5

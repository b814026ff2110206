"""Features of questions, compared with the golden files."""

from __future__ import annotations

import pytest

from albert_tf.records.splits import DEV, Split, Splits
from albert_tf.tasks.squad.data import V2, Question, read_squad
from albert_tf.tasks.squad.features import (
    FIRST_UNIQUE_ID,
    Window,
    doc_spans,
    make_features,
    max_context_windows,
)
from albert_tf.tasks.squad.settings import AnswerSettings, SquadSettings
from albert_tf.tasks.squad.v1 import SquadV1Task
from golden import GOLDEN, golden_lines


def settings_of(*lengths, do_lower_case=True):
    names = ("max_seq_length", "doc_stride", "max_query_length")
    return AnswerSettings(**dict(zip(names, lengths)), do_lower_case=do_lower_case)


SETTINGS = {
    "s96": settings_of(96, 32, 24),
    "s384": settings_of(384, 128, 64),
    "cased_s128": settings_of(128, 48, 32, do_lower_case=False),
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
    features = list(make_features(questions, sample_tokenizer, SETTINGS[name], for_training))
    expected = golden_lines(f"squad_{split}_{name}")
    assert len(features) == len(expected)
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
        assert {**ours, **labels(feature, for_training)} == golden


def labels(feature, for_training):
    """Labels of a feature by their golden names; none for prediction."""
    if not for_training:
        return {}
    record = feature.record(512, for_training)
    return {
        "start_position": record["start_positions"][0],
        "end_position": record["end_positions"][0],
        "is_impossible": bool(record["is_impossible"][0]),
    }


@pytest.mark.parametrize(
    ("sample", "golden"),
    [("sample_squad_v2_train", "squad_v2_train_s96"), ("sample_squad_v2", "squad_v2_s96_predict")],
)
def test_features_of_v2_are_golden(sample_tokenizer, sample, golden):
    """The windows of an unanswerable question in training have no answer, as those without it."""
    for_training = sample.endswith("train")
    questions = read_squad(str(GOLDEN / f"sample/{sample}.json"), for_training, V2)
    features = list(make_features(questions, sample_tokenizer, SETTINGS["s96"], for_training))
    expected = golden_lines(golden)
    assert len(features) == len(expected) == 217
    for number, (feature, line) in enumerate(zip(features, expected), FIRST_UNIQUE_ID):
        ours = {
            "unique_id": number,
            "example_index": None if for_training else feature.window.question,
            "doc_span_index": feature.window.index,
            **{name: getattr(feature, name) for name in ("input_ids", "segment_ids", "p_mask")},
            **labels(feature, for_training),
        }
        assert ours == line


def test_records_are_padded(sample_tokenizer):
    questions = read_squad(SAMPLE["train"], True)
    feature = next(make_features(questions, sample_tokenizer, SETTINGS["s384"], True))
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


def test_the_maximum_context_of_a_piece_is_in_a_window_that_has_it():
    spans = doc_spans(100, window_length=30, doc_stride=7)
    windows = max_context_windows(spans)
    assert len(windows) == 100
    assert all(piece in spans[window] for piece, window in enumerate(windows))


def test_max_context_of_two_windows():
    """Piece 6 has more context in the first window, piece 7 in the second: 3.1 against 2.1."""
    windows = max_context_windows([range(0, 10), range(4, 14)])
    assert windows.tolist() == [0] * 7 + [1] * 7


def test_questions_about_nothing_are_named(sample_tokenizer):
    questions = [
        Question("n1", "what?", ""),
        Question("n2", "what?", "\u0301\u0327 \n"),
        Question("e1", "what?", "The lamp."),
    ]
    task = SquadV1Task(SquadSettings(), None, sample_tokenizer, Splits())
    record, *skipped = task.records(Split(DEV, "", {}, questions), dict(enumerate(questions)))
    assert record.companion["question"] == 2
    assert [example.name for example in skipped] == ["n1", "n2"]


def test_windows_name_their_question_among_all(sample_tokenizer):
    questions = [Question("e1", "what?", "The lamp."), Question("e2", "who?", "The lamp.")]
    features = make_features(questions, sample_tokenizer, SETTINGS["s96"], first_question=7)
    assert [feature.window.question for feature in features] == [7, 8]


def test_window_positions():
    window = Window(0, 0, 3, [0], [1], [True])
    assert window.num_positions == 5

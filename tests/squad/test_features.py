"""Reading SQuAD files, and features against the golden files."""

from __future__ import annotations

import json

import pytest

from albert_tf.errors import InputError
from albert_tf.squad import data as squad_data
from golden import GOLDEN, golden_lines

SETTINGS = {
    "s96": squad_data.FeatureSettings(96, 32, 24, True),
    "s384": squad_data.FeatureSettings(384, 128, 64, True),
    "cased_s128": squad_data.FeatureSettings(128, 48, 32, False),
}
SAMPLE = {
    "train": str(GOLDEN / "sample/sample_squad_train.json"),
    "predict": str(GOLDEN / "sample/sample_squad.json"),
}


@pytest.mark.parametrize("split", SAMPLE)
@pytest.mark.parametrize("name", SETTINGS)
def test_features_are_golden(sample_tokenizer, name, split):
    for_training = split == "train"
    paragraphs = squad_data.read_squad(SAMPLE[split], for_training)
    converter = squad_data.FeatureConverter(sample_tokenizer, SETTINGS[name])
    features = list(converter.features(paragraphs, for_training))
    expected = golden_lines(f"squad_{split}_{name}")
    assert len(features) == len(expected)
    assert converter.dropped == []
    for feature, golden in zip(features, expected):
        window = feature.window
        around = [0] * window.first_position
        ours = {
            "unique_id": window.unique_id,
            "example_index": None if for_training else window.question_index,
            "doc_span_index": window.doc_span_index,
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


def test_records_are_padded(sample_tokenizer):
    paragraphs = squad_data.read_squad(SAMPLE["train"], True)
    converter = squad_data.FeatureConverter(sample_tokenizer, SETTINGS["s384"])
    feature = next(converter.features(paragraphs, True))
    length = len(feature.input_ids)
    record = feature.record(384, for_training=True)
    assert {name: len(values) for name, values in record.items()} == {
        **{"unique_ids": 1, "start_positions": 1, "end_positions": 1, "is_impossible": 1},
        **{"input_ids": 384, "input_mask": 384, "segment_ids": 384, "p_mask": 384},
    }
    assert record["input_ids"] == feature.input_ids + [0] * (384 - length)
    assert record["input_mask"] == [1] * length + [0] * (384 - length)
    assert record["p_mask"][length:] == [1] * (384 - length)
    assert set(feature.record(384, for_training=False)) == set(record) - {
        *("start_positions", "end_positions", "is_impossible")
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
    spans = squad_data.doc_spans(num_pieces, window_length=10, doc_stride=4)
    assert [(span.start, span.length) for span in spans] == expected


def test_a_stride_longer_than_the_window_leaves_nothing_out():
    spans = squad_data.doc_spans(25, window_length=10, doc_stride=128)
    assert [(span.start, span.length) for span in spans] == [(0, 10), (10, 10), (20, 5)]


def test_every_piece_has_one_window_with_max_context():
    spans = squad_data.doc_spans(100, window_length=30, doc_stride=7)
    shown = [0] * 100
    for index, span in enumerate(spans):
        for offset, is_max in enumerate(squad_data.max_context(spans, index)):
            shown[span.start + offset] += is_max
    assert shown == [1] * 100


def test_questions_that_cannot_be_aligned_are_named(sample_tokenizer):
    # Hangul syllables are decomposed into letters, none of which is the character itself.
    paragraph = squad_data.Paragraph("한국어" * 20, (squad_data.Question("k1", "what?", ()),))
    other = squad_data.Paragraph("The lamp.", (squad_data.Question("e1", "what?", ()),))
    empty = squad_data.Paragraph("", (squad_data.Question("n1", "what?", ()),))
    converter = squad_data.FeatureConverter(sample_tokenizer, SETTINGS["s96"])
    features = list(converter.features([paragraph, other, empty], for_training=False))
    assert converter.dropped == ["k1", "n1"]
    assert [feature.window.question_index for feature in features] == [1]


def squad_file(tmp_path, *questions, context="The lamp was lit."):
    path = tmp_path / "squad.json"
    path.write_text(
        json.dumps({"data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]})
    )
    return str(path)


def question(question_id="q1", answer="lamp", start=4, **others):
    answers = [{"text": answer, "answer_start": start}]
    return {"id": question_id, "question": "What?", "answers": answers, **others}


def test_reads_a_file(tmp_path):
    path = squad_file(tmp_path, question(), question("q2", answers=[]))
    (paragraph,) = squad_data.read_squad(path, for_training=False)
    assert paragraph == squad_data.Paragraph(
        "The lamp was lit.",
        (
            squad_data.Question("q1", "What?", (squad_data.Answer("lamp", 4),)),
            squad_data.Question("q2", "What?", ()),
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [', "not valid JSON: .*line 1 column 11"),
        ("[]", 'it has no list "data"'),
        ('{"data": []}', "there is no question"),
        ('{"data": [{"title": "x"}]}', "article 1 is not as in SQuAD v1.1: KeyError..paragraphs"),
        (
            '{"data": [{"paragraphs": [{"context": 5, "qas": []}]}]}',
            "article 1, paragraph 1 is not",
        ),
        ('{"data": [{"paragraphs": [{"context": "", "qas": [{}]}]}]}', "paragraph 1 .*'id'"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, message):
    path = tmp_path / "squad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        squad_data.read_squad(str(path), for_training=False)
    assert str(error.value).startswith(f"{path}: ")


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the questions: No such file"):
        squad_data.read_squad(str(tmp_path / "none.json"), for_training=False)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([question(start=3)], "question q1: the answer 'lamp' is not at its answer_start 3, where"
         " ' lam' stands; it stands at 4: correct the file"),
        ([question(answer="dog")], "question q1: the answer 'dog' is not .* does not hold it"),
        ([question(answers=[])], "question q1: it has no answer"),
        ([question(), question()], "question q1 stands twice"),
        (
            [question(f"q{number}", start=0) for number in range(8)],
            "question q0: .*question q4: .*; and 3 more like these",
        ),
    ],
)  # fmt: skip
def test_unusable_questions_are_refused(tmp_path, questions, message):
    with pytest.raises(InputError, match=message):
        squad_data.read_squad(squad_file(tmp_path, *questions), for_training=True)


def test_prediction_does_not_need_answers_at_their_place(tmp_path):
    path = squad_file(tmp_path, question(start=3), question("q2", answers=[]))
    assert len(squad_data.read_squad(path, for_training=False)[0].questions) == 2


def test_duplicate_ids_are_refused_in_prediction_too(tmp_path):
    with pytest.raises(InputError, match="q1 stands twice"):
        squad_data.read_squad(squad_file(tmp_path, question(), question()), for_training=False)


def window(unique_id):
    return squad_data.Window(unique_id, 0, 0, 3, [0], [1], [True])


def test_window_finder():
    finder = squad_data.WindowFinder(iter([window(5), window(6), window(7), window(8)]))
    assert finder.find(6).unique_id == 6
    assert finder.find(5).unique_id == 5
    assert finder.remaining() == 2
    assert finder.find(9) is None


def test_window_positions():
    assert window(5).num_positions == 5

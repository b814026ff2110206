"""The reader of SQuAD files."""

from __future__ import annotations

import json

import pytest

from albert_tf.errors import InputError
from albert_tf.squad.data import Answer, Question, read_squad


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
    context = "The lamp was lit."
    assert read_squad(path, for_training=False) == [
        Question("q1", "What?", context, (Answer("lamp", 4),)),
        Question("q2", "What?", context),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [', "not valid JSON: .*line 1 column 11"),
        ("[]", 'it has no list "data"'),
        ('{"data": []}', "the file has no questions"),
        (
            '{"data": [{"title": "x"}]}',
            "article 1 is not in SQuAD v1.1 format: KeyError..paragraphs",
        ),
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
        read_squad(str(path), for_training=False)
    assert str(error.value).startswith(f"{path}: ")


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the questions: No such file"):
        read_squad(str(tmp_path / "none.json"), for_training=False)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([question(start=3)], "question q1: the answer 'lamp' is not at its answer_start 3, where"
         " the text is ' lam'; it is at 4: correct the file"),
        ([question(answer="dog")], "question q1: the answer 'dog' is not .* does not contain it"),
        ([question(answers=[])], "question q1: no answer to train on"),
        ([question(), question()], "question q1: duplicate id"),
        (
            [question(f"q{number}", start=0) for number in range(8)],
            "question q0: .*question q4: .*; and 3 more like these",
        ),
    ],
)  # fmt: skip
def test_unusable_questions_are_refused(tmp_path, questions, message):
    with pytest.raises(InputError, match=message):
        read_squad(squad_file(tmp_path, *questions), for_training=True)


def test_prediction_does_not_need_answers_at_their_place(tmp_path):
    path = squad_file(tmp_path, question(start=3), question("q2", answers=[]))
    assert len(read_squad(path, for_training=False)) == 2


def test_duplicate_ids_are_refused_in_prediction_too(tmp_path):
    with pytest.raises(InputError, match="q1: duplicate id"):
        read_squad(squad_file(tmp_path, question(), question()), for_training=False)

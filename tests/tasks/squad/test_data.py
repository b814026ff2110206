"""The reader of SQuAD files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from albert_tf.io.errors import InputError
from albert_tf.tasks.squad.data import V1, V2, Answer, Question, read_squad


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
        ("[]", "a JSON object was expected, not a list"),
        ("{}", "data is missing"),
        ('{"data": []}', "the file has no questions"),
        ('{"data": [{"title": "x"}]}', r"data\[0\].paragraphs is missing"),
        (
            '{"data": [{"paragraphs": [{"context": 5, "qas": []}]}]}',
            r"data\[0\].paragraphs\[0\].context is 5, not a string",
        ),
        ('{"data": [{"paragraphs": [{"context": "", "qas": [{}]}]}]}', r"qas\[0\].id is missing"),
        ('{"data": [{"paragraphs": [{"context": "\\ud800"}]}]}', r"\.context has half of a surr"),
        ('{"data": ' + "[" * 10000, "nested too deeply"),
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
            "question q0: .*question q4: .* and 3 more",
        ),
    ],
)  # fmt: skip
def test_unusable_questions_are_refused(tmp_path, questions, message):
    with pytest.raises(InputError, match=message):
        read_squad(squad_file(tmp_path, *questions), for_training=True)


@pytest.mark.parametrize("start", ["", "x", "4", None, True, [4], math.nan, math.inf, 4.5])
@pytest.mark.parametrize("for_training", [True, False])
def test_answer_start_is_a_whole_number(tmp_path, start, for_training):
    path = squad_file(tmp_path, question(start=start))
    with pytest.raises(InputError, match=r"answer_start is|not a finite number") as error:
        read_squad(path, for_training)
    assert str(error.value).startswith(f"{path}: ")


def test_a_negative_answer_start(tmp_path):
    """Counted from the end, it would be at its place."""
    path = squad_file(tmp_path, question(answer="lit", start=-4))
    with pytest.raises(InputError, match="question q1: answer_start is -4"):
        read_squad(path, for_training=True)
    assert read_squad(path, for_training=False)[0].answers == (Answer("lit", -4),)


def test_answer_start_with_a_decimal_point(tmp_path):
    (read,) = read_squad(squad_file(tmp_path, question(start=4.0)), for_training=True)
    assert read.answers == (Answer("lamp", 4),)


def test_prediction_does_not_need_answers_at_their_place(tmp_path):
    path = squad_file(tmp_path, question(start=3), question("q2", answers=[]))
    assert len(read_squad(path, for_training=False)) == 2


def test_duplicate_ids_are_refused_in_prediction_too(tmp_path):
    with pytest.raises(InputError, match="q1: duplicate id"):
        read_squad(squad_file(tmp_path, question(), question()), for_training=False)


def impossible(question_id="q2", **others):
    return {"id": question_id, "question": "What?", "answers": [], "is_impossible": True, **others}


ANSWERABLE = question(is_impossible=False)


@pytest.mark.parametrize("for_training", [True, False])
def test_reads_a_file_of_v2(tmp_path, for_training):
    answers = [{"text": "The", "answer_start": 5}]
    path = squad_file(tmp_path, ANSWERABLE, impossible(plausible_answers=answers))
    context = "The lamp was lit."
    assert read_squad(path, for_training, V2) == [
        Question("q1", "What?", context, (Answer("lamp", 4),), is_impossible=False),
        Question("q2", "What?", context, is_impossible=True),
    ]


@pytest.mark.parametrize(
    ("questions", "found", "script"),
    [
        ([ANSWERABLE, impossible()], V2, "run_squad_v2.py"),
        ([question(), impossible()], V2, "run_squad_v2.py"),
        ([question()], V1, "run_squad_v1.py"),
    ],
)
@pytest.mark.parametrize("for_training", [True, False])
def test_files_of_the_other_version_are_refused(tmp_path, questions, found, script, for_training):
    path = squad_file(tmp_path, *questions)
    expected = V1 if found == V2 else V2
    message = f"questions are of SQuAD {found}, but this script reads {expected}; use {script}"
    with pytest.raises(InputError, match=message):
        read_squad(path, for_training, expected)


@pytest.mark.parametrize(("written", "version"), [("1.1", V1), ("v2.0", V2)])
def test_questions_without_answers_are_of_the_version_that_the_file_names(
    tmp_path, written, version
):
    path = squad_file(tmp_path, question(answers=[]))
    value = json.loads(Path(path).read_text())
    assert read_squad(path, False, V1) == read_squad(path, False, V2)
    Path(path).write_text(json.dumps({**value, "version": written}))
    assert len(read_squad(path, False, version)) == 1
    with pytest.raises(InputError, match=f"are of SQuAD {version}"):
        read_squad(path, False, V1 if version == V2 else V2)


@pytest.mark.parametrize(
    ("questions", "for_training", "message"),
    [
        ([impossible(answers=ANSWERABLE["answers"])], False, "question q2: .* is true, but there"),
        ([ANSWERABLE, question("q2", answers=[], is_impossible=False)], True,
         "question q2: is_impossible is false, but there is no answer"),
        ([ANSWERABLE, question("q2")], False, "question q2: is_impossible is missing"),
        ([question(answers=[])], True, "question q1: is_impossible is missing"),
        ([question(start=3, is_impossible=False)], True, "question q1: the answer 'lamp' is not"),
        ([question(is_impossible="no")], False, "is_impossible is \"no\", not true or false"),
    ],
)  # fmt: skip
def test_unusable_questions_of_v2_are_refused(tmp_path, questions, for_training, message):
    path = squad_file(tmp_path, *questions)
    with pytest.raises(InputError, match=message) as error:
        read_squad(path, for_training, V2)
    assert str(error.value).startswith(f"{path}: ")

"""The SQuAD metrics, compared with values computed by hand."""

from __future__ import annotations

import pytest

from albert_tf.squad.data import Answer, Question
from albert_tf.squad.metrics import f1_score, normalize_answer, squad_metrics


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Cat's, an 'a' theme!", "cats theme"),
        ("A-B", "ab"),
        ("  ", ""),
    ],
)
def test_normalize_answer(text, normalized):
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "truth", "f1"),
    [
        ("the tall tower", "Tall tower.", 1.0),
        ("a tall red tower", "tall tower", 0.8),  # precision 2/3, recall 1
        ("tower tower", "tower", 2 / 3),  # precision 1/2, recall 1
        ("red", "blue", 0.0),
        ("", "blue", 0.0),
    ],
)
def test_f1_score(prediction, truth, f1):
    assert f1_score(prediction, truth) == pytest.approx(f1)


def test_metrics_take_the_best_answer_and_count_every_question():
    def question(question_id, *answers):
        answers = tuple(Answer(text, 0) for text in answers)
        return Question(question_id, "?", "", answers)

    questions = [
        question("a", "blue", "a tall tower"),  # exact match with the second
        question("b", "tall tower"),  # F1 0.8
        question("c", "x"),  # no prediction
        question("d"),  # no answer to compare with
    ]
    predictions = {"a": "Tall tower", "b": "tall red tower", "d": "x"}
    metrics = squad_metrics(questions, predictions)
    assert metrics == {"exact_match": 25.0, "f1": pytest.approx(45.0)}

"""The SQuAD metrics, compared with values computed by hand."""

from __future__ import annotations

import pytest

from albert_tf.tasks.squad.data import Answer, Question
from albert_tf.tasks.squad.metrics import (
    best_thresholds,
    f1_score,
    normalize_answer,
    squad_metrics,
    squad_v2_metrics,
)


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


def v2_question(question_id, *answers):
    answers = tuple(Answer(text, 0) for text in answers)
    return Question(question_id, "?", "", answers, is_impossible=not answers)


V2_QUESTIONS = [
    v2_question("a", "tall tower", "the"),  # an answer of articles alone does not count
    v2_question("b", "tower"),
    v2_question("c"),
    v2_question("d"),
]


def test_metrics_of_v2():
    predictions = {"a": "tall red tower", "b": "", "c": "", "d": "x"}
    assert squad_v2_metrics(V2_QUESTIONS, predictions) == {
        "f1": pytest.approx(45.0),
        "exact": 25.0,
        "total": 4,  # F1 0.8 and 1
        "HasAns_f1": pytest.approx(40.0),
        "HasAns_exact": 0.0,
        "HasAns_total": 2,
        "NoAns_f1": 50.0,
        "NoAns_exact": 50.0,
        "NoAns_total": 2,
    }
    answerable = V2_QUESTIONS[:1]
    assert set(squad_v2_metrics(answerable, predictions)) == {
        "f1",
        "exact",
        "total",
        "HasAns_f1",
        "HasAns_exact",
        "HasAns_total",
    }


def test_best_thresholds_of_v2():
    """In the order b, c, a, d the sums of F1 are 3, 2, 2.8 and 1.8, and of exact 3, 2, 2, 1."""
    spans = {"a": "tall red tower", "b": "tower", "c": "x", "d": "x"}
    null_scores = {"a": 0.5, "b": -2.0, "c": -1.0, "d": 1.0}
    assert best_thresholds(V2_QUESTIONS, spans, null_scores) == {
        "best_f1": 75.0,
        "best_f1_thresh": -2.0,
        "best_exact": 75.0,
        "best_exact_thresh": -2.0,
    }
    spans["c"] = ""  # no span is right where there is no answer
    assert best_thresholds(V2_QUESTIONS, spans, null_scores) == {
        "best_f1": pytest.approx(95.0),
        "best_f1_thresh": 0.5,
        "best_exact": 75.0,
        "best_exact_thresh": -2.0,
    }
    spans = dict.fromkeys(spans, "y")  # nothing is better than no answer at all
    assert best_thresholds(V2_QUESTIONS, spans, null_scores)["best_f1_thresh"] == -3.0
    probabilities = {"a": 0.5, "b": 1.25, "c": 2.0, "d": 3.0}
    assert best_thresholds(V2_QUESTIONS, spans, probabilities)["best_f1_thresh"] == -0.5

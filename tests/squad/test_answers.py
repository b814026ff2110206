"""Answers against the golden files, and the metric against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from albert_tf.squad import data as squad_data
from albert_tf.squad import metrics as squad_metrics
from golden import GOLDEN, golden_json, golden_lines


@pytest.fixture(params=["s96", "s384", "cased_s128"])
def scored(request):
    """Windows with their golden scores, questions with their paragraphs, and the golden name."""
    name = request.param
    with np.load(GOLDEN / f"squad_{name}.log_probs.npz") as file:
        scores = dict(zip(file["unique_ids"].tolist(), file["log_probs"]))
    windows = []
    for line in golden_lines(f"squad_predict_{name}"):
        first = line["segment_ids"].index(1)
        windows.append(
            squad_data.Window(
                line["unique_id"],
                line["example_index"],
                line["doc_span_index"],
                first,
                line["tok_start_to_orig_index"],
                line["tok_end_to_orig_index"],
                [bool(value) for value in line["max_context"][first:-1]],
            )
        )
    paragraphs = squad_data.read_squad(str(GOLDEN / "sample/sample_squad.json"), False)
    questions = [(question, p.text) for p in paragraphs for question in p.questions]
    return name, windows, scores, questions


@pytest.mark.parametrize("order", ["as in the file", "reversed", "shuffled"])
def test_predictions_are_golden(scored, order):
    name, windows, scores, questions = scored
    if order == "reversed":
        windows = windows[::-1]
    elif order == "shuffled":
        windows = [windows[i] for i in np.random.RandomState(0).permutation(len(windows))]
    collector = squad_metrics.AnswerCollector(n_best_size=20, max_answer_length=30)
    for window in windows:
        starts, ends = scores[window.unique_id]
        collector.add(window, questions[window.question_index][1], starts, ends)
    predictions, n_best = squad_metrics.predictions_json([q for q, _ in questions], collector)
    assert list(predictions.items()) == list(golden_json(f"squad_{name}.predictions").items())
    expected = golden_json(f"squad_{name}.nbest_predictions")
    assert list(n_best) == list(expected)
    for question_id, entries in n_best.items():
        assert entries == [
            {**entry, "probability": pytest.approx(entry["probability"], rel=1e-12)}
            for entry in expected[question_id]
        ]
    metrics = squad_metrics.squad_metrics([q for q, _ in questions], predictions)
    assert metrics == pytest.approx(golden_json(f"squad_{name}.metrics"), rel=1e-12)


def window(question_index=0, doc_span_index=0, max_context=(True,) * 4):
    """Four words at positions 2 to 5 of "aa bb cc dd"."""
    starts, ends = [0, 3, 6, 9], [1, 4, 7, 10]
    return squad_data.Window(1, question_index, doc_span_index, 2, starts, ends, list(max_context))


def add(collector, window, starts, ends):
    collector.add(window, "aa bb cc dd", np.float32(starts), np.float32(ends))


def texts(collector, question_index=0):
    return [candidate.text for candidate in collector.n_best(question_index)]


def test_only_spans_of_the_window_are_answers():
    collector = squad_metrics.AnswerCollector(20, 2)
    add(collector, window(), [9, 9, 4, 3, 2, 1, 9], [9, 9, 1, 2, 3, 4, 9])
    assert texts(collector) == ["aa bb", "bb cc", "cc dd", "aa", "bb", "cc", "dd"]


def test_starts_without_max_context_are_left_to_other_windows():
    collector = squad_metrics.AnswerCollector(20, 1)
    add(collector, window(max_context=(False, True, True, False)), [0] * 7, [0] * 7)
    assert texts(collector) == ["bb", "cc"]


def test_the_best_starts_and_ends_are_chosen_before_spans_are_judged():
    collector = squad_metrics.AnswerCollector(1, 4)
    add(collector, window(), [9, 0, 5, 0, 0, 0, 0], [0, 0, 0, 0, 5, 0, 0])
    assert texts(collector) == ["empty"]


def test_the_same_text_of_two_windows_counts_once_with_its_better_score():
    collector = squad_metrics.AnswerCollector(20, 1)
    only_first = (True, False, False, False)
    for span, score in ((1, 1.0), (0, 3.0), (2, 2.0)):
        add(collector, window(0, span, only_first), [0, 0, score, 0, 0, 0, 0], [0] * 7)
    (candidate,) = collector.n_best(0)
    assert (candidate.text, candidate.score) == ("aa", 3.0)


def test_questions_without_candidates():
    collector = squad_metrics.AnswerCollector(20, 1)
    assert collector.n_best(7) == [squad_metrics.Candidate("empty", 0.0, 0.0)]


def test_softmax():
    assert squad_metrics.softmax([1000.0, 1000.0]) == [0.5, 0.5]
    assert squad_metrics.softmax([0.0, np.log(3.0)]) == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Cat's, an 'a' theme!", "cats theme"),
        ("A-B", "ab"),
        ("  ", ""),
    ],
)
def test_normalize_answer(text, normalized):
    assert squad_metrics.normalize_answer(text) == normalized


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
    assert squad_metrics.f1_score(prediction, truth) == pytest.approx(f1)


def test_metrics_take_the_best_answer_and_count_every_question():
    def question(question_id, *answers):
        answers = tuple(squad_data.Answer(text, 0) for text in answers)
        return squad_data.Question(question_id, "?", answers)

    questions = [
        question("a", "blue", "a tall tower"),  # exact match with the second
        question("b", "tall tower"),  # F1 0.8
        question("c", "x"),  # no prediction
        question("d"),  # no answer to compare with
    ]
    predictions = {"a": "Tall tower", "b": "tall red tower", "d": "x"}
    metrics = squad_metrics.squad_metrics(questions, predictions)
    assert metrics == {"exact_match": 25.0, "f1": pytest.approx(45.0)}

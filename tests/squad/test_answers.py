"""Answers from scores, compared with the golden files."""

from __future__ import annotations

import numpy as np
import pytest

from albert_tf.squad.answers import AnswerCollector, Candidate, softmax
from albert_tf.squad.data import read_squad
from albert_tf.squad.features import Window
from albert_tf.squad.metrics import squad_metrics
from golden import GOLDEN, golden_json, golden_lines


@pytest.fixture(params=["s96", "s384", "cased_s128"])
def scored(request):
    """Name of the golden file, windows with golden scores, and questions."""
    name = request.param
    with np.load(GOLDEN / f"squad_{name}.log_probs.npz") as file:
        scores = dict(zip(file["unique_ids"].tolist(), file["log_probs"]))
    windows = []
    for line in golden_lines(f"squad_predict_{name}"):
        first = line["segment_ids"].index(1)
        window = Window(
            line["example_index"],
            line["doc_span_index"],
            first,
            line["tok_start_to_orig_index"],
            line["tok_end_to_orig_index"],
            [bool(value) for value in line["max_context"][first:-1]],
        )
        windows.append((window, scores[line["unique_id"]]))
    return name, windows, read_squad(str(GOLDEN / "sample/sample_squad.json"), False)


@pytest.mark.parametrize("order", ["as in the file", "reversed", "shuffled"])
def test_predictions_are_golden(scored, order):
    name, windows, questions = scored
    if order == "reversed":
        windows = windows[::-1]
    elif order == "shuffled":
        windows = [windows[i] for i in np.random.RandomState(0).permutation(len(windows))]
    collector = AnswerCollector(n_best_size=20, max_answer_length=30)
    for window, (starts, ends) in windows:
        collector.add(window, questions[window.question].paragraph, starts, ends)
    n_best = {q.id: collector.n_best_entries(number) for number, q in enumerate(questions)}
    predictions = {question_id: entries[0]["text"] for question_id, entries in n_best.items()}
    assert list(predictions.items()) == list(golden_json(f"squad_{name}.predictions").items())
    expected = golden_json(f"squad_{name}.nbest_predictions")
    assert list(n_best) == list(expected)
    for question_id, entries in n_best.items():
        assert entries == [
            {**entry, "probability": pytest.approx(entry["probability"], rel=1e-12)}
            for entry in expected[question_id]
        ]
    metrics = squad_metrics(questions, predictions)
    assert metrics == pytest.approx(golden_json(f"squad_{name}.metrics"), rel=1e-12)


def window(question=0, index=0, max_context=(True,) * 4):
    """A window of the four words "aa bb cc dd", at positions 2 to 5."""
    starts, ends = [0, 3, 6, 9], [1, 4, 7, 10]
    return Window(question, index, 2, starts, ends, list(max_context))


def add(collector, window, starts, ends):
    collector.add(window, "aa bb cc dd", np.float32(starts), np.float32(ends))


def texts(collector, question=0):
    return [candidate.text for candidate in collector.n_best(question)]


def test_only_spans_of_the_window_are_answers():
    collector = AnswerCollector(20, 2)
    add(collector, window(), [9, 9, 4, 3, 2, 1, 9], [9, 9, 1, 2, 3, 4, 9])
    assert texts(collector) == ["aa bb", "bb cc", "cc dd", "aa", "bb", "cc", "dd"]


def test_starts_without_max_context_are_left_to_other_windows():
    collector = AnswerCollector(20, 1)
    add(collector, window(max_context=(False, True, True, False)), [0] * 7, [0] * 7)
    assert texts(collector) == ["bb", "cc"]


def test_the_best_starts_and_ends_are_chosen_before_spans_are_judged():
    collector = AnswerCollector(1, 4)
    add(collector, window(), [9, 0, 5, 0, 0, 0, 0], [0, 0, 0, 0, 5, 0, 0])
    assert texts(collector) == ["empty"]


def test_the_same_text_of_two_windows_counts_once_with_its_better_score():
    collector = AnswerCollector(20, 1)
    only_first = (True, False, False, False)
    for span, score in ((1, 1.0), (0, 3.0), (2, 2.0)):
        add(collector, window(0, span, only_first), [0, 0, score, 0, 0, 0, 0], [0] * 7)
    (candidate,) = collector.n_best(0)
    assert (candidate.text, candidate.score) == ("aa", 3.0)


def test_questions_without_candidates():
    collector = AnswerCollector(20, 1)
    assert collector.n_best(7) == [Candidate("empty", 0.0, 0.0)]


def test_softmax():
    assert softmax([1000.0, 1000.0]) == [0.5, 0.5]
    assert softmax([0.0, np.log(3.0)]) == pytest.approx([0.25, 0.75])

"""Answers from scores, compared with the golden files."""

from __future__ import annotations

import numpy as np
import pytest

from albert_tf.tasks.squad.answers import SpanCollector, TopListCollector
from albert_tf.tasks.squad.data import V2, read_squad
from albert_tf.tasks.squad.features import Window, make_features
from albert_tf.tasks.squad.metrics import best_thresholds, squad_metrics, squad_v2_metrics
from albert_tf.tasks.squad.settings import AnswerSettings
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
        window = OriginalWindow(
            line["example_index"],
            line["doc_span_index"],
            first,
            line["tok_start_to_orig_index"],
            line["tok_end_to_orig_index"],
            [bool(value) for value in line["max_context"][first:-1]],
        )
        windows.append((window, scores[line["unique_id"]]))
    return name, windows, read_squad(str(GOLDEN / "sample/sample_squad.json"), False)


class OriginalWindow(Window):
    """Window whose padding is ranked too, as by the original."""

    num_positions = 512


@pytest.mark.parametrize("order", ["as in the file", "reversed", "shuffled"])
def test_predictions_are_golden(scored, order):
    name, windows, questions = scored
    if order == "reversed":
        windows = windows[::-1]
    elif order == "shuffled":
        windows = [windows[i] for i in np.random.RandomState(0).permutation(len(windows))]
    collector = SpanCollector(n_best_size=20, max_answer_length=30)
    for window, (starts, ends) in windows:
        outputs = {"start_log_prob": starts, "end_log_prob": ends}
        collector.add(window, questions[window.question].paragraph, outputs)
    n_best = {q.id: collector.answer(number)["n_best"] for number, q in enumerate(questions)}
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
    outputs = {"start_log_prob": np.float32(starts), "end_log_prob": np.float32(ends)}
    collector.add(window, "aa bb cc dd", outputs)


def texts(collector, question=0):
    return [entry["text"] for entry in collector.answer(question)["n_best"]]


def test_only_spans_of_the_window_are_answers():
    collector = SpanCollector(20, 2)
    add(collector, window(), [9, 9, 4, 3, 2, 1, 9], [9, 9, 1, 2, 3, 4, 9])
    assert texts(collector) == ["aa bb", "bb cc", "cc dd", "aa", "bb", "cc", "dd"]


def test_starts_without_max_context_are_left_to_other_windows():
    collector = SpanCollector(20, 1)
    add(collector, window(max_context=(False, True, True, False)), [0] * 7, [0] * 7)
    assert texts(collector) == ["bb", "cc"]


def test_the_best_starts_and_ends_are_chosen_before_spans_are_judged():
    collector = SpanCollector(1, 4)
    add(collector, window(), [9, 0, 5, 0, 0, 0, 0], [0, 0, 0, 0, 5, 0, 0])
    assert texts(collector) == ["empty"]


def test_the_same_text_of_two_windows_counts_once_with_its_better_score():
    collector = SpanCollector(20, 1)
    only_first = (True, False, False, False)
    for span, score in ((1, 1.0), (0, 3.0), (2, 2.0)):
        add(collector, window(0, span, only_first), [0, 0, score, 0, 0, 0, 0], [0] * 7)
    (entry,) = collector.answer(0)["n_best"]
    assert (entry["text"], entry["start_log_prob"], entry["end_log_prob"]) == ("aa", 3.0, 0.0)


def test_questions_without_candidates():
    collector = SpanCollector(20, 1)
    assert collector.answer(7) == {
        "n_best": [
            {"text": "empty", "probability": 1.0, "start_log_prob": 0.0, "end_log_prob": 0.0}
        ],
        "starts": [None],
        "num_windows": 0,
    }


SAMPLE_V2 = str(GOLDEN / "sample/sample_squad_v2.json")


def test_predictions_of_v2_are_golden(sample_tokenizer):
    questions = read_squad(SAMPLE_V2, False, V2)
    settings = AnswerSettings(max_seq_length=96, doc_stride=32, max_query_length=24)
    windows = [f.window for f in make_features(questions, sample_tokenizer, settings)]
    with np.load(GOLDEN / "squad_v2_s96.scores.npz") as file:
        scores = dict(file)
    numbers = scores.pop("unique_ids") - 1000000000
    assert sorted(numbers) == list(range(len(windows)))
    collector = TopListCollector(n_best_size=20, max_answer_length=30)
    for row, number in enumerate(numbers):
        paragraph = questions[windows[number].question].paragraph
        outputs = {name: values[row] for name, values in scores.items()}
        collector.add(windows[number], paragraph, outputs)
    answers = {question.id: collector.answer(number) for number, question in enumerate(questions)}
    expected = golden_json("squad_v2_s96.nbest_predictions")
    assert {name: answer["n_best"] for name, answer in answers.items()} == {
        name: [
            {**entry, "probability": pytest.approx(entry["probability"], rel=1e-12)}
            for entry in entries
        ]
        for name, entries in expected.items()
    }
    null_scores = {name: answer["null_score"] for name, answer in answers.items()}
    assert null_scores == golden_json("squad_v2_s96.null_odds")
    spans = {name: answer["n_best"][0]["text"] for name, answer in answers.items()}
    metrics = golden_json("squad_v2_s96.metrics")
    threshold = metrics.pop("null_score_diff_threshold")
    assert best_thresholds(questions, spans, null_scores)["best_f1_thresh"] == threshold
    predictions = {
        name: span if null_scores[name] < threshold else "" for name, span in spans.items()
    }
    assert predictions == golden_json("squad_v2_s96.predictions")
    figures = squad_v2_metrics(questions, predictions)
    assert {name: figures[name] for name in metrics} == pytest.approx(metrics, rel=1e-12)


def add_lists(collector, window, starts, ends, null_score=0.0):
    """Add a window with starts and, for each, ends: pairs of position and score."""
    start_index, start_scores = zip(*starts)
    end_index, end_scores = zip(*(pair for of_start in ends for pair in of_start))
    outputs = {
        "start_top_index": np.int32(start_index),
        "start_top_log_probs": np.float32(start_scores),
        "end_top_index": np.int32(end_index),
        "end_top_log_probs": np.float32(end_scores),
        "cls_logits": np.float32(null_score),
    }
    collector.add(window, "aa bb cc dd", outputs)


def test_a_span_that_the_lists_have_twice_counts_once_with_the_mean_of_its_scores():
    collector = TopListCollector(20, 4)
    starts = [(2, 0.5), (3, -1.0), (2, -1.5)]
    ends = [[(4, 0.25), (3, -2.0)], [(4, 0.0), (2, 9.0)], [(4, 0.75), (2, -7.0)]]
    add_lists(collector, window(), starts, ends)
    names = ("text", "start_log_prob", "end_log_prob")
    found = [tuple(entry[name] for name in names) for entry in collector.answer(0)["n_best"]]
    assert found == [
        ("aa bb cc", -0.5, 0.5),
        ("bb cc", -1.0, 0.0),
        ("aa bb", 0.5, -2.0),
        ("aa", -1.5, -7.0),
    ]


def test_the_score_of_no_answer_is_the_least_of_the_windows():
    collector = TopListCollector(20, 4)
    for index, score in enumerate((1.5, -0.5, 3.0)):
        add_lists(collector, window(index=index), [(0, 0.0)], [[(0, 0.0)]], score)
    assert collector.answer(0) == {
        "n_best": [{"text": "", "probability": 1.0, "start_log_prob": -1e6, "end_log_prob": -1e6}],
        "starts": [None],
        "num_windows": 3,
        "null_score": -0.5,
    }
    assert collector.answer(1)["null_score"] == 1e6  # a question without windows

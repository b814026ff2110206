"""SQuAD: exact match and F1 of answers.

The metrics of v1.1 are defined by Rajpurkar et al. 2016, section 6.1, and of v2.0 by Rajpurkar et
al. 2018 and the official script.
"""

from __future__ import annotations

import collections
import re
import string
from typing import Mapping, Sequence

from albert_tf.tasks.squad.data import Question

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_metrics(
    questions: Sequence[Question], predictions: Mapping[str, str]
) -> dict[str, float]:
    """Compute exact match and F1, in percent.

    Args:
      questions: questions with their true answers.
      predictions: predicted answers by question id; a question without one scores 0.

    Returns:
      "f1" and "exact_match". Each question scores its maximum over the true answers; the metric is
      the mean over the questions.
    """
    scores = [
        question_scores(question, predictions[question.id])
        for question in questions
        if question.answers and question.id in predictions
    ]
    f1 = sum(score[0] for score in scores)
    exact_match = sum(score[1] for score in scores)
    count = len(questions)
    return {"f1": 100.0 * f1 / count, "exact_match": 100.0 * exact_match / count}


def question_scores(question: Question, prediction: str) -> tuple[float, int]:
    """F1 (0 to 1) and exact match (0 or 1) of one answer: the maximum over the true answers."""
    return _scores(prediction, [answer.text for answer in question.answers])


def _scores(prediction: str, truths: Sequence[str]) -> tuple[float, int]:
    exact_match = max(normalize_answer(prediction) == normalize_answer(truth) for truth in truths)
    return max(f1_score(prediction, truth) for truth in truths), int(exact_match)


def normalize_answer(text: str) -> str:
    """Lower-case an answer, and remove punctuation, articles and extra whitespace."""
    text = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def f1_score(prediction: str, truth: str) -> float:
    """Compute the F1 of a prediction's words: harmonic mean of precision and recall, 0 to 1."""
    predicted_words = normalize_answer(prediction).split()
    true_words = normalize_answer(truth).split()
    common = collections.Counter(predicted_words) & collections.Counter(true_words)
    shared = sum(common.values())
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted_words), shared / len(true_words)
    return 2 * precision * recall / (precision + recall)


def squad_v2_metrics(
    questions: Sequence[Question], predictions: Mapping[str, str]
) -> dict[str, float]:
    """Compute the metrics of the official script of SQuAD v2.0 for predictions, in percent.

    Args:
      questions: questions with their true answers.
      predictions: predicted answers by question id, "" for "no answer".

    Returns:
      "f1", "exact" and "total", and with the prefixes "HasAns_" and "NoAns_" the same for questions
      with and without an answer, where there are any.
    """
    figures: dict[str, float] = {}
    groups = {
        "": questions,
        "HasAns_": [question for question in questions if not question.is_impossible],
        "NoAns_": [question for question in questions if question.is_impossible],
    }
    for prefix, group in groups.items():
        if group:
            scores = [v2_scores(question, predictions[question.id]) for question in group]
            for name, values in zip(("f1", "exact"), zip(*scores)):
                figures[f"{prefix}{name}"] = 100.0 * sum(values) / len(group)
            figures[f"{prefix}total"] = len(group)
    return figures


def best_thresholds(
    questions: Sequence[Question],
    spans: Mapping[str, str],
    null_scores: Mapping[str, float],
) -> dict[str, float]:
    """Find the highest metrics that a threshold of the scores reaches, as the official script does.

    Args:
      questions: questions with their true answers.
      spans: best span of each question by its id.
      null_scores: scores of "no answer" by question id.

    Returns:
      "best_f1" and "best_exact" in percent, and their thresholds: "best_f1_thresh" and
      "best_exact_thresh".
    """
    figures = {}
    scores = {question.id: v2_scores(question, spans[question.id]) for question in questions}
    ranked = sorted(questions, key=lambda question: null_scores[question.id])
    for number, name in enumerate(("f1", "exact")):
        # Questions with a higher score of "no answer" than the threshold have no answer. Thresholds
        # are tried in ascending order. The first answers nothing: 0 in the official script, whose
        # scores are probabilities; logits may be lower.
        score = best = float(sum(bool(question.is_impossible) for question in questions))
        threshold = min(0.0, null_scores[ranked[0].id] - 1.0)
        for question in ranked:
            if not question.is_impossible:
                score += scores[question.id][number]
            elif spans[question.id]:
                score -= 1
            if score > best:
                best, threshold = score, null_scores[question.id]
        figures[f"best_{name}"] = 100.0 * best / len(questions)
        figures[f"best_{name}_thresh"] = threshold
    return figures


def v2_scores(question: Question, prediction: str) -> tuple[float, int]:
    """F1 and exact match of one prediction, "" for "no answer", as in `question_scores`.

    If both the prediction and the true answer are empty, their F1 is 1.
    """
    truths = [answer.text for answer in question.answers if normalize_answer(answer.text)]
    f1, exact_match = _scores(prediction, truths or [""])
    return max(f1, float(exact_match)), exact_match

"""SQuAD v1.1: exact match and F1 of answers (Rajpurkar et al. 2016, section 6.1).

This file does not import TensorFlow.
"""

from __future__ import annotations

import collections
import re
import string
from typing import Iterable, Mapping

from albert_tf.squad.data import Question

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_metrics(
    questions: Iterable[Question], predictions: Mapping[str, str]
) -> dict[str, float]:
    """Compute exact match and F1, in percent.

    Args:
      questions: questions with their true answers.
      predictions: predicted answers by question id; a question without one scores 0.

    Returns:
      "f1" and "exact_match". Each question scores its maximum over the true answers; the metric is
      the mean over the questions.
    """
    exact_match = f1 = count = 0
    for question in questions:
        count += 1
        prediction = predictions.get(question.id)
        if prediction is not None and question.answers:
            scores = question_scores(question, prediction)
            exact_match += scores[0]
            f1 += scores[1]
    return {"f1": 100.0 * f1 / count, "exact_match": 100.0 * exact_match / count}


def question_scores(question: Question, prediction: str) -> tuple[int, float]:
    """Exact match (0 or 1) and F1 (0 to 1) of one answer: the maximum over the true answers."""
    truths = [answer.text for answer in question.answers]
    exact_match = max(normalize_answer(prediction) == normalize_answer(truth) for truth in truths)
    return int(exact_match), max(f1_score(prediction, truth) for truth in truths)


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

"""SQuAD v1.1: from scores to answers, and from answers to exact match and F1.

This file does not load TensorFlow.
"""

from __future__ import annotations

import collections
import math
import re
import string
from dataclasses import dataclass
from typing import Iterable, Mapping, Sequence

import numpy as np

from albert_tf.squad.data import Question, Window

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Candidate:
    """A text that may answer a question.

    Attributes:
      text: a part of the paragraph.
      start_score: score of its first piece, a raw logit.
      end_score: score of its last piece.
      start: number of the paragraph's characters before it.
    """

    text: str
    start_score: float
    end_score: float
    start: int = 0

    @property
    def score(self) -> float:
        """The sum by which candidates are ranked."""
        return self.start_score + self.end_score


# Stands for a question to which no span of its windows may be the answer.
NO_ANSWER = Candidate("empty", 0.0, 0.0)


class AnswerCollector:
    """Takes the scores of windows, in any order, and keeps the best answers of each question."""

    def __init__(self, n_best_size: int, max_answer_length: int):
        """Makes a collector.

        Args:
          n_best_size: number of starts, of ends and of answers to keep.
          max_answer_length: the longest answer, in pieces.
        """
        self.n_best_size = n_best_size
        self.max_answer_length = max_answer_length
        self._ranked = collections.defaultdict(
            list
        )  # question index → (rank, candidate), best first

    def add(
        self, window: Window, paragraph: str, start_scores: np.ndarray, end_scores: np.ndarray
    ) -> None:
        """Adds the scores of one window.

        Args:
          window: the window.
          paragraph: the text that it is cut from.
          start_scores: float [S], for each position the score of an answer that starts there.
            Every position that has a score takes part in the choice of the best: padding should
            have none.
          end_scores: float [S], the same for the end.
        """
        candidates = window_candidates(
            window, paragraph, start_scores, end_scores, self.n_best_size, self.max_answer_length
        )
        # With equal scores the earlier window goes first, and in it the earlier candidate.
        ranked = self._ranked[window.question_index] + [
            ((-candidate.score, window.doc_span_index, place), candidate)
            for place, candidate in enumerate(candidates)
        ]
        ranked.sort(key=lambda pair: pair[0])
        self._ranked[window.question_index] = _distinct(
            ranked, lambda pair: pair[1].text, self.n_best_size
        )

    def n_best(self, question_index: int) -> list[Candidate]:
        """The best answers to a question, best first, no text twice; never empty."""
        candidates = [candidate for _, candidate in self._ranked.get(question_index, ())]
        return candidates or [NO_ANSWER]


def window_candidates(
    window: Window,
    paragraph: str,
    start_scores: np.ndarray,
    end_scores: np.ndarray,
    n_best_size: int,
    max_answer_length: int,
) -> list[Candidate]:
    """The best answers in one window.

    Of the best starts and ends, those pairs are kept that lie in the paragraph, start where this
    window shows the most context, and are in order and not too long. The arguments are those of
    `AnswerCollector`.

    Returns:
      Up to `n_best_size` candidates, best first, no text twice.
    """
    size = len(window.start_to_char)
    starts = _best_positions(start_scores, n_best_size) - window.first_position
    starts = starts[(starts >= 0) & (starts < size)]
    starts = starts[np.asarray(window.max_context)[starts]]
    ends = _best_positions(end_scores, n_best_size) - window.first_position
    ends = ends[ends < size]
    lengths = ends - starts[:, np.newaxis] + 1
    start_choice, end_choice = np.nonzero((lengths > 0) & (lengths <= max_answer_length))
    first, last = starts[start_choice], ends[end_choice]
    first_scores = start_scores[first + window.first_position].astype(np.float64)
    last_scores = end_scores[last + window.first_position].astype(np.float64)

    candidates = []
    for index in np.argsort(-(first_scores + last_scores), kind="stable"):
        begin = window.start_to_char[first[index]]
        end = window.end_to_char[last[index]] + 1
        text = paragraph[begin:end]
        begin += len(text) - len(text.lstrip())
        scores = float(first_scores[index]), float(last_scores[index])
        candidates.append(Candidate(text.strip(), *scores, start=begin))
    return _distinct(candidates, lambda candidate: candidate.text, n_best_size)


def _best_positions(scores, count):
    """The positions of the highest scores, highest first; of equal ones the earlier."""
    return np.argsort(-scores, kind="stable")[:count]


def _distinct(items, key, count):
    """The first `count` items whose key has not been there before."""
    seen, kept = set(), []
    for item in items:
        if len(kept) == count:
            break
        if key(item) not in seen:
            seen.add(key(item))
            kept.append(item)
    return kept


def predictions_json(
    questions: Sequence[Question], collector: AnswerCollector, first_question: int = 0
) -> tuple[dict[str, str], dict[str, list[dict]]]:
    """The contents of `predictions.json` and `nbest_predictions.json`.

    Args:
      questions: the questions, in the order of their indexes.
      collector: holds the candidates of all their windows.
      first_question: index of the first question.

    Returns:
      The best answer by question id; and by question id the n-best list, each entry with its text,
      its probability among the n best, and its scores, under the names that users' tools expect.
    """
    predictions, n_best_predictions = {}, {}
    for index, question in enumerate(questions, first_question):
        candidates = collector.n_best(index)
        predictions[question.id] = candidates[0].text
        n_best_predictions[question.id] = [
            {
                "text": candidate.text,
                "probability": probability,
                "start_log_prob": candidate.start_score,
                "end_log_prob": candidate.end_score,
            }
            for candidate, probability in zip(
                candidates, softmax([candidate.score for candidate in candidates])
            )
        ]
    return predictions, n_best_predictions


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities in proportion to the exponentials of scores."""
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def squad_metrics(
    questions: Iterable[Question], predictions: Mapping[str, str]
) -> dict[str, float]:
    """Exact match and F1 of SQuAD v1.1 (Rajpurkar et al. 2016, section 6.1), in percent.

    Args:
      questions: the questions with their answers.
      predictions: the predicted answers by question id; a question without one counts 0.

    Returns:
      "exact_match" and "f1": means over the questions of the best value over a question's answers.
    """
    exact_match = f1 = count = 0
    for question in questions:
        count += 1
        prediction = predictions.get(question.id)
        if prediction is not None and question.answers:
            truths = [answer.text for answer in question.answers]
            exact_match += max(
                normalize_answer(prediction) == normalize_answer(truth) for truth in truths
            )
            f1 += max(f1_score(prediction, truth) for truth in truths)
    return {"exact_match": 100.0 * exact_match / count, "f1": 100.0 * f1 / count}


def normalize_answer(text: str) -> str:
    """An answer in lower case, without punctuation, articles and superfluous white space."""
    text = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def f1_score(prediction: str, truth: str) -> float:
    """The harmonic mean of precision and recall of a prediction's words, from 0 to 1."""
    predicted_words = normalize_answer(prediction).split()
    true_words = normalize_answer(truth).split()
    common = collections.Counter(predicted_words) & collections.Counter(true_words)
    shared = sum(common.values())
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted_words), shared / len(true_words)
    return 2 * precision * recall / (precision + recall)

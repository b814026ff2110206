"""SQuAD: from the scores of windows to the best answers of each question.

This file does not load TensorFlow.
"""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from albert_tf.squad.features import Window


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
    """The best answers to each question, from the scores of windows in any order."""

    def __init__(self, n_best_size: int, max_answer_length: int):
        """Make a collector.

        Args:
          n_best_size: number of starts, of ends and of answers to keep.
          max_answer_length: the longest answer, in pieces.
        """
        self.n_best_size = n_best_size
        self.max_answer_length = max_answer_length
        self._ranked = collections.defaultdict(list)  # question → (rank, candidate), best first

    def add(
        self, window: Window, paragraph: str, start_scores: np.ndarray, end_scores: np.ndarray
    ) -> None:
        """Add the scores of one window.

        Args:
          window: the window.
          paragraph: text of its paragraph.
          start_scores: float [S], score of each position as the start of an answer. All positions
            take part in the choice of the best: leave padding out.
          end_scores: float [S], likewise for the end.
        """
        candidates = window_candidates(
            window, paragraph, start_scores, end_scores, self.n_best_size, self.max_answer_length
        )
        # With equal scores the earlier window goes first, and in it the earlier candidate.
        ranked = self._ranked[window.question] + [
            ((-candidate.score, window.index, place), candidate)
            for place, candidate in enumerate(candidates)
        ]
        ranked.sort(key=lambda pair: pair[0])
        self._ranked[window.question] = _distinct(
            ranked, lambda pair: pair[1].text, self.n_best_size
        )

    def n_best(self, question: int) -> list[Candidate]:
        """The best answers to a question, best first, no text twice; never empty."""
        return [candidate for _, candidate in self._ranked.get(question, ())] or [NO_ANSWER]

    def n_best_entries(self, question: int) -> list[dict]:
        """The best answers as `nbest_predictions.json` holds them.

        Each entry has its text, its probability among the n best, and its scores, under the names
        that users' tools expect.
        """
        candidates = self.n_best(question)
        probabilities = softmax([candidate.score for candidate in candidates])
        return [
            {
                "text": candidate.text,
                "probability": probability,
                "start_log_prob": candidate.start_score,
                "end_log_prob": candidate.end_score,
            }
            for candidate, probability in zip(candidates, probabilities)
        ]


def window_candidates(
    window: Window,
    paragraph: str,
    start_scores: np.ndarray,
    end_scores: np.ndarray,
    n_best_size: int,
    max_answer_length: int,
) -> list[Candidate]:
    """Find the best answers in one window.

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


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities in proportion to the exponentials of scores."""
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    total = sum(exponentials)
    return [value / total for value in exponentials]

"""SQuAD: n-best answers to each question, from the scores of its windows.

This file does not import TensorFlow.
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
    """A candidate answer to a question.

    Attributes:
      text: text of the answer, a span of the paragraph.
      start_score: raw logit of the first piece as the start.
      end_score: raw logit of the last piece as the end.
      start: offset of the answer in the paragraph, in characters.
    """

    text: str
    start_score: float
    end_score: float
    start: int = 0

    @property
    def score(self) -> float:
        """Sum of both scores, to rank candidates by."""
        return self.start_score + self.end_score


# Placeholder for a question without any valid span.
NO_ANSWER = Candidate("empty", 0.0, 0.0)


class AnswerCollector:
    """Collector of the best answers to each question, from the scores of windows in any order."""

    def __init__(self, n_best_size: int, max_answer_length: int):
        """Make a collector.

        Args:
          n_best_size: number of best starts, ends and answers to keep.
          max_answer_length: maximum length of an answer, in pieces.
        """
        self.n_best_size = n_best_size
        self.max_answer_length = max_answer_length
        self._ranked = collections.defaultdict(list)  # question → (rank, candidate), best first
        self._num_windows = collections.Counter()  # by question

    def add(
        self, window: Window, paragraph: str, start_scores: np.ndarray, end_scores: np.ndarray
    ) -> None:
        """Add the scores of one window.

        Args:
          window: the window.
          paragraph: text of its paragraph.
          start_scores: float [S], logit of each position as the start of an answer. All positions
            are ranked, so leave out padding.
          end_scores: float [S], the same for the end.
        """
        candidates = window_candidates(
            window, paragraph, start_scores, end_scores, self.n_best_size, self.max_answer_length
        )
        self._num_windows[window.question] += 1
        # Ties go to the earlier window, then to the earlier candidate in it.
        ranked = self._ranked[window.question] + [
            ((-candidate.score, window.index, index), candidate)
            for index, candidate in enumerate(candidates)
        ]
        ranked.sort(key=lambda pair: pair[0])
        self._ranked[window.question] = _distinct(
            ranked, lambda pair: pair[1].text, self.n_best_size
        )

    def n_best(self, question: int) -> list[Candidate]:
        """N-best answers to a question, best first, with distinct texts; never empty."""
        return [candidate for _, candidate in self._ranked.get(question, ())] or [NO_ANSWER]

    def num_windows(self, question: int) -> int:
        """Number of windows of a question added so far."""
        return self._num_windows[question]

    def n_best_entries(self, question: int) -> list[dict]:
        """N-best answers to a question, as entries of `nbest_predictions.json`.

        An entry has the text, the probability among the n best, and both scores, under the
        original's names.
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

    Candidates are pairs of the best starts and ends. A pair is valid if it lies in the paragraph,
    is in order and not too long, and starts at a piece with maximum context in this window.

    Args:
      window: the window.
      paragraph: text of its paragraph.
      start_scores: float [S], logits of the starts, without padding.
      end_scores: float [S], logits of the ends, without padding.
      n_best_size: number of best starts, ends and answers to keep.
      max_answer_length: maximum length of an answer, in pieces.

    Returns:
      Up to `n_best_size` candidates, best first, with distinct texts.
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
    """Positions of the highest scores, highest first; ties go to the earlier position."""
    return np.argsort(-scores, kind="stable")[:count]


def _distinct(items, key, count):
    """First `count` items with distinct keys."""
    seen, kept = set(), []
    for item in items:
        if len(kept) == count:
            break
        if key(item) not in seen:
            seen.add(key(item))
            kept.append(item)
    return kept


def softmax(scores: Sequence[float]) -> list[float]:
    """Softmax of scores."""
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    total = sum(exponentials)
    return [value / total for value in exponentials]

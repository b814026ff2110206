"""SQuAD: n-best answers to each question, from the outputs of the head for its windows.

Of the head of v1.1, all pairs of the best starts and ends are candidates. The head of v2.0 gives
the pairs itself, and a score for "no answer".
"""

from __future__ import annotations

import abc
import collections
import math
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping, Sequence, Tuple, TypeVar

import numpy as np

from albert_tf.tasks.squad.features import Window

Item = TypeVar("Item")
Rank = Tuple[float, int, int]  # negative score, index of the window, place in it


@dataclass(frozen=True)
class Candidate:
    """A candidate answer to a question.

    Attributes:
      text: text of the answer, a span of the paragraph.
      start_score: score of the first piece as the start: a raw logit, or a log-probability in v2.0.
      end_score: score of the last piece as the end, likewise.
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


class AnswerCollector(abc.ABC):
    """Collector of the best answers to each question, from windows in any order.

    Attributes:
      no_span: placeholder for a question without any valid span.
    """

    no_span: Candidate

    def __init__(self, n_best_size: int, max_answer_length: int):
        """Create a collector.

        Args:
          n_best_size: number of answers to keep; in v1.1 also of the starts and ends to combine.
          max_answer_length: maximum length of an answer, in tokens.
        """
        self.n_best_size = n_best_size
        self.max_answer_length = max_answer_length
        # By question, best first.
        self._ranked: dict[int, list[tuple[Rank, Candidate]]] = collections.defaultdict(list)
        self._num_windows: collections.Counter[int] = collections.Counter()  # by question

    @abc.abstractmethod
    def candidates(
        self, window: Window, paragraph: str, outputs: Mapping[str, np.ndarray]
    ) -> list[Candidate]:
        """Find the best answers in one window: up to `n_best_size`, best first, distinct texts."""

    def add(self, window: Window, paragraph: str, outputs: Mapping[str, np.ndarray]) -> None:
        """Add one window.

        Args:
          window: the window.
          paragraph: text of its paragraph.
          outputs: outputs of the head for the window, by name.
        """
        self._num_windows[window.question] += 1
        # Ties go to the earlier window, then to the earlier candidate in it.
        ranked = self._ranked[window.question] + [
            ((-candidate.score, window.index, index), candidate)
            for index, candidate in enumerate(self.candidates(window, paragraph, outputs))
        ]
        ranked.sort(key=lambda pair: pair[0])
        self._ranked[window.question] = _distinct(
            ranked, lambda pair: pair[1].text, self.n_best_size
        )

    def n_best(self, question: int) -> list[Candidate]:
        """N-best answers to a question, best first, with distinct texts; never empty."""
        return [candidate for _, candidate in self._ranked.get(question, ())] or [self.no_span]

    def n_best_entries(self, question: int) -> list[dict[str, Any]]:
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

    def answer(self, question: int) -> dict[str, Any]:
        """The answers to a question as a JSON value.

        `n_best` are its `n_best_entries`, and `starts` the offsets of these in the paragraph, in
        characters; None for one that is no span. `num_windows` is the number of its windows.
        """
        candidates = self.n_best(question)
        return {
            "n_best": self.n_best_entries(question),
            "starts": [None if c is self.no_span else c.start for c in candidates],
            "num_windows": self._num_windows[question],
        }


class SpanCollector(AnswerCollector):
    """Collector for v1.1: all pairs of the best starts and ends are candidates."""

    no_span = Candidate("empty", 0.0, 0.0)

    def ranked_scores(
        self, window: Window, outputs: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the starts and of the ends that are ranked, which excludes padding."""
        length = window.num_positions
        return outputs["start_log_prob"][:length], outputs["end_log_prob"][:length]

    def candidates(
        self, window: Window, paragraph: str, outputs: Mapping[str, np.ndarray]
    ) -> list[Candidate]:
        """Find the best answers in one window.

        A pair is valid if it lies in the paragraph, is in order and not too long, and starts at a
        piece with maximum context in this window.

        Args:
          window: the window.
          paragraph: text of its paragraph.
          outputs: `start_log_prob` and `end_log_prob`, float [S]: logits of each position.

        Returns:
          Up to `n_best_size` candidates, best first, with distinct texts.
        """
        scores = self.ranked_scores(window, outputs)
        starts, ends = (_best_positions(values, self.n_best_size) for values in scores)
        pairs = np.meshgrid(starts, ends, indexing="ij")
        first, last = (positions.ravel() for positions in pairs)
        valid = _are_valid(window, first, last, self.max_answer_length)
        first, last = first[valid], last[valid]
        return _ranked_candidates(
            window, paragraph, first, last, scores[0][first], scores[1][last], self.n_best_size
        )


class TopListCollector(AnswerCollector):
    """Collector for v2.0: the head gives the best starts, the best ends for each, and a score.

    The score of "no answer" of a question is the lowest score of its windows.
    """

    no_span = Candidate("", -1e6, -1e6)
    _NO_WINDOW = 1e6  # score of "no answer" of a question without windows

    def __init__(self, n_best_size: int, max_answer_length: int):
        """Create a collector; see `AnswerCollector`."""
        super().__init__(n_best_size, max_answer_length)
        self._null_scores: dict[int, float] = {}

    def add(self, window: Window, paragraph: str, outputs: Mapping[str, np.ndarray]) -> None:
        """Add one window; see `AnswerCollector`."""
        super().add(window, paragraph, outputs)
        score = float(outputs["cls_logits"])
        self._null_scores[window.question] = min(score, self.null_score(window.question))

    def answer(self, question: int) -> dict[str, Any]:
        """The answers to a question as in `AnswerCollector.answer`, and its `null_score`."""
        return {**super().answer(question), "null_score": self.null_score(question)}

    def null_score(self, question: int) -> float:
        """Score of "no answer" for a question: a logit."""
        return self._null_scores.get(question, self._NO_WINDOW)

    def candidates(
        self, window: Window, paragraph: str, outputs: Mapping[str, np.ndarray]
    ) -> list[Candidate]:
        """Find the best answers in one window.

        Spans are valid as in v1.1. One that the lists have twice counts once, with the mean of its
        scores.

        Args:
          window: the window.
          paragraph: text of its paragraph.
          outputs: `start_top_log_probs` and `start_top_index` [starts], and `end_top_log_probs` and
            `end_top_index` [starts * ends], the best ends for each start.

        Returns:
          Up to `n_best_size` candidates, best first, with distinct texts.
        """
        last = outputs["end_top_index"]
        ends = len(last) // len(outputs["start_top_index"])
        first = np.repeat(outputs["start_top_index"], ends)
        scores = np.stack(
            [np.repeat(outputs["start_top_log_probs"], ends), outputs["end_top_log_probs"]]
        ).astype(np.float64)
        valid = _are_valid(window, first, last, self.max_answer_length)
        scores_of_spans: dict[tuple[int, int], list[np.ndarray]] = collections.defaultdict(list)
        for start, end, place in zip(first[valid], last[valid], np.flatnonzero(valid)):
            scores_of_spans[start, end].append(scores[:, place])
        if not scores_of_spans:
            return []
        first, last = np.array(list(scores_of_spans)).T
        means = np.array(
            [np.sum(of_span, 0) / len(of_span) for of_span in scores_of_spans.values()]
        )
        start_scores, end_scores = means.T
        return _ranked_candidates(
            window, paragraph, first, last, start_scores, end_scores, self.n_best_size
        )


def _are_valid(
    window: Window, first: np.ndarray, last: np.ndarray, max_answer_length: int
) -> np.ndarray:
    """Whether each span, from its first to its last position, may be an answer in a window.

    It must lie in the paragraph, be in order and not too long, and start at a piece with maximum
    context in this window.
    """
    size = len(window.start_to_char)
    first, last = first - window.first_position, last - window.first_position
    lengths = last - first + 1
    valid = (first >= 0) & (last < size) & (lengths > 0) & (lengths <= max_answer_length)
    valid[valid] = np.asarray(window.max_context, bool)[first[valid]]
    return valid


def _ranked_candidates(
    window: Window,
    paragraph: str,
    first: np.ndarray,
    last: np.ndarray,
    start_scores: np.ndarray,
    end_scores: np.ndarray,
    n_best_size: int,
) -> list[Candidate]:
    """Candidates of valid spans, best first, with distinct texts."""
    start_scores, end_scores = (x.astype(np.float64) for x in (start_scores, end_scores))
    candidates = []
    for index in np.argsort(-(start_scores + end_scores), kind="stable"):
        begin = window.start_to_char[first[index] - window.first_position]
        end = window.end_to_char[last[index] - window.first_position] + 1
        text = paragraph[begin:end]
        begin += len(text) - len(text.lstrip())
        scores = float(start_scores[index]), float(end_scores[index])
        candidates.append(Candidate(text.strip(), *scores, start=begin))
    return _distinct(candidates, lambda candidate: candidate.text, n_best_size)


def _best_positions(scores: np.ndarray, count: int) -> np.ndarray:
    """Positions of the highest scores, highest first; ties go to the earlier position."""
    return np.argsort(-scores, kind="stable")[:count]


def _distinct(items: Iterable[Item], key: Callable[[Item], str], count: int) -> list[Item]:
    """First `count` items with distinct keys."""
    seen: set[str] = set()
    kept: list[Item] = []
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

"""SQuAD: n-best answers to each question, from the outputs of the head for its windows.

Of the head of v1.1, all pairs of the best starts and ends are candidates. The head of v2.0 gives
the pairs itself, and a score for "no answer".
"""

from __future__ import annotations

import abc
import collections
from dataclasses import dataclass
from typing import Any, ClassVar, Mapping, Sequence, Tuple

import numpy as np
from scipy import special

from albert_tf.tasks.squad.features import Window

Rank = Tuple[float, int, int]  # negative score, index of the window, place in it


@dataclass(frozen=True)
class Candidate:
    """A candidate answer to a question.

    Attributes:
      text: text of the answer, a span of the paragraph.
      start_score: score of the first piece as the start: a raw logit, or a log-probability in v2.0.
      end_score: score of the last piece as the end, likewise.
      start: offset of the answer in the paragraph, in characters; None for one that is no span.
    """

    text: str
    start_score: float
    end_score: float
    start: int | None = None

    @property
    def score(self) -> float:
        """Sum of both scores, to rank candidates by."""
        return self.start_score + self.end_score


class AnswerCollector(abc.ABC):
    """Collector of the best answers to each question, from windows in any order.

    Attributes:
      no_span: placeholder for a question without any valid span.
    """

    no_span: ClassVar[Candidate]

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
    def spans(self, window: Window, outputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Find candidate spans in one window.

        Args:
          window: the window.
          outputs: outputs of the head for the window, by name.

        Returns:
          For each span the positions of its first and its last piece, and their scores as the start
          and the end; the spans need not be valid.
        """

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
            for index, candidate in enumerate(self._candidates(window, paragraph, outputs))
        ]
        ranked.sort(key=lambda pair: pair[0])
        distinct: dict[str, tuple[Rank, Candidate]] = {}
        for rank, candidate in ranked:
            distinct.setdefault(candidate.text, (rank, candidate))
        self._ranked[window.question] = list(distinct.values())[: self.n_best_size]

    def _candidates(
        self, window: Window, paragraph: str, outputs: Mapping[str, np.ndarray]
    ) -> list[Candidate]:
        """Best answers in one window: up to `n_best_size`, best first, with distinct texts.

        A span is valid if it lies in the paragraph, is in order and not too long, and starts at a
        piece with maximum context in this window.
        """
        first, last, *scores = self.spans(window, outputs)
        first, last = first - window.first_position, last - window.first_position
        is_valid = (first >= 0) & (last < len(window.start_to_char))
        is_valid &= (first <= last) & (last - first < self.max_answer_length)
        is_valid[is_valid] = np.asarray(window.max_context, bool)[first[is_valid]]
        start_scores, end_scores = np.asarray(scores, np.float64)
        found: dict[str, Candidate] = {}
        order = np.argsort(-(start_scores + end_scores), kind="stable")
        for place in order[is_valid[order]]:
            if len(found) == self.n_best_size:
                break
            begin = window.start_to_char[first[place]]
            text = paragraph[begin : window.end_to_char[last[place]] + 1]
            begin += len(text) - len(text.lstrip())
            text = text.strip()
            of_span = float(start_scores[place]), float(end_scores[place])
            found.setdefault(text, Candidate(text, *of_span, begin))
        return list(found.values())

    def answer(self, question: int) -> dict[str, Any]:
        """The answers to a question as a JSON value.

        `n_best` are its best answers with distinct texts, best first and never empty, as entries of
        `nbest_predictions.json`: the text, the probability among the n best, and both scores, under
        the original's names. `starts` are their offsets in the paragraph, in characters; None for
        one that is no span. `num_windows` is the number of its windows.
        """
        candidates = [candidate for _, candidate in self._ranked[question]] or [self.no_span]
        probabilities = special.softmax([candidate.score for candidate in candidates]).tolist()
        return {
            "n_best": [
                {
                    "text": candidate.text,
                    "probability": probability,
                    "start_log_prob": candidate.start_score,
                    "end_log_prob": candidate.end_score,
                }
                for candidate, probability in zip(candidates, probabilities)
            ],
            "starts": [candidate.start for candidate in candidates],
            "num_windows": self._num_windows[question],
        }


class SpanCollector(AnswerCollector):
    """Collector for v1.1: all pairs of the best starts and ends are candidates."""

    no_span = Candidate("empty", 0.0, 0.0)

    def spans(self, window: Window, outputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Pair the best starts and ends, without padding; ties go to the earlier position.

        Args:
          window: the window.
          outputs: `start_log_prob` and `end_log_prob`, float [S]: logits of each position.

        Returns:
          See `AnswerCollector.spans`.
        """
        scores = [outputs[f"{name}_log_prob"][: window.num_positions] for name in ("start", "end")]
        best = [np.argsort(-values, kind="stable")[: self.n_best_size] for values in scores]
        first, last = (positions.ravel() for positions in np.meshgrid(*best, indexing="ij"))
        return first, last, scores[0][first], scores[1][last]


class TopListCollector(AnswerCollector):
    """Collector for v2.0: the head gives the best starts, the best ends for each, and a score.

    The score of "no answer" of a question, a logit, is the lowest score of its windows.
    """

    no_span = Candidate("", -1e6, -1e6)

    def __init__(self, n_best_size: int, max_answer_length: int):
        """Create a collector; see `AnswerCollector`."""
        super().__init__(n_best_size, max_answer_length)
        # By question; one without windows has the default.
        self._null_scores: dict[int, float] = collections.defaultdict(lambda: 1e6)

    def add(self, window: Window, paragraph: str, outputs: Mapping[str, np.ndarray]) -> None:
        """Add one window; see `AnswerCollector`."""
        super().add(window, paragraph, outputs)
        lowest = self._null_scores[window.question]
        self._null_scores[window.question] = min(float(outputs["cls_logits"]), lowest)

    def answer(self, question: int) -> dict[str, Any]:
        """The answers to a question as in `AnswerCollector.answer`, and its `null_score`."""
        return {**super().answer(question), "null_score": self._null_scores[question]}

    def spans(self, window: Window, outputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Pair each start with its ends.

        A span that the lists have twice counts once, with the mean of its scores.

        Args:
          window: the window.
          outputs: `start_top_log_probs` and `start_top_index` [starts], and `end_top_log_probs` and
            `end_top_index` [starts * ends], the best ends for each start.

        Returns:
          See `AnswerCollector.spans`.
        """
        last = outputs["end_top_index"]
        ends = len(last) // len(outputs["start_top_index"])
        first = np.repeat(outputs["start_top_index"], ends)
        start_scores = np.repeat(outputs["start_top_log_probs"], ends)
        numbers: dict[tuple[int, int], int] = {}
        span_numbers = [
            numbers.setdefault(span, len(numbers)) for span in zip(first.tolist(), last.tolist())
        ]
        counts = np.bincount(span_numbers)
        first, last = np.array(list(numbers)).T
        start_means = np.bincount(span_numbers, start_scores) / counts
        end_means = np.bincount(span_numbers, outputs["end_top_log_probs"]) / counts
        return first, last, start_means, end_means

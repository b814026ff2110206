"""SQuAD: conversion of questions to features.

Each paragraph is tokenized and aligned with its pieces once, for all its questions. A question and
the pieces of its paragraph are split into windows (doc spans) that fit the model.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Iterable, Iterator, Sequence

import numpy as np

import tokenization
from albert_tf.io.errors import InputError
from albert_tf.tasks.squad.data import Question
from albert_tf.tasks.squad.paragraphs import AlignedParagraph, align_paragraph

FIRST_UNIQUE_ID = 1000000000
_SPECIAL_TOKENS = 3  # [CLS] question [SEP] window [SEP]


@dataclass(frozen=True)
class FeatureSettings:
    """Lengths, in pieces, and case of features.

    Attributes:
      max_seq_length: maximum length of the model's input.
      doc_stride: distance between the starts of consecutive windows.
      max_query_length: maximum length of a question; longer ones are truncated.
      do_lower_case: whether to lower-case text.
    """

    max_seq_length: int
    doc_stride: int
    max_query_length: int
    do_lower_case: bool


@dataclass
class Window:
    """A window (doc span) of a paragraph, with the data to turn scores into answers.

    Attributes:
      question: index of the question among the examples.
      index: index of the window in its paragraph.
      first_position: position of the window's first piece in the model's input.
      start_to_char: offset in the paragraph of each piece's first character.
      end_to_char: offset in the paragraph of each piece's last character.
      max_context: for each piece, whether it has its maximum context in this window.
    """

    question: int
    index: int
    first_position: int
    start_to_char: list[int]
    end_to_char: list[int]
    max_context: list[bool]

    @property
    def num_positions(self) -> int:
        """Length of the model's input in pieces, without padding."""
        return self.first_position + len(self.start_to_char) + 1


@dataclass
class Feature:
    """Model input for one window: `[CLS] question [SEP] window [SEP]`.

    Attributes:
      window: the window.
      input_ids: ids of the pieces, without padding.
      segment_ids: 0 for the question and its special tokens, 1 for the window and its `[SEP]`.
      p_mask: 0 for possible answer positions (`[CLS]` and the window), else 1.
      start_position: position of the answer's first piece in `input_ids`; 0 if the window does not
        contain the whole answer.
      end_position: position of the answer's last piece in `input_ids`, or 0 likewise.
      is_impossible: whether the window does not contain the whole answer.
    """

    window: Window
    input_ids: list[int]
    segment_ids: list[int]
    p_mask: list[int]
    start_position: int = 0
    end_position: int = 0
    is_impossible: bool = False

    def record(self, max_seq_length: int, for_training: bool) -> dict[str, list[int]]:
        """Values of the feature's record, padded, by the original's field names.

        The run adds `unique_ids`, the number of the feature in its file.

        Args:
          max_seq_length: length of the record, in pieces.
          for_training: whether to add the labels.
        """
        values = {
            **tokenization.padded_inputs(self.input_ids, self.segment_ids, max_seq_length),
            "p_mask": self.p_mask + [1] * (max_seq_length - len(self.p_mask)),
        }
        if for_training:
            values["start_positions"] = [self.start_position]
            values["end_positions"] = [self.end_position]
            values["is_impossible"] = [int(self.is_impossible)]
        return values


def check_room(max_seq_length: int, max_query_length: int) -> None:
    """Check that a question of maximum length leaves room for the paragraph.

    Raises:
      InputError: if there is no room for a single piece.
    """
    if max_seq_length < max_query_length + _SPECIAL_TOKENS + 1:
        raise InputError(
            f"--max_seq_length {max_seq_length} leaves no room for the paragraph after "
            f"--max_query_length {max_query_length} and {_SPECIAL_TOKENS} special tokens: raise it"
        )


class FeatureConverter:
    """Converter of questions to features.

    Attributes:
      tokenizer: the tokenizer.
      settings: lengths and case of the features.
      dropped: ids of the questions skipped because their paragraph has no pieces.
    """

    def __init__(self, tokenizer: tokenization.FullTokenizer, settings: FeatureSettings):
        """Create a converter.

        Args:
          tokenizer: tokenizer with a SentencePiece model.
          settings: lengths and case of the features.
        """
        self.tokenizer = tokenizer
        self.settings = settings
        self.dropped: list[str] = []
        self._cls_id, self._sep_id = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])

    def features(
        self, questions: Iterable[Question], for_training: bool, first_question: int = 0
    ) -> Iterator[Feature]:
        """Yield the features of all questions, in order.

        Args:
          questions: questions of one file; those about the same paragraph are consecutive.
          for_training: whether to add the positions of each question's first answer.
          first_question: index of the first question among all of the shard.
        """
        by_paragraph = itertools.groupby(
            enumerate(questions, first_question), key=lambda numbered: numbered[1].paragraph
        )
        for paragraph, numbered_questions in by_paragraph:
            aligned = align_paragraph(paragraph, self.tokenizer, self.settings.do_lower_case)
            for number, question in numbered_questions:
                if aligned is None:
                    self.dropped.append(question.id)
                else:
                    yield from self._windows(question, number, aligned, for_training)

    def _windows(
        self, question: Question, number: int, aligned: AlignedParagraph, for_training: bool
    ) -> Iterator[Feature]:
        """Yield the features of one question."""
        settings = self.settings
        query = self.tokenizer.ids_of_text(question.text, settings.do_lower_case)
        query = query[: settings.max_query_length]
        window_length = settings.max_seq_length - len(query) - _SPECIAL_TOKENS
        spans = doc_spans(len(aligned.ids), window_length, settings.doc_stride)
        has_answer = for_training and not question.is_impossible
        answer = aligned.answer_pieces(question.answers[0]) if has_answer else None
        prefix = [self._cls_id, *query, self._sep_id]
        for index, span in enumerate(spans):
            pieces = slice(span.start, span.stop)
            feature = Feature(
                window=Window(
                    question=number,
                    index=index,
                    first_position=len(prefix),
                    start_to_char=aligned.start_to_char[pieces].tolist(),
                    end_to_char=aligned.end_to_char[pieces].tolist(),
                    max_context=max_context(spans, index),
                ),
                input_ids=[*prefix, *aligned.ids[pieces], self._sep_id],
                segment_ids=[0] * len(prefix) + [1] * (len(span) + 1),
                p_mask=[0] + [1] * (len(prefix) - 1) + [0] * len(span) + [1],
            )
            if for_training:
                _add_answer(feature, span, answer)
            yield feature


def _add_answer(feature: Feature, span: range, answer: tuple[int, int] | None) -> None:
    """Add the positions of an answer to the feature of a window, or that it is not there.

    Args:
      feature: the feature.
      span: pieces of the paragraph in the window.
      answer: first and last piece of the answer in the paragraph; None without an answer.
    """
    if answer and span.start <= answer[0] and answer[1] < span.stop:
        offset = feature.window.first_position - span.start
        feature.start_position, feature.end_position = (piece + offset for piece in answer)
    else:
        feature.is_impossible = True


def doc_spans(num_pieces: int, window_length: int, doc_stride: int) -> list[range]:
    """Split a paragraph into windows.

    Args:
      num_pieces: number of pieces in the paragraph.
      window_length: maximum length of a window, in pieces.
      doc_stride: distance between the starts of consecutive windows, at most their length.

    Returns:
      The range of pieces of each window, in order; only the last reaches the end.
    """
    spans, start = [], 0
    while start < num_pieces:
        span = range(start, min(start + window_length, num_pieces))
        spans.append(span)
        if span.stop == num_pieces:
            break
        start += min(len(span), doc_stride)
    return spans


def max_context(spans: list[range], index: int) -> list[bool]:
    """Find the pieces with maximum context in a window, compared with the other windows.

    The context of a piece in a window is the number of pieces before or after it, whichever is
    smaller, plus 0.01 of the window's length. Ties go to the earlier window.

    Example: take windows of the pieces 0 to 9 and 4 to 13. Piece 6 has 6 pieces before and 3 after
    it in the first window (context 3.1), but 2 before and 7 after it in the second (context 2.1).
    Its maximum context is in the first. `max_context([range(0, 10), range(4, 14)], 0)` is true for
    the pieces 0 to 6.

    Args:
      spans: range of pieces of each window of a paragraph.
      index: index of the window.

    Returns:
      One boolean per piece of the window.
    """
    span = spans[index]
    pieces = np.arange(span.start, span.stop)

    def context(window: range) -> np.ndarray:
        smaller = np.minimum(pieces - window.start, window.stop - 1 - pieces)
        return np.where(smaller >= 0, smaller + 0.01 * len(window), -1.0)

    own = context(span)
    is_mine = np.ones(len(span), bool)
    for number in _overlapping(spans, index, -1):
        is_mine &= own > context(spans[number])
    for number in _overlapping(spans, index, 1):
        is_mine &= own >= context(spans[number])
    return is_mine.tolist()


def _overlapping(spans: Sequence[range], index: int, step: int) -> Iterator[int]:
    """Yield the indices of the windows on one side that overlap a window, nearest first."""
    number = index + step
    while 0 <= number < len(spans) and (
        spans[number].start < spans[index].stop and spans[index].start < spans[number].stop
    ):
        yield number
        number += step

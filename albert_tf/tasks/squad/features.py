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
from albert_tf.tasks.squad.paragraphs import align_paragraph
from albert_tf.tasks.squad.settings import AnswerSettings

FIRST_UNIQUE_ID = 1000000000
_SPECIAL_TOKENS = 3  # [CLS] question [SEP] window [SEP]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Feature:
    """Model input for one window: `[CLS] question [SEP] window [SEP]`.

    Attributes:
      window: the window.
      input_ids: ids of the pieces, without padding.
      segment_ids: 0 for the question and its special tokens, 1 for the window and its `[SEP]`.
      p_mask: 0 for possible answer positions (`[CLS]` and the window), else 1.
      answer: positions of the answer's first and last piece in `input_ids`; None if the window does
        not contain the whole answer.
    """

    window: Window
    input_ids: list[int]
    segment_ids: list[int]
    p_mask: list[int]
    answer: tuple[int, int] | None = None

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
            start, end = self.answer or (0, 0)
            values["start_positions"] = [start]
            values["end_positions"] = [end]
            values["is_impossible"] = [int(self.answer is None)]
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


def make_features(
    questions: Iterable[Question],
    tokenizer: tokenization.FullTokenizer,
    settings: AnswerSettings,
    for_training: bool = False,
    first_question: int = 0,
) -> Iterator[Feature]:
    """Convert questions to features, one per window.

    Args:
      questions: questions of one file; those about the same paragraph are consecutive.
      tokenizer: tokenizer with a SentencePiece model.
      settings: lengths and case of the features.
      for_training: whether to add the positions of each question's first answer.
      first_question: index of the first question among all of the shard.

    Yields:
      The features of all questions, in order; none for a question whose paragraph has no pieces.
    """
    by_paragraph = itertools.groupby(
        enumerate(questions, first_question), key=lambda numbered: numbered[1].paragraph
    )
    cls_id, sep_id = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    for paragraph, numbered_questions in by_paragraph:
        aligned = align_paragraph(paragraph, tokenizer, settings.do_lower_case)
        if aligned is None:
            continue
        for number, question in numbered_questions:
            query = tokenizer.ids_of_text(question.text, settings.do_lower_case)
            prefix = [cls_id, *query[: settings.max_query_length], sep_id]
            window_length = settings.max_seq_length - len(prefix) - 1
            spans = doc_spans(len(aligned.ids), window_length, settings.doc_stride)
            context_windows = max_context_windows(spans)
            has_answer = for_training and not question.is_impossible
            answer = aligned.answer_pieces(question.answers[0]) if has_answer else None
            for index, span in enumerate(spans):
                pieces = slice(span.start, span.stop)
                window = Window(
                    question=number,
                    index=index,
                    first_position=len(prefix),
                    start_to_char=aligned.start_to_char[pieces].tolist(),
                    end_to_char=aligned.end_to_char[pieces].tolist(),
                    max_context=(context_windows[pieces] == index).tolist(),
                )
                yield Feature(
                    window,
                    input_ids=[*prefix, *aligned.ids[pieces], sep_id],
                    segment_ids=[0] * len(prefix) + [1] * (len(span) + 1),
                    p_mask=[0] + [1] * (len(prefix) - 1) + [0] * len(span) + [1],
                    answer=_answer_in(span, len(prefix), answer),
                )


def _answer_in(
    span: range, first_position: int, answer: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Positions of an answer in the input of a window; None if they are not all in the window.

    Args:
      span: pieces of the paragraph in the window.
      first_position: position of the first of them.
      answer: first and last piece of the answer in the paragraph; None without an answer.
    """
    if answer is None or answer[0] < span.start or answer[1] >= span.stop:
        return None
    offset = first_position - span.start
    return answer[0] + offset, answer[1] + offset


def doc_spans(num_pieces: int, window_length: int, doc_stride: int) -> list[range]:
    """Split a paragraph into windows.

    Args:
      num_pieces: number of pieces in the paragraph.
      window_length: maximum length of a window, in pieces.
      doc_stride: distance between the starts of consecutive windows; at most their length counts.

    Returns:
      The range of pieces of each window, in order; only the last reaches the end.
    """
    stride = min(doc_stride, window_length)
    starts = range(0, max(num_pieces - window_length, 0) + stride, stride)
    return [
        range(start, min(start + window_length, num_pieces))
        for start in starts
        if start < num_pieces
    ]


def max_context_windows(spans: Sequence[range]) -> np.ndarray:
    """Find the window in which each piece has its maximum context.

    The context of a piece in a window is the number of pieces before or after it, whichever is
    smaller, plus 0.01 of the window's length. Ties go to the earlier window.

    Example: take windows of the pieces 0 to 9 and 4 to 13. Piece 6 has 6 pieces before and 3 after
    it in the first window (context 3.1), but 2 before and 7 after it in the second (context 2.1).
    Its maximum context is in the first.

    Args:
      spans: range of pieces of each window of a paragraph.

    Returns:
      For each piece the index of its window, int [pieces].
    """
    contexts = np.full(spans[-1].stop, -1.0)
    windows = np.zeros(spans[-1].stop, int)
    for index, span in enumerate(spans):
        pieces = slice(span.start, span.stop)
        places = np.arange(len(span))
        context = np.minimum(places, places[::-1]) + 0.01 * len(span)
        is_larger = context > contexts[pieces]
        contexts[pieces][is_larger] = context[is_larger]
        windows[pieces][is_larger] = index
    return windows

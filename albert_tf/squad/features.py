"""SQuAD v1.1: from JSON to the features that the model reads.

A paragraph is tokenized and aligned with its pieces once, whatever the number of its questions. A
question and the pieces of its paragraph are cut into windows (doc spans) that the model can hold.
This file does not load TensorFlow.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, Sequence

import tokenization
from albert_tf.errors import InputError, listed
from albert_tf.squad.alignment import align, nearest_counterpart

FIRST_UNIQUE_ID = 1000000000


@dataclass(frozen=True)
class Answer:
    """An answer as annotated.

    Attributes:
      text: the answer, a part of its paragraph.
      start: number of the paragraph's characters before it.
    """

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question on a paragraph.

    Attributes:
      id: unique in its file.
      text: the question.
      answers: the annotated answers; those of a training file have one or more.
    """

    id: str
    text: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph and the questions on it."""

    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class FeatureSettings:
    """How questions are made into features; lengths are in pieces.

    Attributes:
      max_seq_length: the longest input of the model.
      doc_stride: distance between the starts of two windows.
      max_query_length: longer questions are cut.
      do_lower_case: whether text is lower-cased.
    """

    max_seq_length: int
    doc_stride: int
    max_query_length: int
    do_lower_case: bool


@dataclass
class Window:
    """What prediction needs to know of a feature, beside what the model reads.

    Attributes:
      unique_id: number of the feature, from 1000000000.
      question_index: number of the question in its file, from 0.
      doc_span_index: number of the window in its paragraph, from 0.
      first_position: number of positions before the window in the model's input.
      start_to_char: for each piece, the paragraph's character that it starts at.
      end_to_char: for each piece, the paragraph's character that it ends at.
      max_context: for each piece, whether no other window shows it with more context.
    """

    unique_id: int
    question_index: int
    doc_span_index: int
    first_position: int
    start_to_char: list[int]
    end_to_char: list[int]
    max_context: list[bool]

    @property
    def num_positions(self) -> int:
        """The length of the model's input, without padding."""
        return self.first_position + len(self.start_to_char) + 1


@dataclass
class Feature:
    """One window of a paragraph with one question: `[CLS] question [SEP] window [SEP]`.

    Attributes:
      window: the window.
      input_ids: ids of the pieces, not padded.
      segment_ids: 0 for the question with its marks, 1 for the window with its mark.
      p_mask: 0 where an answer may lie (`[CLS]` and the window), else 1.
      start_position: number in `input_ids` of the answer's first piece; 0 if the window does not
        hold the whole answer.
      end_position: the same for its last piece.
      is_impossible: whether the window does not hold the whole answer.
    """

    window: Window
    input_ids: list[int]
    segment_ids: list[int]
    p_mask: list[int]
    start_position: int = 0
    end_position: int = 0
    is_impossible: bool = False

    def record(self, max_seq_length: int, for_training: bool) -> dict[str, list[int]]:
        """The values of the feature's record, padded, by the names that the original gives them."""
        values = {
            "unique_ids": [self.window.unique_id],
            **tokenization.padded_inputs(self.input_ids, self.segment_ids, max_seq_length),
            "p_mask": self.p_mask + [1] * (max_seq_length - len(self.p_mask)),
        }
        if for_training:
            values["start_positions"] = [self.start_position]
            values["end_positions"] = [self.end_position]
            values["is_impossible"] = [int(self.is_impossible)]
        return values


def read_squad(path: str, for_training: bool) -> list[Paragraph]:
    """Reads and checks a SQuAD v1.1 file.

    Args:
      path: path of the JSON file.
      for_training: whether every question must have an answer that stands where it says.

    Returns:
      The paragraphs in the order of the file.

    Raises:
      InputError: if the file is missing, is not JSON or not SQuAD, or what it holds cannot be used.
    """
    try:
        articles = json.loads(Path(path).read_text(encoding="utf-8-sig"))["data"]
    except OSError as error:
        raise InputError(f"{path}: cannot read the questions: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}; is the file complete?") from error
    except (KeyError, TypeError) as error:
        raise InputError(f'{path}: not a SQuAD file: it has no list "data" of articles') from error

    reader = _SquadReader(for_training)
    try:
        paragraphs = reader.paragraphs(articles)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {reader.place} is not as in SQuAD v1.1: {error!r}") from error
    problems = reader.problems
    if not any(paragraph.questions for paragraph in paragraphs) and not problems:
        problems = ["there is no question in the file"]
    if problems:
        raise InputError(f"{path}: {listed(problems)}")
    return paragraphs


class _SquadReader:
    """Reads the articles of one file.

    Attributes:
      place: where it is in the file.
      problems: what is wrong with questions that are written as they should.
    """

    def __init__(self, for_training):
        self.for_training = for_training
        self.place = "the file"
        self.problems = []
        self.ids = set()

    def paragraphs(self, articles):
        paragraphs = []
        for article_number, article in enumerate(articles, 1):
            self.place = f"article {article_number}"
            for number, entry in enumerate(article["paragraphs"], 1):
                self.place = f"article {article_number}, paragraph {number}"
                context = _string(entry, "context")
                questions = tuple(self._question(qa, context) for qa in entry["qas"])
                paragraphs.append(Paragraph(context, questions))
        return paragraphs

    def _question(self, qa, context):
        question = Question(
            id=_string(qa, "id"),
            text=_string(qa, "question"),
            answers=tuple(
                Answer(_string(answer, "text"), int(answer["answer_start"]))
                for answer in qa.get("answers", ())
            ),
        )
        if question.id in self.ids:
            self.problems.append(f"question {question.id} stands twice: give each its own id")
        self.ids.add(question.id)
        problem = _training_problem(question, context) if self.for_training else None
        if problem:
            self.problems.append(f"question {question.id}: {problem}")
        return question


def _string(entry, key):
    value = entry[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}, not a string")
    return value


def _training_problem(question, context):
    """What keeps a question from being trained on, or None."""
    if not question.answers or not question.answers[0].text.strip():
        return (
            "it has no answer, which training needs (SQuAD v2.0 has such questions: take them out)"
        )
    answer = question.answers[0]
    found = context[answer.start : answer.start + len(answer.text)]
    if found == answer.text:
        return None
    elsewhere = context.find(answer.text)
    remedy = f"it stands at {elsewhere}" if elsewhere >= 0 else "the paragraph does not hold it"
    return (
        f"the answer {answer.text!r} is not at its answer_start {answer.start}, where {found!r} "
        f"stands; {remedy}: correct the file"
    )


def with_questions(paragraphs: Sequence[Paragraph], numbers: range) -> list[Paragraph]:
    """Paragraphs with some of their questions, which are numbered through all paragraphs; those
    without any are left out."""
    kept, first = [], 0
    for paragraph in paragraphs:
        start, stop = (max(number - first, 0) for number in (numbers.start, numbers.stop))
        questions = paragraph.questions[start:stop]
        if questions:
            kept.append(Paragraph(paragraph.text, questions))
        first += len(paragraph.questions)
    return kept


class FeatureConverter:
    """Makes features of paragraphs, and counts what it has to leave out.

    Attributes:
      dropped: ids of the questions whose paragraph cannot be aligned with its pieces.
    """

    def __init__(self, tokenizer: tokenization.FullTokenizer, settings: FeatureSettings):
        """Makes a converter.

        Args:
          tokenizer: a tokenizer with a SentencePiece model.
          settings: how features are made.
        """
        self.tokenizer = tokenizer
        self.settings = settings
        self.dropped: list[str] = []
        self._cls_id, self._sep_id = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])

    def features(
        self,
        paragraphs: Iterable[Paragraph],
        for_training: bool,
        first_question: int = 0,
        first_unique_id: int = FIRST_UNIQUE_ID,
    ) -> Iterator[Feature]:
        """Yields the features of all questions, in order.

        Args:
          paragraphs: the paragraphs of one file, or of a part of it, in its order.
          for_training: whether features get the positions of their question's first answer.
          first_question: number of the first question in its file.
          first_unique_id: number of the first feature.
        """
        unique_ids = itertools.count(first_unique_id)
        question_index = first_question
        for paragraph in paragraphs:
            if not paragraph.questions:
                continue
            aligned = align_paragraph(paragraph.text, self.tokenizer, self.settings.do_lower_case)
            for question in paragraph.questions:
                if aligned is None:
                    self.dropped.append(question.id)
                else:
                    yield from self._question_features(
                        question, question_index, aligned, unique_ids, for_training
                    )
                question_index += 1

    def _question_features(self, question, question_index, aligned, unique_ids, for_training):
        """Yields the features of one question."""
        settings = self.settings
        query = self.tokenizer.ids_of_text(question.text, settings.do_lower_case)
        query = query[: settings.max_query_length]
        window_length = settings.max_seq_length - len(query) - 3
        spans = doc_spans(len(aligned.ids), window_length, settings.doc_stride)
        answer = aligned.answer_pieces(question.answers[0]) if for_training else None
        prefix = [self._cls_id, *query, self._sep_id]
        for index, span in enumerate(spans):
            pieces = slice(span.start, span.start + span.length)
            feature = Feature(
                window=Window(
                    unique_id=next(unique_ids),
                    question_index=question_index,
                    doc_span_index=index,
                    first_position=len(prefix),
                    start_to_char=aligned.start_to_char[pieces],
                    end_to_char=aligned.end_to_char[pieces],
                    max_context=max_context(spans, index),
                ),
                input_ids=[*prefix, *aligned.ids[pieces], self._sep_id],
                segment_ids=[0] * len(prefix) + [1] * (span.length + 1),
                p_mask=[0] + [1] * (len(prefix) - 1) + [0] * span.length + [1],
            )
            if for_training:
                start, end = answer
                feature.is_impossible = not (span.start <= start and end < span.start + span.length)
                if not feature.is_impossible:
                    feature.start_position = start - span.start + len(prefix)
                    feature.end_position = end - span.start + len(prefix)
            yield feature


@dataclass(frozen=True)
class DocSpan:
    """A window of a paragraph: its first piece and its number of pieces."""

    start: int
    length: int


def doc_spans(num_pieces: int, window_length: int, doc_stride: int) -> list[DocSpan]:
    """Cuts a paragraph into windows.

    Args:
      num_pieces: number of pieces in the paragraph.
      window_length: the longest window.
      doc_stride: distance between the starts of two windows; that of the windows' length if it is
        less.

    Returns:
      The windows in order; the one that reaches the end is the last.
    """
    spans, start = [], 0
    while start < num_pieces:
        length = min(window_length, num_pieces - start)
        spans.append(DocSpan(start, length))
        if start + length == num_pieces:
            break
        start += min(length, doc_stride)
    return spans


def max_context(spans: list[DocSpan], index: int) -> list[bool]:
    """For each piece of a window, whether no other window shows it with more context.

    The context of a piece in a window is the smaller of the numbers of pieces before and after it,
    plus 0.01 of the window's length; with equal contexts the earlier window counts.
    """
    span = spans[index]
    rivals = [
        (number, other)
        for number, other in enumerate(spans)
        if number != index
        and other.start < span.start + span.length
        and span.start < other.start + other.length
    ]
    if not rivals:
        return [True] * span.length

    def context(window, piece):
        before, after = piece - window.start, window.start + window.length - 1 - piece
        return min(before, after) + 0.01 * window.length if min(before, after) >= 0 else -1.0

    result = []
    for piece in range(span.start, span.start + span.length):
        own = context(span, piece)
        result.append(
            all(
                own > context(rival, piece) or (own == context(rival, piece) and index < number)
                for number, rival in rivals
            )
        )
    return result


@dataclass(frozen=True)
class AlignedParagraph:
    """The pieces of a paragraph and where they come from.

    Attributes:
      ids: ids of the pieces.
      start_to_char: for each piece, the paragraph's character that it starts at.
      end_to_char: for each piece, the paragraph's character that it ends at.
      char_to_piece_char: for each character of the paragraph, the character of the joined pieces
        that it became, or None.
      piece_char_to_piece: for each character of the joined pieces, its piece.
    """

    ids: list[int]
    start_to_char: list[int]
    end_to_char: list[int]
    char_to_piece_char: list[int | None]
    piece_char_to_piece: list[int]

    def answer_pieces(self, answer: Answer) -> tuple[int, int]:
        """The first and the last piece of an answer."""
        first = nearest_counterpart(self.char_to_piece_char, answer.start, is_start=True)
        last_char = answer.start + len(answer.text) - 1
        last = nearest_counterpart(self.char_to_piece_char, last_char, is_start=False)
        return self.piece_char_to_piece[first], self.piece_char_to_piece[last]


def align_paragraph(
    text: str, tokenizer: tokenization.FullTokenizer, do_lower_case: bool
) -> AlignedParagraph | None:
    """Splits a paragraph into pieces and finds the characters that they stand for.

    Args:
      text: the paragraph.
      tokenizer: a tokenizer with a SentencePiece model.
      do_lower_case: whether text is lower-cased.

    Returns:
      The pieces, or None if text and pieces differ too much to be aligned.
    """
    pieces = tokenizer.tokenize(tokenization.preprocess_text(text, lower=do_lower_case))
    joined = "".join(pieces).replace(tokenization.SPIECE_UNDERLINE, " ")
    normalized = {
        char: tokenization.preprocess_text(char, remove_space=False, lower=do_lower_case)
        for char in set(text)
    }
    pairs = align([normalized[char] for char in text], joined)
    if pairs is None:
        return None
    char_to_piece_char = [None] * len(text)
    piece_char_to_char = [None] * len(joined)
    for char, piece_char in pairs:
        char_to_piece_char[char] = piece_char
        piece_char_to_char[piece_char] = char

    start_to_char, end_to_char, piece_char_to_piece = [], [], []
    for index, piece in enumerate(pieces):
        start = len(piece_char_to_piece)
        end = start + len(piece) - 1
        piece_char_to_piece += [index] * len(piece)
        start_to_char.append(nearest_counterpart(piece_char_to_char, start, True, len(text)))
        end_to_char.append(nearest_counterpart(piece_char_to_char, end, False, len(text)))
    return AlignedParagraph(
        ids=tokenizer.convert_tokens_to_ids(pieces),
        start_to_char=start_to_char,
        end_to_char=end_to_char,
        char_to_piece_char=char_to_piece_char,
        piece_char_to_piece=piece_char_to_piece,
    )


class WindowFinder:
    """Finds windows by their unique ids while they stream in.

    Only the windows that were passed over are kept, so windows should be asked for in about the
    order in which they come.
    """

    def __init__(self, windows: Iterator[Window]):
        """Takes the stream of windows."""
        self._windows = iter(windows)
        self._passed_over = {}

    def find(self, unique_id: int) -> Window | None:
        """The window with that id, which is then forgotten; None if there is none."""
        while unique_id not in self._passed_over:
            window = next(self._windows, None)
            if window is None:
                return None
            self._passed_over[window.unique_id] = window
        return self._passed_over.pop(unique_id)

    def remaining(self) -> int:
        """The number of windows that were not asked for; ends the stream."""
        return len(self._passed_over) + sum(1 for _ in self._windows)

"""SQuAD v1.1: reading and checking the questions of a file.

This file does not load TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from albert_tf.errors import InputError, listed


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
      paragraph: text of the paragraph; the questions on it come one after the other.
      answers: the annotated answers; those of a training file have one or more.
    """

    id: str
    text: str
    paragraph: str
    answers: tuple[Answer, ...] = ()


def read_squad(path: str, for_training: bool) -> list[Question]:
    """Read and check a SQuAD v1.1 file.

    Args:
      path: path of the JSON file.
      for_training: whether every question must have an answer that stands where it says.

    Returns:
      The questions in the order of the file.

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
        questions = list(reader.questions(articles))
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {reader.place} is not as in SQuAD v1.1: {error!r}") from error
    problems = reader.problems
    if not questions and not problems:
        problems = ["there is no question in the file"]
    if problems:
        raise InputError(f"{path}: {listed(problems)}")
    return questions


class _SquadReader:
    """Reader of the articles of one file.

    Attributes:
      place: article and paragraph that it is at.
      problems: what is wrong with questions that are well-formed.
    """

    def __init__(self, for_training):
        self.for_training = for_training
        self.place = "the file"
        self.problems = []
        self.ids = set()

    def questions(self, articles):
        for article_number, article in enumerate(articles, 1):
            self.place = f"article {article_number}"
            for number, entry in enumerate(article["paragraphs"], 1):
                self.place = f"article {article_number}, paragraph {number}"
                context = _string(entry, "context")
                for qa in entry["qas"]:
                    yield self._question(qa, context)

    def _question(self, qa, context):
        question = Question(
            id=_string(qa, "id"),
            text=_string(qa, "question"),
            paragraph=context,
            answers=tuple(
                Answer(_string(answer, "text"), int(answer["answer_start"]))
                for answer in qa.get("answers", ())
            ),
        )
        if question.id in self.ids:
            self.problems.append(f"question {question.id} stands twice: give each its own id")
        self.ids.add(question.id)
        problem = _training_problem(question) if self.for_training else None
        if problem:
            self.problems.append(f"question {question.id}: {problem}")
        return question


def _string(entry, key):
    value = entry[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}, not a string")
    return value


def _training_problem(question):
    """Problem of a question that is to be trained on, or None."""
    context = question.paragraph
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

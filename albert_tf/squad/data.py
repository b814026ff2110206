"""SQuAD v1.1: reader and checks of question files.

This file does not import TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from albert_tf.errors import InputError, listed


@dataclass(frozen=True)
class Answer:
    """An annotated answer.

    Attributes:
      text: text of the answer, a span of the paragraph.
      start: offset of the answer in the paragraph, in characters.
    """

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question about a paragraph.

    Attributes:
      id: id of the question, unique in its file.
      text: text of the question.
      paragraph: text of the paragraph; its questions are consecutive in the file.
      answers: annotated answers; at least one in a training file.
    """

    id: str
    text: str
    paragraph: str
    answers: tuple[Answer, ...] = ()


def read_squad(path: str, for_training: bool) -> list[Question]:
    """Read and check a SQuAD v1.1 file.

    Args:
      path: path of the JSON file.
      for_training: whether every question must have an answer that matches its `answer_start`.

    Returns:
      The questions in the order of the file.

    Raises:
      InputError: if the file is missing, is not SQuAD JSON, or has invalid questions.
    """
    try:
        articles = json.loads(Path(path).read_text(encoding="utf-8-sig"))["data"]
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the questions: {error.strerror}; correct the path"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: not valid JSON: {error}; check that the file is complete"
        ) from error
    except (KeyError, TypeError) as error:
        raise InputError(
            f'{path}: not a SQuAD file, as it has no list "data" of articles; give a SQuAD v1.1 '
            "file"
        ) from error

    reader = _SquadReader(for_training)
    try:
        questions = list(reader.questions(articles))
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: {reader.location} is not in SQuAD v1.1 format: {error!r}; correct the file"
        ) from error
    problems = reader.problems
    if not questions and not problems:
        problems = ["the file has no questions"]
    if problems:
        raise InputError(f"{path}: {listed(problems)}")
    return questions


class _SquadReader:
    """Reader of the articles of one file.

    Attributes:
      location: current article and paragraph, for messages.
      problems: problems of well-formed questions.
    """

    def __init__(self, for_training):
        self.for_training = for_training
        self.location = "the file"
        self.problems = []
        self.ids = set()

    def questions(self, articles):
        for article_number, article in enumerate(articles, 1):
            self.location = f"article {article_number}"
            for number, entry in enumerate(article["paragraphs"], 1):
                self.location = f"article {article_number}, paragraph {number}"
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
            self.problems.append(f"question {question.id}: duplicate id; give each its own")
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
    """Problem of a training question, or None."""
    context = question.paragraph
    if not question.answers or not question.answers[0].text.strip():
        return "no answer to train on; remove unanswerable questions, such as those of SQuAD v2.0"
    answer = question.answers[0]
    found = context[answer.start : answer.start + len(answer.text)]
    if found == answer.text:
        return None
    elsewhere = context.find(answer.text)
    actual = f"it is at {elsewhere}" if elsewhere >= 0 else "the paragraph does not contain it"
    return (
        f"the answer {answer.text!r} is not at its answer_start {answer.start}, where the text is "
        f"{found!r}; {actual}: correct the file"
    )

"""SQuAD v1.1: reader and checks of question files.

This file does not import TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass

from albert_tf import json_files
from albert_tf.bounds import Bounds
from albert_tf.errors import InputError, listed

_NUMBER = Bounds(is_whole=False)


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
    reader = _SquadReader(for_training)
    root = json_files.read(path, "the questions", "give a whole SQuAD v1.1 file")
    questions = list(reader.questions(root))
    problems = reader.problems
    if not questions and not problems:
        problems = ["the file has no questions"]
    if problems:
        raise InputError(f"{path}: {listed(problems)}")
    return questions


class _SquadReader:
    """Reader of the articles of one file.

    Attributes:
      problems: problems of well-formed questions.
    """

    def __init__(self, for_training):
        self.for_training = for_training
        self.problems = []
        self.ids = set()

    def questions(self, root):
        for article in root.objects("data"):
            for paragraph in article.objects("paragraphs"):
                context = paragraph.text("context")
                for qa in paragraph.objects("qas"):
                    yield self._question(qa, context)

    def _question(self, qa, context):
        answers = qa.objects("answers") if "answers" in qa else ()
        question = Question(
            id=qa.text("id"),
            text=qa.text("question"),
            paragraph=context,
            answers=tuple(Answer(answer.text("text"), _start(answer)) for answer in answers),
        )
        if question.id in self.ids:
            self.problems.append(f"question {question.id}: duplicate id; give each its own")
        self.ids.add(question.id)
        problem = _training_problem(question) if self.for_training else None
        if problem:
            self.problems.append(f"question {question.id}: {problem}")
        return question


def _start(answer):
    """Offset of an answer; some programs write it as 45.0."""
    start = answer.number("answer_start", _NUMBER)
    if start != int(start):
        raise answer.error(f"{answer.place}.answer_start is {start}, not a whole number")
    return int(start)


def _training_problem(question):
    """Problem of a training question, or None."""
    context = question.paragraph
    if not question.answers or not question.answers[0].text.strip():
        return "no answer to train on; remove unanswerable questions, such as those of SQuAD v2.0"
    answer = question.answers[0]
    if answer.start < 0:
        return f"answer_start is {answer.start}; correct the file"
    found = context[answer.start : answer.start + len(answer.text)]
    if found == answer.text:
        return None
    elsewhere = context.find(answer.text)
    actual = f"it is at {elsewhere}" if elsewhere >= 0 else "the paragraph does not contain it"
    return (
        f"the answer {answer.text!r} is not at its answer_start {answer.start}, where the text is "
        f"{found!r}; {actual}: correct the file"
    )

"""SQuAD v1.1 and v2.0: reader and checks of question files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

from albert_tf.io import json_files
from albert_tf.io.bounds import Bounds
from albert_tf.io.errors import InputError, listed
from albert_tf.io.json_files import JsonObject

V1, V2 = "v1.1", "v2.0"
_SCRIPTS = {V1: "run_squad_v1.py", V2: "run_squad_v2.py"}
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
      answers: annotated answers; at least one for an answerable question of a training file.
      is_impossible: whether the paragraph has no answer; None in SQuAD v1.1, and if it is unknown.
    """

    id: str
    text: str
    paragraph: str
    answers: tuple[Answer, ...] = ()
    is_impossible: bool | None = None


def read_squad(path: str, for_training: bool, version: str = V1) -> list[Question]:
    """Read and check a SQuAD file.

    Args:
      path: path of the JSON file.
      for_training: whether every question needs an answer that matches its `answer_start`, or, in
        v2.0, to be marked as impossible.
      version: expected version: `V1` or `V2`.

    Returns:
      The questions in the order of the file.

    Raises:
      InputError: if the file is missing, is not SQuAD JSON of this version, or has invalid
        questions.
    """
    root = json_files.read(path, "the questions", f"give a whole SQuAD {version} file")
    found = list(_questions(root))
    _check_version(root, [qa.values for _, qa in found], version)
    is_labelled = any("is_impossible" in qa for _, qa in found)
    needs_label = version == V2 and (for_training or is_labelled)
    questions: dict[str, Question] = {}
    problems = [] if found else ["the file has no questions"]
    for context, qa in found:
        question = _question(qa, context, version)
        if question.id in questions:
            problems.append(f"question {question.id}: duplicate id; give each its own")
        questions[question.id] = question
        problem = _label_problem(question) if needs_label else None
        if not problem and for_training and not question.is_impossible:
            problem = _training_problem(question)
        if problem:
            problems.append(f"question {question.id}: {problem}")
    if problems:
        raise InputError(f"{path}: {listed(problems, separator='; ')}")
    return list(questions.values())


def _questions(root: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Yield the questions of a file, each with the text of its paragraph."""
    for article in root.objects("data"):
        for paragraph in article.objects("paragraphs"):
            context = paragraph.text("context")
            for qa in paragraph.objects("qas"):
                yield context, qa


def _check_version(root: JsonObject, questions: Sequence[Mapping[str, Any]], expected: str) -> None:
    """Raise `InputError` if a file is of the other version.

    Its questions tell, or else its field `version`. Questions without answers that do not tell
    whether they are impossible may be of either version.
    """
    number = str(root.values.get("version", "")).lstrip("v")
    version = {"1": V1, "2": V2}.get(number[:1], expected)
    if any(qa.get("is_impossible") for qa in questions):
        version = V2
    elif not any("is_impossible" in qa for qa in questions):
        version = V1 if any(qa.get("answers") for qa in questions) else version
    if version != expected:
        raise InputError(
            f"{root.file}: the questions are of SQuAD {version}, but this script reads {expected}; "
            f"use {_SCRIPTS[version]}"
        )


def _question(qa: JsonObject, context: str, version: str) -> Question:
    answers = qa.objects("answers") if "answers" in qa else ()
    is_labelled = version == V2 and "is_impossible" in qa
    return Question(
        id=qa.text("id"),
        text=qa.text("question"),
        paragraph=context,
        answers=tuple(Answer(answer.text("text"), _start(answer)) for answer in answers),
        is_impossible=qa.boolean("is_impossible") if is_labelled else None,
    )


def _start(answer: JsonObject) -> int:
    """Offset of an answer; some programs write it as 45.0."""
    start = answer.number("answer_start", _NUMBER)
    if start != int(start):
        raise answer.error(f"{answer.place}.answer_start is {start}, not an integer")
    return int(start)


def _label_problem(question: Question) -> str | None:
    """Contradiction between the answers of a SQuAD v2.0 question and its label, or None."""
    if question.is_impossible is None:
        return "is_impossible is missing; give it for all questions, or for none to predict"
    if question.is_impossible and question.answers:
        return "is_impossible is true, but there are answers; correct the file"
    if not question.is_impossible and not question.answers:
        return "is_impossible is false, but there is no answer; correct the file"
    return None


def _training_problem(question: Question) -> str | None:
    """Problem of an answerable training question, or None."""
    context = question.paragraph
    if not question.answers or not question.answers[0].text.strip():
        return (
            "no answer to train on; remove unanswerable questions, or mark them as SQuAD v2.0 does "
            "(is_impossible) and train with run_squad_v2.py"
        )
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

"""RACE (Lai et al. 2017): reader and checks of articles with multiple-choice questions.

A level of a split is a directory with one JSON object per article, each in its own file (`*.txt`,
as published) or one per line of `all.txt` (as the original reads them). This file does not import
TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from albert_tf.io import json_files
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject, shown

LEVELS = ("middle", "high")
LETTERS = ("A", "B", "C", "D")
_ALL_ARTICLES = "all.txt"
_REMEDY = "correct the article, or download RACE again"
_TOLD_PROBLEMS = 5


@dataclass(frozen=True)
class Example:
    """A question about an article, with four options.

    Attributes:
      id: id of the article and number of the question in it, such as "high1.txt-0".
      level: "middle" or "high": the school of the exam.
      article: text of the article; its questions are consecutive.
      question: text of the question; each "_" in it is a gap that the option fills.
      options: the four options.
      label: index of the correct option; None if it is unknown.
    """

    id: str
    level: str
    article: str
    question: str
    options: tuple[str, ...]
    label: int | None


def find_articles(data_dir: str, split: str, levels: Sequence[str]) -> dict[str, str]:
    """Find the articles of a split.

    Args:
      data_dir: the directory `RACE`, or its parent directory.
      split: "train", "dev" or "test".
      levels: some of `LEVELS`.

    Returns:
      For each level, path of its `all.txt` or else of its directory, by names such as "dev/high".

    Raises:
      InputError: if a level has no articles.
    """
    root = Path(data_dir)
    if not (root / split).is_dir() and (root / "RACE" / split).is_dir():
        root = root / "RACE"
    paths, problems = {}, []
    for level in levels:
        folder = root / split / level
        if (folder / _ALL_ARTICLES).is_file():
            paths[f"{split}/{level}"] = str(folder / _ALL_ARTICLES)
        elif _article_files(folder):
            paths[f"{split}/{level}"] = str(folder)
        else:
            problems.append(
                f"{folder}: no articles (*.txt) there; give the whole of RACE (--data_dir is its "
                "directory or the parent directory), or use one level (--middle_only, --high_only)"
            )
    if problems:
        raise InputError(*problems)
    return paths


def read_articles(path: str, level: str, needs_answers: bool) -> list[Example]:
    """Read and check the articles of a level.

    Args:
      path: path from `find_articles`.
      level: "middle" or "high".
      needs_answers: whether every question must have an answer.

    Returns:
      The questions, by article: in the order of the lines, or of the numbers in the file names.

    Raises:
      InputError: if a file cannot be read, or an article is not one of RACE; a line for each of the
        first few such articles.
    """
    examples: list[Example] = []
    places: dict[str, str] = {}
    problems: list[str] = []
    for place, text in _texts(Path(path)):
        try:
            article = json_files.parse(text, place, _REMEDY)
            article_id = article.text("id")
            if article_id in places:
                raise article.error(
                    f"the id {shown(article_id)} is also the id of {places[article_id]}"
                )
            places[article_id] = place
            examples += _examples(article, article_id, level, needs_answers)
        except InputError as error:
            problems.append(str(error))
    if not examples and not problems:
        problems = [f"{path}: no questions there; {_REMEDY}"]
    if len(problems) > _TOLD_PROBLEMS:
        more = len(problems) - _TOLD_PROBLEMS
        problems[_TOLD_PROBLEMS:] = [f"{path}: and {more} more articles like these; {_REMEDY}"]
    if problems:
        raise InputError(*problems)
    return examples


def _article_files(folder: Path) -> list[Path]:
    """Files of a directory with an article each, in the order of their numbers."""
    found = [path for path in folder.glob("*.txt") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the place of each article, for messages, and its JSON text."""
    try:
        if path.is_dir():
            for file in _article_files(path):
                yield str(file), file.read_bytes()
        else:
            for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot read the articles: {error.strerror}; correct "
            "--data_dir"
        ) from error


def _examples(
    article: JsonObject, article_id: str, level: str, needs_answers: bool
) -> list[Example]:
    """Examples of an article, one per question."""
    text, questions = article.text("article"), article.texts("questions")
    if not text.strip():
        raise article.error("the article is empty")
    options = article.array("options")
    answers: Sequence[str | None] = [None] * len(questions)
    if needs_answers or "answers" in article:
        answers = article.texts("answers")
    if not len(questions) == len(options) == len(answers):
        raise article.error(
            f"{len(questions)} questions, but {len(options)} lists of options and {len(answers)} "
            "answers"
        )
    return [
        Example(
            f"{article_id}-{number}",
            level,
            text,
            question,
            _options(article, number, options[number]),
            None if answer is None else _label(article, number, answer),
        )
        for number, (question, answer) in enumerate(zip(questions, answers))
    ]


def _options(article: JsonObject, number: int, options: Any) -> tuple[str, ...]:
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise article.error(f"options[{number}] is {shown(options)}, not a list of strings")
    if len(options) != len(LETTERS):
        raise article.error(f"options[{number}] has {len(options)} entries, not {len(LETTERS)}")
    return tuple(options)


def _label(article: JsonObject, number: int, answer: str) -> int:
    if answer not in LETTERS:
        raise article.error(f"answers[{number}] is {shown(answer)}, not one of A, B, C, D")
    return LETTERS.index(answer)

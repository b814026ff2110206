"""Many questions at once: reading them from files, and rows with their answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

from albert_tf.io import json_files
from albert_tf.io.errors import InputError
from albert_tf.io.tables import RowProblems, Table
from albert_tf.tasks.squad.data import Question

ANSWER_COLUMNS = (
    "id",
    "question",
    "text_file",
    "rank",
    "answer",
    "probability",
    "score",
    "line",
    "column",
    "start",
    "end",
)


@dataclass(frozen=True)
class Asked:
    """A question about a text.

    Attributes:
      id: id of the question.
      question: the question.
      text: the text, or None if it is in a file.
      text_file: path of the file with the text, or None.
    """

    id: str
    question: str
    text: str | None = None
    text_file: str | None = None


def read_questions(path: str) -> list[Asked]:
    """Read a file of questions: CSV, TSV or JSON Lines.

    Its columns are `question`, `text` or `text_file`, and perhaps `id`, by default the number of
    the row. Paths of texts are relative to the file.

    Raises:
      InputError: all problems with the file.
    """
    table, problems = Table(path), RowProblems()
    asked: list[Asked] = []
    ids: set[str] = set()
    if "question" not in table.columns or not {"text", "text_file"} & set(table.columns):
        raise InputError(
            f"{path}: the columns are {', '.join(table.columns) or 'none'}; give question, text or "
            "text_file, and perhaps id"
        )
    for row in table.rows():
        problem = row.problem or _problem(row.values)
        if problem:
            problems.add(row.line, problem)
            continue
        question = _asked(row.values, len(asked), Path(path).parent)
        if question.id in ids:
            problems.add(row.line, f"the id was there before: {json_files.shown(question.id)}")
        ids.add(question.id)
        asked.append(question)
    if problems:
        raise InputError(*(f"{message}; correct the file" for message in problems.messages(table)))
    if not asked:
        raise InputError(f"{path}: the file has no rows; check that it is complete")
    return asked


def _problem(values: Mapping[str, Any]) -> str | None:
    """The reason why a row is no question, or None."""
    for name in ("question", "text", "text_file"):
        if not isinstance(values.get(name), (str, type(None))):
            return f"{name} is not a text: {json_files.shown(values[name])}"
    if not _given(values, "question"):
        return "no question"
    if _given(values, "text") == _given(values, "text_file"):
        return "give either a text or a text_file"
    if isinstance(values.get("id"), (dict, list)):
        return "the id is neither text nor number"
    return None


def _given(values: Mapping[str, Any], name: str) -> bool:
    return bool((values.get(name) or "").strip())


def _asked(values: Mapping[str, Any], number: int, directory: Path) -> Asked:
    identity = values.get("id")
    if identity is None or identity == "":
        identity = number
    text_file = str(directory / values["text_file"]) if _given(values, "text_file") else None
    text = None if text_file else values["text"]
    return Asked(str(identity), values["question"], text, text_file)


def questions_of_files(directory: str, question: str) -> list[Asked]:
    """Ask one question of all files in a directory, in the order of their names.

    Raises:
      InputError: if the directory cannot be read, or has no files.
    """
    try:
        paths = sorted(path for path in Path(directory).iterdir() if path.is_file())
    except OSError as error:
        raise InputError(
            f"{directory}: cannot read the directory: {error.strerror}; correct --text_dir"
        ) from error
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise InputError(f"{directory}: the directory has no files; correct --text_dir")
    return [Asked(path.name, question, None, str(path)) for path in paths]


def with_texts(asked: Iterable[Asked], read_text: Callable[[str], str]) -> Iterator[Question]:
    """Yield the questions with their texts; a file is read once for questions that follow another.

    Args:
      asked: the questions.
      read_text: function that reads a file.
    """
    last_file: str | None = None
    text = ""
    for question in asked:
        if question.text_file and question.text_file != last_file:
            last_file, text = question.text_file, read_text(question.text_file)
        own_text = text if question.text_file else question.text or ""
        yield Question(question.id, question.question, own_text)


def answer_rows(asked: Asked, answers: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows with the answers to a question, by `ANSWER_COLUMNS`.

    Args:
      asked: the question.
      answers: `question_answering.FoundAnswer`s, best first. Without any there is a row with an
        empty answer.
    """
    rows = [
        {**asdict(answer), "rank": rank, "answer": answer.text}
        for rank, answer in enumerate(answers, 1)
    ]
    place = {"id": asked.id, "question": asked.question, "text_file": asked.text_file}
    return [
        {name: {**place, **row}.get(name) for name in ANSWER_COLUMNS}
        for row in rows or [{"rank": 1, "answer": ""}]
    ]


def ranked(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rank the best answers of several texts to one question, by their scores.

    Texts without an answer come last.
    """
    rows = sorted(
        (row for row in rows if row["rank"] == 1),
        key=lambda row: (row["start"] is None, -(row["score"] or 0)),
    )
    return [{**row, "rank": rank} for rank, row in enumerate(rows, 1)]

"""The tasks of the GLUE benchmark, and their TSV files.

Quotes have no special meaning in these files: a field is all the text between two tabs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from absl import logging

from albert_tf.io.errors import InputError, listed
from albert_tf.tasks.classification.metrics import (
    Metric,
    accuracy,
    f1,
    matthews_correlation,
    pearson,
    spearman,
)

HIGHEST_SCORE = 5.0  # of STS-B; the lowest is 0


@dataclass(frozen=True)
class GlueTask:
    """A task of the benchmark.

    Attributes:
      name: name on the command line and in the names of record files.
      folders: possible names of the task's directory.
      texts: names of the columns with the one or two texts.
      metrics: metrics of the task; the first ranks the checkpoints.
      labels: labels in the order of the model's outputs; empty for a regression.
      label_column: name of the column with the label or score.
      train_files: name of the training file, if any.
      dev_files: names of the files to evaluate on: "dev" and what sets a file apart from others.
      test_files: names of the files to predict, likewise with "test".
      columns_of_labelled_files: column names of the training and dev files, if they have no header.
      has_broken_training_rows: whether to skip incomplete rows in training, because the published
        file has some.
    """

    name: str
    folders: tuple[str, ...]
    texts: tuple[str, ...]
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...] = ("0", "1")
    label_column: str = "label"
    train_files: tuple[str, ...] = ("train.tsv",)
    dev_files: tuple[str, ...] = ("dev.tsv",)
    test_files: tuple[str, ...] = ("test.tsv",)
    columns_of_labelled_files: tuple[str, ...] = ()
    has_broken_training_rows: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether the task predicts a score instead of a label."""
        return not self.labels

    def files(self, split: str) -> tuple[str, ...]:
        """Names of the files of a split: "train", "dev" or "test"."""
        return {"train": self.train_files, "dev": self.dev_files, "test": self.test_files}[split]

    def path(self, data_dir: str, file: str) -> str:
        """Path of a file of the task.

        Args:
          data_dir: the task's directory, or its parent.
          file: name of the file.
        """
        known = {_plain(folder) for folder in self.folders}
        inside = sorted(Path(data_dir).iterdir()) if Path(data_dir).is_dir() else []
        folders = [path for path in inside if path.is_dir() and _plain(path.name) in known]
        return str((folders or [Path(data_dir)])[0] / file)


_SENTENCES = ("sentence1", "sentence2")
_ENTAILED = ("entailment", "not_entailment")
_ENTAILED_OR_CONTRADICTED = ("contradiction", "entailment", "neutral")

TASKS = {
    task.name: task
    for task in (
        GlueTask(
            "cola",
            ("CoLA",),
            ("sentence",),
            (matthews_correlation,),
            columns_of_labelled_files=("source", "label", "annotation", "sentence"),
        ),
        GlueTask(
            "mnli",
            ("MNLI",),
            _SENTENCES,
            (accuracy,),
            _ENTAILED_OR_CONTRADICTED,
            "gold_label",
            dev_files=("dev_matched.tsv", "dev_mismatched.tsv"),
            test_files=("test_matched.tsv", "test_mismatched.tsv"),
        ),
        GlueTask(
            "mismnli",
            ("MNLI",),
            _SENTENCES,
            (accuracy,),
            _ENTAILED_OR_CONTRADICTED,
            "gold_label",
            dev_files=("dev_mismatched.tsv",),
            test_files=("test_mismatched.tsv",),
        ),
        GlueTask(
            "mrpc",
            ("MRPC",),
            ("#1 String", "#2 String"),
            (f1, accuracy),
            label_column="Quality",
        ),
        GlueTask("rte", ("RTE",), _SENTENCES, (accuracy,), _ENTAILED),
        GlueTask("sst-2", ("SST-2",), ("sentence",), (accuracy,)),
        GlueTask("sts-b", ("STS-B",), _SENTENCES, (pearson, spearman), (), "score"),
        GlueTask(
            "qqp",
            ("QQP",),
            ("question1", "question2"),
            (f1, accuracy),
            label_column="is_duplicate",
            has_broken_training_rows=True,
        ),
        GlueTask("qnli", ("QNLI",), ("question", "sentence"), (accuracy,), _ENTAILED),
        GlueTask("wnli", ("WNLI",), _SENTENCES, (accuracy,)),
        GlueTask(
            "ax",
            ("AX", "diagnostic"),
            _SENTENCES,
            (),
            _ENTAILED_OR_CONTRADICTED,
            train_files=(),
            dev_files=(),
            test_files=("diagnostic.tsv",),
        ),
    )
}
_OTHER_NAMES = {
    "mnlim": "mnli",
    "mnlimatched": "mnli",
    "mnlimm": "mismnli",
    "mnlimismatched": "mismnli",
    "diagnostic": "ax",
}


def find_task(name: str) -> GlueTask:
    """Find a task by name, ignoring case and punctuation: "STS_B" is "sts-b".

    Raises:
      InputError: if no task has this name.
    """
    plain = _plain(name)
    plain = _OTHER_NAMES.get(plain, plain)
    for task in TASKS.values():
        if _plain(task.name) == plain:
            return task
    raise InputError(f"--task_name {name}: unknown task; give one of {', '.join(TASKS)}")


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Example:
    """A row of a data file.

    Attributes:
      index: index of the row, for submissions.
      texts: the one or two texts.
      label: index of the label, or the score; 0 if unknown.
    """

    index: str
    texts: tuple[str, ...]
    label: int | float


def read_examples(path: str, task: GlueTask, split: str) -> list[Example]:
    """Read and check a file of a task, ignoring empty lines.

    Args:
      path: path of the file.
      task: the task.
      split: "train", "dev", or "test", which has no labels.

    Returns:
      The rows in the order of the file.

    Raises:
      InputError: if the file is missing or empty, or has invalid rows.
    """
    examples: list[Example] = []
    problems: list[str] = []
    incomplete: list[str] = []
    columns: Sequence[str] = () if split == "test" else task.columns_of_labelled_files
    for number, line in _lines(path, task):
        fields = line.split("\t")
        if not columns:
            columns = fields
            _check_header(path, number, task, columns, split)
        elif len(fields) != len(columns):
            incomplete.append(f"line {number} has {len(fields)} columns, not {len(columns)}")
        else:
            row = dict(zip(columns, fields))
            try:
                examples.append(_example(row, len(examples), task, split))
            except ValueError as error:
                problems.append(f"line {number}: {error}")

    if incomplete and split == "train" and task.has_broken_training_rows:
        message = "%s: skipped %d broken rows, which the published file has too: %s"
        logging.warning(message, path, len(incomplete), listed(incomplete, separator="; "))
        incomplete = []
    if incomplete or problems:
        raise InputError(
            f"{path}: {listed(incomplete + problems, separator='; ')}; correct the file"
        )
    if not examples:
        raise InputError(f"{path}: the file has no rows; check that it is complete")
    return examples


def _lines(path: str, task: GlueTask) -> Iterator[tuple[int, str]]:
    """Yield the numbers and texts of the lines that are not empty.

    Only a line feed ends a line: sentences may contain the other separators of `str.splitlines`.
    """
    number = 0
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text:
                    yield number, text
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the file: {error.strerror}; set --data_dir to the directory "
            f"that contains {task.folders[0]}/, or to that directory itself"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8: {error}; convert the file") from error


def _check_header(
    path: str, number: int, task: GlueTask, columns: Sequence[str], split: str
) -> None:
    needed = task.texts if split == "test" else (*task.texts, task.label_column)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"{path}, line {number}: the header has no column {', '.join(missing)}, only "
            f"{', '.join(columns)}; give the {split} file of {task.name}"
        )


def _example(row: Mapping[str, str], row_number: int, task: GlueTask, split: str) -> Example:
    """Make an example from a row; raise `ValueError` if its label is invalid."""
    label: int | float = 0.0 if task.is_regression else 0
    if split != "test":
        label = _label(row[task.label_column], task)
    index = row.get("index", row.get("id", str(row_number)))
    return Example(index, tuple(row[name] for name in task.texts), label)


def _label(text: str, task: GlueTask) -> int | float:
    """Index of a label, or the score."""
    if not task.is_regression:
        if text not in task.labels:
            raise ValueError(f"the label {text!r} is not one of {', '.join(task.labels)}")
        return task.labels.index(text)
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= HIGHEST_SCORE:
        raise ValueError(f"the score {text!r} is not a number from 0 to {HIGHEST_SCORE:g}")
    return score

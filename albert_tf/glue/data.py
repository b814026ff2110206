"""The tasks of the GLUE benchmark: from tab-separated files to the features that the model reads.

Fields are taken as they stand between tabs: quotes have no meaning in these files. This file does
not load TensorFlow.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from absl import logging

import tokenization
from albert_tf.errors import InputError, listed
from albert_tf.glue.metrics import (
    Metric,
    accuracy,
    f1,
    matthews_correlation,
    pearson,
    spearman,
)

HIGHEST_SCORE = 5.0  # of STS-B; the lowest is 0


@dataclass(frozen=True)
class DataFile:
    """A file to evaluate on or to predict.

    Attributes:
      name: its name in the task's folder.
      part: stands behind the names of its metrics; only for tasks with more than one such file.
      suffix: stands behind the names of the files that are made from it.
    """

    name: str
    part: str = ""
    suffix: str = ""


@dataclass(frozen=True)
class GlueTask:
    """A task of the benchmark.

    Attributes:
      name: its name on the command line and in the names of record files.
      folders: names that its folder may have.
      texts: names of the columns with the one or two texts.
      metrics: its metrics; the first chooses the best checkpoint.
      labels: its labels, in the order of the model's outputs; none if it asks for a score.
      label_column: name of the column with the label or score.
      train_files: the file to train on, if there is one.
      dev_files: files to evaluate on.
      test_files: files to predict.
      columns_of_labelled_files: the columns of training and dev files, if these have no header.
      has_broken_training_rows: whether the published training file has rows without all columns,
        which are left out then.
    """

    name: str
    folders: tuple[str, ...]
    texts: tuple[str, ...]
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...] = ("0", "1")
    label_column: str = "label"
    train_files: tuple[DataFile, ...] = (DataFile("train.tsv"),)
    dev_files: tuple[DataFile, ...] = (DataFile("dev.tsv"),)
    test_files: tuple[DataFile, ...] = (DataFile("test.tsv"),)
    columns_of_labelled_files: tuple[str, ...] = ()
    has_broken_training_rows: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether the task asks for a score instead of a label."""
        return not self.labels

    def files(self, split: str) -> tuple[DataFile, ...]:
        """The files of "train", "dev" or "test"."""
        return {"train": self.train_files, "dev": self.dev_files, "test": self.test_files}[split]

    def path(self, data_dir: str, file: DataFile) -> str:
        """Path of one of the task's files.

        Args:
          data_dir: the folder that holds the folders of tasks, or the task's own.
          file: the file.
        """
        known = {_plain(folder) for folder in self.folders}
        inside = sorted(Path(data_dir).iterdir()) if Path(data_dir).is_dir() else []
        folders = [path for path in inside if path.is_dir() and _plain(path.name) in known]
        return str((folders or [Path(data_dir)])[0] / file.name)


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
            dev_files=(
                DataFile("dev_matched.tsv", "_matched"),
                DataFile("dev_mismatched.tsv", "_mismatched", "_mismatched"),
            ),
            test_files=(
                DataFile("test_matched.tsv", "_matched"),
                DataFile("test_mismatched.tsv", "_mismatched", "_mismatched"),
            ),
        ),
        GlueTask(
            "mismnli",
            ("MNLI",),
            _SENTENCES,
            (accuracy,),
            _ENTAILED_OR_CONTRADICTED,
            "gold_label",
            dev_files=(DataFile("dev_mismatched.tsv"),),
            test_files=(DataFile("test_mismatched.tsv"),),
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
            test_files=(DataFile("diagnostic.tsv"),),
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
    """The task of a name, in any case, with or without marks between the letters: "STS_B".

    Raises:
      InputError: if there is no such task.
    """
    plain = _plain(name)
    plain = _OTHER_NAMES.get(plain, plain)
    for task in TASKS.values():
        if _plain(task.name) == plain:
            return task
    raise InputError(f"--task_name {name}: there is no such task; known are {', '.join(TASKS)}")


def _plain(name):
    return re.sub("[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Example:
    """A row of a file.

    Attributes:
      index: what a submission calls the row.
      texts: the one or two texts.
      label: number of the label among those of the task, or the score; 0 if it is not known.
    """

    index: str
    texts: tuple[str, ...]
    label: int | float


def read_examples(path: str, task: GlueTask, split: str) -> list[Example]:
    """Read and check a file of a task; empty lines are passed over.

    Args:
      path: path of the file.
      task: the task.
      split: "train", "dev", or "test", whose labels are not read.

    Returns:
      The rows in the order of the file.

    Raises:
      InputError: if the file is missing or empty, or rows cannot be used.
    """
    examples, problems, incomplete = [], [], []
    columns = None if split == "test" else task.columns_of_labelled_files or None
    for number, line in _lines(path, task):
        fields = line.split("\t")
        if columns is None:
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
        message = "%s: %d rows are left out, as the published file has some that are broken: %s"
        logging.warning(message, path, len(incomplete), listed(incomplete))
        incomplete = []
    if incomplete or problems:
        raise InputError(f"{path}: {listed(incomplete + problems)}; correct the file")
    if not examples:
        raise InputError(f"{path}: there is no row in the file; is it complete?")
    return examples


def _lines(path, task):
    """Yield the lines with their numbers. Only a line feed ends one: the other characters that
    `str.splitlines` splits at may stand in a sentence."""
    number = 0
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text:
                    yield number, text
    except OSError as error:
        raise InputError(
            f"{path}: cannot read it: {error.strerror}; --data_dir is to be the folder that holds "
            f"{task.folders[0]}/, or that folder itself"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8: {error}; convert the file") from error


def _check_header(path, number, task, columns, split):
    needed = task.texts if split == "test" else (*task.texts, task.label_column)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"{path}, line {number}: the header has no column {', '.join(missing)}, it has "
            f"{', '.join(columns)}; is it the {split} file of {task.name}?"
        )


def _example(row, row_number, task, split):
    """Make an example of a row; `ValueError` if its label is none."""
    label = 0.0 if task.is_regression else 0
    if split != "test":
        label = _label(row[task.label_column], task)
    index = row.get("index", row.get("id", str(row_number)))
    return Example(index, tuple(row[name] for name in task.texts), label)


def _label(text, task):
    """The number of a label, or the score."""
    if not task.is_regression:
        if text not in task.labels:
            raise ValueError(f"the label {text!r} is none of {', '.join(task.labels)}")
        return task.labels.index(text)
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= HIGHEST_SCORE:
        raise ValueError(f"the score {text!r} is no number between 0 and {HIGHEST_SCORE:g}")
    return score


@dataclass(frozen=True)
class Feature:
    """Model inputs and label of an example.

    Attributes:
      input_ids: ids of the pieces, not padded.
      segment_ids: 0 for the first text with its marks, 1 for the second with its mark.
      label: number of the label, or the score.
    """

    input_ids: list[int]
    segment_ids: list[int]
    label: int | float

    def record(self, max_seq_length: int) -> dict[str, list[int] | list[float]]:
        """The values of the feature's record, padded, by the names that the original gives them."""
        return {
            **tokenization.padded_inputs(self.input_ids, self.segment_ids, max_seq_length),
            "label_ids": [self.label],
            "is_real_example": [1],
        }


def make_feature(
    example: Example,
    tokenizer: tokenization.FullTokenizer,
    max_seq_length: int,
    do_lower_case: bool,
) -> Feature:
    """Make `[CLS] text [SEP]` or `[CLS] text [SEP] text [SEP]` of an example.

    Args:
      example: the example.
      tokenizer: any tokenizer.
      max_seq_length: the longest result, in pieces; pieces are taken off the end of the longer
        text, the second of two equals, until it fits.
      do_lower_case: whether text for a SentencePiece model is lower-cased.
    """
    cls_id, sep_id = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    segments = [tokenizer.ids_of_text(text, do_lower_case) for text in example.texts]
    room = max_seq_length - 1 - len(segments)
    while sum(len(ids) for ids in segments) > room:
        longest = max(reversed(segments), key=len)
        longest.pop()

    input_ids, segment_ids = [cls_id], [0]
    for number, ids in enumerate(segments):
        input_ids += [*ids, sep_id]
        segment_ids += [number] * (len(ids) + 1)
    return Feature(input_ids, segment_ids, example.label)

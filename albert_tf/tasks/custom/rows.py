"""Rows of users' files: one pass that checks them all, and examples that are read on demand."""

from __future__ import annotations

import array
import math
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence, overload

import numpy as np
from absl import logging

from albert_tf.io import json_files
from albert_tf.io.errors import InputError, listed
from albert_tf.io.tables import RowProblems, Table
from albert_tf.tasks.custom.columns import Columns
from albert_tf.tasks.custom.labels import sorted_labels

_LARGEST_SCORE = float(np.finfo(np.float32).max)
_MOST_LABELS = 10_000
_LISTED_LABELS = 10
_NO_LABEL = -1
_SPLIT_SEED = 0  # of `split`; a fixed one, so that no run trains on the rows another evaluates on


@dataclass(frozen=True)
class Example:
    """A row with its texts.

    Attributes:
      texts: the one or two texts.
      label: index of the label, or the score; 0 if unknown.
      values: all values of the row, by column.
    """

    texts: tuple[str, ...]
    label: int | float
    values: Mapping[str, Any]


class Examples(Sequence[Example]):
    """Examples of a table, each read from the file when it is asked for."""

    def __init__(
        self,
        table: Table,
        columns: Columns,
        labels: np.ndarray,
        numbers: Sequence[int] | np.ndarray,
    ):
        """Make the sequence.

        Args:
          table: the table, read to the end before.
          columns: its columns.
          labels: label of each row of the table [rows].
          numbers: numbers of the rows that are examples, from 0.
        """
        self._table = table
        self._columns = columns
        self._labels = labels
        self._numbers = numbers

    @property
    def labels(self) -> np.ndarray:
        """Labels of the examples [examples], without reading them from the file."""
        return self._labels[self._numbers]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Examples: ...

    def __getitem__(self, index: int | slice) -> Example | Examples:
        if isinstance(index, slice):
            return Examples(self._table, self._columns, self._labels, self._numbers[index])
        number = int(self._numbers[index])
        values = self._table.row(number).values
        texts = tuple(values[name] for name in self._columns.texts)
        return Example(texts, self._labels[number].item(), values)


@dataclass(frozen=True)
class CheckedRows:
    """A table whose rows have been checked.

    Attributes:
      table: the table.
      columns: its columns.
      labels: index of each row's label, int [rows], or its score, float [rows]; 0 if unknown.
      names: labels in the order of their indices; empty for scores.
    """

    table: Table
    columns: Columns
    labels: np.ndarray
    names: tuple[str, ...] = ()

    def examples(self, numbers: np.ndarray | None = None) -> Examples:
        """Examples of all rows, or of those with some numbers."""
        chosen = range(len(self.labels)) if numbers is None else numbers
        return Examples(self.table, self.columns, self.labels, chosen)

    def counts(self) -> tuple[int, ...]:
        """Number of rows with each label."""
        return tuple(np.bincount(self.labels, minlength=len(self.names)).tolist())


def check_scores(table: Table, columns: Columns) -> CheckedRows:
    """Check all rows of a table with scores.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    scores = array.array("d")

    def take(value: Any) -> str | None:
        score = _score(value)
        scores.append(math.nan if score is None else score)
        if score is None and _is_missing(value):
            return "no score"
        return f"the score is not a number: {json_files.shown(value)}" if score is None else None

    _check_rows(table, columns, take)
    return CheckedRows(table, columns, np.array(scores, np.float64))


def check_labels(table: Table, columns: Columns, known: Sequence[str] | None = None) -> CheckedRows:
    """Check all rows of a table with labels.

    Args:
      table: the table.
      columns: its columns.
      known: labels of the training in their order; None to take those of the table.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    codes = {name: code for code, name in enumerate(known or ())}
    taken = array.array("i")

    def take(value: Any) -> str | None:
        name = _label_text(value)
        if not name:
            return "no label" if _is_missing(value) else "the label is neither text nor number"
        if known is None and len(codes) < _MOST_LABELS:
            codes.setdefault(name, len(codes))
        taken.append(codes.get(name, _NO_LABEL))
        if name in codes:
            return None
        shown = json_files.shown(name)
        if known is None:
            return f"more than {_MOST_LABELS} labels: {shown}"
        names = listed(known, _LISTED_LABELS)
        return f"the label {shown} is not one of the model's, which are {names}"

    _check_rows(table, columns, take)
    labels = np.array(taken, np.int32)
    if known is not None:
        return CheckedRows(table, columns, labels, tuple(known))
    names = sorted_labels(list(codes))
    places = {name: place for place, name in enumerate(names)}
    order = np.array([places[name] for name in codes], np.int32)
    return CheckedRows(table, columns, order[labels], tuple(names))


def check_unlabelled(table: Table, columns: Columns, known: Sequence[str] = ()) -> CheckedRows:
    """Check all rows of a table to predict. Labels in it that training has not are only named.

    Args:
      table: the table.
      columns: its columns.
      known: labels of the training; empty for a regression.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    unknown: dict[str, int] = {}
    names = set(known)

    def take(value: Any) -> None:
        name = _label_text(value)
        if names and name and name not in names and len(unknown) < _MOST_LABELS:
            unknown[name] = unknown.get(name, 0) + 1

    _check_rows(table, columns, take)
    if unknown:
        logging.warning(
            "%s: labels that training has not, so that they are never predicted: %s",
            table.path,
            listed([f"{name} ({n})" for name, n in unknown.items()], _LISTED_LABELS),
        )
    labels = np.zeros(table.num_rows, np.int32 if known else np.float64)
    return CheckedRows(table, columns, labels, ())


def _check_rows(table: Table, columns: Columns, take: Callable[[Any], str | None]) -> None:
    """Check the texts of all rows, and their labels by a function that returns a problem or None.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    problems, empty = RowProblems(), RowProblems()
    for row in table.rows():
        problem = row.problem or _text_problem(row.values, columns)
        if not problem:
            problem = take(row.values.get(columns.label) if columns.label is not None else None)
            if not row.values[columns.texts[0]].strip():
                empty.add(row.line, f"the text {columns.texts[0]} is empty")
        if problem:
            problems.add(row.line, problem)
    if problems:
        raise InputError(*(f"{message}; correct the file" for message in problems.messages(table)))
    if not table.num_rows:
        raise InputError(f"{table.path}: the file has no rows; check that it is complete")
    for message in empty.messages(table):
        logging.warning("%s", message)


def _text_problem(values: Mapping[str, Any], columns: Columns) -> str | None:
    for name in columns.texts:
        if not isinstance(values.get(name), str):
            if _is_missing(values.get(name)):
                return f"no text {name}"
            return f"{name} is not a text: {json_files.shown(values[name])}"
    return None


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _label_text(value: Any) -> str:
    """Text of a label; "" if there is none, or it is a list or an object."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if isinstance(value, (bool, int, float)):
        return json_files.shown(value)
    return ""


def _score(value: Any) -> float | None:
    """A score; None if it is not a finite number that float32 can hold."""
    if isinstance(value, str) and "_" in value:  # Python would take it
        return None
    try:
        score = None if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return score if score is not None and abs(score) <= _LARGEST_SCORE else None


def split(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split rows for training and evaluation, the same way each time.

    Args:
      labels: index of each row's label, int [rows], or its score, float [rows].
      share: share of the rows to evaluate on.

    Returns:
      Numbers of the rows to train on, and of those to evaluate on, ascending. Each label has its
      share in both, and at least one row to train on.
    """
    groups = [np.arange(len(labels))]
    if labels.dtype.kind == "i":
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    random = np.random.RandomState(_SPLIT_SEED)
    is_dev = np.zeros(len(labels), bool)
    owed = 0.0  # what rounding has kept from evaluation so far
    for group in groups:
        owed += share * len(group)
        count = min(round(owed), len(group) - 1)
        owed -= count
        is_dev[random.permutation(group)[:count]] = True
    return np.flatnonzero(~is_dev), np.flatnonzero(is_dev)

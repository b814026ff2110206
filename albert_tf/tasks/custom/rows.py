"""Rows of users' files: one pass that checks them all, and examples that later passes read."""

from __future__ import annotations

import array
import collections
import contextlib
import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, Callable, Counter, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from albert_tf.io import json_files
from albert_tf.io.errors import InputError, listed
from albert_tf.io.tables import Row, RowProblems, Table
from albert_tf.tasks.custom.columns import Columns
from albert_tf.tasks.custom.labels import sorted_labels

_LARGEST_SCORE = float(np.finfo(np.float32).max)
_MOST_LABELS = 10_000
_LISTED_LABELS = 10
_SPLIT_SEED = 0  # of `split`; fixed, so no run trains on the rows that another evaluates on


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


@dataclass(frozen=True, eq=False)
class CheckedRows(Sequence[Example]):
    """Rows of a table that have been checked, in the order of the file.

    Each walk over them reads the file anew, and so does each access to a single one.

    Attributes:
      table: the table.
      columns: its columns.
      numbers: numbers of the rows in the table, from 0, ascending, int [rows].
      labels: index of each row's label, int [rows], or its score, float [rows]; 0 if unknown.
      names: labels in the order of their indices; empty for scores.
    """

    table: Table
    columns: Columns
    numbers: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Example]:
        is_chosen = np.zeros(self.numbers[-1] + 1 if len(self) else 0, bool)
        is_chosen[self.numbers] = True
        rows = itertools.compress(self.table.rows(), is_chosen)
        for row, label in zip(rows, self.labels):
            texts = tuple(row.values[name] for name in self.columns.texts)
            yield Example(texts, label.item(), row.values)

    def __getitem__(self, index: Any) -> Any:
        """A row by its place, or the rows of a slice or an array of ascending places."""
        if isinstance(index, int):
            (row,) = self[[range(len(self))[index]]]
            return row
        numbers, labels = self.numbers[index], self.labels[index]
        return dataclasses.replace(self, numbers=numbers, labels=labels)

    def counts(self) -> tuple[int, ...]:
        """Number of rows with each label."""
        return tuple(np.bincount(self.labels, minlength=len(self.names)).tolist())


def check_scores(table: Table, columns: Columns) -> CheckedRows:
    """Check all rows of a table with scores.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    return _checked(table, columns, _score, np.float64)


def check_labels(table: Table, columns: Columns, known: Sequence[str] | None = None) -> CheckedRows:
    """Check all rows of a table with labels.

    Args:
      table: the table.
      columns: its columns.
      known: labels of the training in their order; None to take the labels of the table.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    indices = {name: index for index, name in enumerate(known or ())}

    def index_of(value: Any) -> int:
        name = _label_text(value)
        if known is None and len(indices) < _MOST_LABELS:
            indices.setdefault(name, len(indices))
        if name in indices:
            return indices[name]
        shown = json_files.shown(name)
        if known is None:
            raise ValueError(f"more than {_MOST_LABELS} labels: {shown}")
        names = listed(known, _LISTED_LABELS)
        raise ValueError(f"the label {shown} is not one of the model's, which are {names}")

    rows = _checked(table, columns, index_of, np.int32)
    names = sorted_labels(list(indices)) if known is None else known
    new_indices = {name: index for index, name in enumerate(names)}
    order = np.array([new_indices[name] for name in indices], np.int32)
    return dataclasses.replace(rows, labels=order[rows.labels], names=tuple(names))


def check_unlabelled(table: Table, columns: Columns, known: Sequence[str] = ()) -> CheckedRows:
    """Check all rows of a table to predict. Labels in it that training has not are only named.

    Args:
      table: the table.
      columns: its columns.
      known: labels of the training; empty for a regression.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    unknown: Counter[str] = collections.Counter()
    names = set(known)

    def count(value: Any) -> int:
        with contextlib.suppress(ValueError):
            name = _label_text(value)
            if names and name not in names and len(unknown) < _MOST_LABELS:
                unknown[name] += 1
        return 0

    rows = _checked(table, columns, count, np.int32 if known else np.float64)
    if unknown:
        logging.warning(
            "%s: labels that do not occur in training and are never predicted: %s",
            table.path,
            listed([f"{name} ({n})" for name, n in unknown.items()], _LISTED_LABELS),
        )
    return rows


def _checked(
    table: Table, columns: Columns, label_of: Callable[[Any], float], dtype: type
) -> CheckedRows:
    """Check all rows, and find their labels.

    Args:
      table: the table.
      columns: its columns.
      label_of: function that finds the number of a label, or the score, by the value in the table,
        or raises a `ValueError` that says what is wrong with it.
      dtype: type of the array of labels.

    Raises:
      InputError: all problems with the rows, by their kind.
    """
    problems, empty = RowProblems(), RowProblems()
    labels = array.array("d")
    for row in table.rows():
        try:
            _check_texts(row, columns)
            value = None if columns.label is None else row.values.get(columns.label)
            labels.append(label_of(value))
        except ValueError as error:
            problems.add(row.line, str(error))
        else:
            if not row.values[columns.texts[0]].strip():
                empty.add(row.line, f"the text {columns.texts[0]} is empty")
    if problems:
        raise InputError(*(f"{message}; correct the file" for message in problems.messages(table)))
    if not labels:
        raise InputError(f"{table.path}: the file has no rows; check that it is complete")
    for message in empty.messages(table):
        logging.warning("%s", message)
    return CheckedRows(table, columns, np.arange(len(labels)), np.array(labels, dtype))


def _check_texts(row: Row, columns: Columns) -> None:
    if row.problem:
        raise ValueError(row.problem)
    for name in columns.texts:
        value = row.values.get(name)
        if value is None:
            raise ValueError(f"no text {name}")
        if not isinstance(value, str):
            raise ValueError(f"{name} is not a text: {json_files.shown(value)}")


def _check_given(value: Any, content: str) -> None:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"no {content}")


def _label_text(value: Any) -> str:
    _check_given(value, "label")
    if isinstance(value, (list, dict)):
        raise ValueError("the label is neither text nor number")
    return value if isinstance(value, str) else json_files.shown(value)


def _score(value: Any) -> float:
    _check_given(value, "score")
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        is_number = not isinstance(value, bool) and "_" not in str(value)  # Python takes "1_0"
        if is_number and abs(float(value)) <= _LARGEST_SCORE:
            return float(value)
    raise ValueError(f"the score is not a number: {json_files.shown(value)}")


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
        by_label = np.argsort(labels, kind="stable")
        groups = np.split(by_label, np.flatnonzero(np.diff(labels[by_label])) + 1)
    random = np.random.RandomState(_SPLIT_SEED)
    is_dev = np.zeros(len(labels), bool)
    owed = 0.0  # what rounding has kept from evaluation so far
    for group in groups:
        owed += share * len(group)
        count = min(round(owed), len(group) - 1)
        owed -= count
        is_dev[random.permutation(group)[:count]] = True
    return np.flatnonzero(~is_dev), np.flatnonzero(is_dev)

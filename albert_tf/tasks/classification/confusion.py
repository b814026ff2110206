"""Which labels a classification confuses, with precision, recall and F1 of each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

DENSE_BELOW = 100  # labels; with more, a matrix would be mostly zeros, and large
MOST_CONFUSED = 100  # pairs of labels to show where there is no matrix


@dataclass(frozen=True)
class Confusion:
    """Rows counted by their true and predicted label.

    Attributes:
      names: names of the labels.
      cells: true label, predicted label and number of rows of each pair of labels that occurs, in
        the order of the labels, int [pairs, 3].
    """

    names: Sequence[str]
    cells: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]) -> Confusion:
        """Count rows.

        Args:
          labels: indices of the true labels, int [rows].
          predictions: indices of the predicted labels, int [rows].
          names: names of the labels.
        """
        pairs = np.asarray(labels, np.int64) * len(names) + predictions
        found, counts = np.unique(pairs, return_counts=True)
        return cls(names, np.stack([found // len(names), found % len(names), counts], axis=1))

    @property
    def is_dense(self) -> bool:
        """Whether the labels are few enough for a matrix."""
        return len(self.names) < DENSE_BELOW

    def matrix(self) -> np.ndarray:
        """Number of rows, int array [true label, predicted label]; for few labels."""
        matrix = np.zeros([len(self.names)] * 2, int)
        true, predicted, counts = self.cells.T
        matrix[true, predicted] = counts
        return matrix

    def totals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of each label: rightly predicted, predicted, and true; int arrays [labels]."""
        true, predicted, counts = self.cells.T
        right = np.where(true == predicted, counts, 0)
        return self._sums(true, right), self._sums(predicted, counts), self._sums(true, counts)

    def _sums(self, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.bincount(labels, counts, len(self.names)).astype(int)

    def most_confused(self) -> list[tuple[str, str, int]]:
        """True label, another one that was predicted, and their rows: the most frequent first."""
        wrong = self.cells[self.cells[:, 0] != self.cells[:, 1]]
        first = wrong[np.argsort(-wrong[:, 2], kind="stable")][:MOST_CONFUSED]
        return [(self.names[true], self.names[other], int(n)) for true, other, n in first]

    def label_metrics(self) -> dict[str, dict[str, Any]]:
        """Precision, recall, F1 and number of rows of each label, by its name.

        A fraction of nothing is 0.
        """
        return {
            name: {
                "precision": _fraction(right, predicted),
                "recall": _fraction(right, true),
                "f1": _fraction(2 * right, predicted + true),
                "rows": true,
            }
            for name, right, predicted, true in zip(
                self.names, *(counts.tolist() for counts in self.totals())
            )
        }

    def as_json(self) -> dict[str, Any]:
        """JSON value: a matrix of few labels, or the cells of many that are not zero."""
        counts = {"matrix": self.matrix()} if self.is_dense else {"cells": self.cells}
        return {
            "labels": list(self.names),
            **{name: values.tolist() for name, values in counts.items()},
            "by_label": self.label_metrics(),
        }

    def as_text(self) -> str:
        """Readable tables of the metrics of each label, and of a matrix or the worst confusions."""
        by_label = [["", "precision", "recall", "f1", "rows"]]
        for name, values in self.label_metrics().items():
            fractions = [f"{values[key]:.4f}" for key in ("precision", "recall", "f1")]
            by_label.append([name, *fractions, str(values["rows"])])
        if self.is_dense:
            counts = [["true \\ predicted", *self.names]]
            counts += [[name, *map(str, row)] for name, row in zip(self.names, self.matrix())]
        else:
            counts = [["true, most confused first", "predicted", "rows"]]
            counts += [[true, predicted, str(n)] for true, predicted, n in self.most_confused()]
        return f"{_aligned(by_label)}\n{_aligned(counts)}"


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table with aligned columns: the first to the left, the others to the right."""
    rows = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        for row in rows
    )
    return "".join("  ".join(line).rstrip() + "\n" for line in lines)

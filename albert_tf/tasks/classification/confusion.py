"""Confusion matrix of a classification, with precision, recall and F1 of each label."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_labels: int) -> np.ndarray:
    """Count the rows by true and predicted label.

    Args:
      labels: indices of the true labels, int [rows].
      predictions: indices of the predicted labels, int [rows].
      num_labels: number of labels.

    Returns:
      Int array [true label, predicted label].
    """
    counts = np.bincount(labels * num_labels + predictions, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels)


def label_metrics(matrix: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1 and number of rows of each label, by its name.

    A fraction of nothing is 0.

    Args:
      matrix: confusion matrix [true label, predicted label].
      names: names of the labels.
    """
    hits, predicted, true = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    return {
        name: {
            "precision": _fraction(hits[number], predicted[number]),
            "recall": _fraction(hits[number], true[number]),
            "f1": _fraction(2 * hits[number], predicted[number] + true[number]),
            "rows": int(true[number]),
        }
        for number, name in enumerate(names)
    }


def as_table(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Readable text of a confusion matrix and of the metrics of each label."""
    metrics = label_metrics(matrix, names)
    by_label = [["", "precision", "recall", "f1", "rows"]]
    for name, values in metrics.items():
        fractions = [f"{values[key]:.4f}" for key in ("precision", "recall", "f1")]
        by_label.append([name, *fractions, str(values["rows"])])
    counts = [["true \\ predicted", *names]]
    counts += [[name, *map(str, row)] for name, row in zip(names, matrix)]
    return f"{_aligned(by_label)}\n{_aligned(counts)}"


def _fraction(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


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

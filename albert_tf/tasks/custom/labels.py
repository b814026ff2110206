"""Labels of a task: their order, which is that of the model's outputs, and their counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from albert_tf.io.errors import InputError

LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class Labels:
    """Meaning of a model's outputs, and of its inputs.

    Attributes:
      names: labels in the order of the outputs; empty for a regression.
      counts: number of training rows with each label.
      text_columns: columns of the texts in the training file.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    text_columns: tuple[str, ...]

    @property
    def is_regression(self) -> bool:
        """Whether the output is a score."""
        return not self.names

    def as_json(self) -> dict[str, Any]:
        """JSON value of `LABELS_FILE`."""
        return {
            "regression": self.is_regression,
            "labels": list(self.names),
            "counts": list(self.counts),
            "text_columns": list(self.text_columns),
        }

    @classmethod
    def from_json(cls, value: Any, path: str) -> Labels:
        """Read the JSON value of `LABELS_FILE`.

        Args:
          value: the value.
          path: path of the file, for messages.

        Raises:
          InputError: if it is not a value of `as_json`.
        """
        value = value if isinstance(value, dict) else {}
        names, counts, columns = (value.get(x) for x in ("labels", "counts", "text_columns"))
        if not (
            _are(names, str)
            and _are(columns, str)
            and _are(counts, int)
            and len(set(names)) == len(names) == len(counts)
            and len(names) != 1
            and value.get("regression") is (not names)
        ):
            raise InputError(
                f"{path}: not the labels of a model as training keeps them; copy the file again "
                "from the directory of the training"
            )
        return cls(tuple(names), tuple(counts), tuple(columns))

    def balanced_weights(self) -> np.ndarray:
        """Weights with which each label has the same share of the loss, and their mean is 1.

        Returns:
          Float array [labels]: rows / (labels * rows with the label); 0 for a label without rows.
        """
        counts = np.array(self.counts, np.float64)
        weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.where(counts > 0, weights, 0).astype(np.float32)


def sorted_labels(names: Sequence[str]) -> list[str]:
    """Sort labels: by value if all are numbers, else as texts."""
    values: dict[str, float] = {}
    for name in names:
        value = _number(name)
        if value is None:
            return sorted(names)
        values[name] = value
    return sorted(names, key=lambda name: (values[name], name))


def read_labels(kept: Mapping[str, Any], path: str) -> Labels | None:
    """Read the labels that are kept with a model; None if there are none.

    Args:
      kept: JSON values kept with the model, by file name.
      path: path of the model, for messages.
    """
    if LABELS_FILE not in kept:
        return None
    return Labels.from_json(kept[LABELS_FILE], f"{path}/{LABELS_FILE}")


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

"""Labels of a task: their order, which the model's outputs have too, and their counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from albert_tf.io.json_files import JsonObject

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
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return sorted(names)
    if not all(map(math.isfinite, values.values())):
        return sorted(names)
    return sorted(names, key=lambda name: (values[name], name))


def read_labels(artifacts: Mapping[str, JsonObject]) -> Labels | None:
    """Read the labels that are kept with a model; None if there are none.

    Args:
      artifacts: JSON objects kept with the model, by file name.

    Raises:
      InputError: if they are not what `as_json` returns.
    """
    content = artifacts.get(LABELS_FILE)
    if content is None:
        return None
    names, columns = content.texts("labels"), content.texts("text_columns")
    counts = content.array("counts")
    if (
        len(set(names)) != len(names)
        or len(names) != len(counts)
        or len(names) == 1
        or not all(type(count) is int for count in counts)
        or content.boolean("regression") != (not names)
    ):
        raise content.error("not the labels of a model as training keeps them")
    return Labels(tuple(names), tuple(counts), tuple(columns))

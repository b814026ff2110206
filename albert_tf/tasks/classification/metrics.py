"""Metrics of classifications and regressions, over all rows of a split.

Each metric is a function of the true and the predicted labels or scores, arrays [rows]. It returns
a fraction from 0 to 1, or a correlation from -1 to 1. The function's name is the metric's name. The
libraries take seconds to import, so they are imported only when a metric is computed.
"""

from __future__ import annotations

from typing import Callable, Iterable, Sequence

import numpy as np
from absl import logging

Metric = Callable[[np.ndarray, np.ndarray], float]


def compute_metrics(
    metrics: Sequence[Metric], labels: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """Compute several metrics.

    Args:
      metrics: functions of this file.
      labels: true labels or scores [rows].
      predictions: predicted labels or scores [rows].

    Returns:
      The metrics by name.
    """
    return {metric.__name__: float(metric(labels, predictions)) for metric in metrics}


def warn_of_one_label(
    labels: Iterable[int], predictions: Sequence[int] | np.ndarray, names: Sequence[str]
) -> None:
    """Warn if all predictions are the same label, but not all rows have it.

    Args:
      labels: true labels [rows].
      predictions: predicted labels [rows].
      names: names of the labels.
    """
    if len(set(predictions)) == 1 and set(labels) != set(predictions):
        logging.warning(
            "all %d predictions are %r: this checkpoint has learned nothing; train longer, or with "
            "another --learning_rate",
            len(predictions),
            names[predictions[0]],
        )


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Fraction of the rows with the correct label."""
    from sklearn import metrics

    return metrics.accuracy_score(labels, predictions)


def f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """F1 of label 1; 0 if label 1 is neither true nor predicted anywhere."""
    from sklearn import metrics

    return metrics.f1_score(labels, predictions, zero_division=0)


def f1_macro(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean of the F1 of all labels that are true or predicted somewhere."""
    from sklearn import metrics

    return metrics.f1_score(labels, predictions, average="macro", zero_division=0)


def f1_micro(labels: np.ndarray, predictions: np.ndarray) -> float:
    """F1 of all labels' hits and misses together; the accuracy, as each row has one label."""
    from sklearn import metrics

    return metrics.f1_score(labels, predictions, average="micro", zero_division=0)


def matthews_correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Matthews correlation coefficient; 0 if either side is constant.

    For more than two labels it is R_K (Gorodkin 2004). The rows of each label are enough for it,
    where scikit-learn counts the rows of each pair of labels.
    """
    size = max(np.max(labels), np.max(predictions)) + 1
    true, predicted = (np.bincount(x, minlength=size).astype(float) for x in (labels, predictions))
    rows, right = len(labels), np.count_nonzero(np.equal(labels, predictions))
    variances = (rows**2 - true @ true) * (rows**2 - predicted @ predicted)
    return (right * rows - true @ predicted) / np.sqrt(variances) if variances else 0.0


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson correlation of scores; 0 if either side is constant."""
    return _correlation("pearsonr", labels, predictions)


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Spearman rank correlation of scores; 0 if either side is constant."""
    return _correlation("spearmanr", labels, predictions)


def _correlation(name: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    from scipy import stats

    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return getattr(stats, name)(labels, predictions)[0]


METRICS = {
    "accuracy": accuracy,
    "f1": f1,
    "f1_macro": f1_macro,
    "f1_micro": f1_micro,
    "matthews": matthews_correlation,
    "pearson": pearson,
    "spearman": spearman,
}
OF_SCORES = (pearson, spearman)

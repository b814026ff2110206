"""The metrics of the GLUE benchmark, over all rows of a data set at once.

Each takes the true and the predicted labels or scores, arrays [rows], and returns a fraction
between 0 and 1, or a correlation between -1 and 1. The name of a metric is that of its function.
The libraries behind them take seconds to load, and load when a metric is computed.
"""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]


def compute_metrics(
    metrics: Sequence[Metric], labels: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """Compute several metrics.

    Args:
      metrics: functions of this file.
      labels: true labels or scores [rows].
      predictions: predicted ones [rows].

    Returns:
      The metrics by name.
    """
    return {metric.__name__: float(metric(labels, predictions)) for metric in metrics}


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of the rows with the right label."""
    from sklearn import metrics

    return metrics.accuracy_score(labels, predictions)


def f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """F1 of label 1; 0 where label 1 is neither true nor predicted."""
    from sklearn import metrics

    return metrics.f1_score(labels, predictions, zero_division=0)


def matthews_correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Matthews correlation coefficient (Matthews 1975)."""
    from sklearn import metrics

    return metrics.matthews_corrcoef(labels, predictions)


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson correlation of scores; 0 where one side is constant."""
    from scipy import stats

    return _correlation(stats.pearsonr, labels, predictions)


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Spearman rank correlation of scores; 0 where one side is constant."""
    from scipy import stats

    return _correlation(stats.spearmanr, labels, predictions)


def _correlation(correlate, labels, predictions):
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return correlate(labels, predictions)[0]

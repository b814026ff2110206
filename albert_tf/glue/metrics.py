"""The metrics of the GLUE benchmark, over all rows of a data set at once."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from scipy import stats
from sklearn import metrics


def glue_metrics(
    names: Sequence[str], labels: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """Compares predictions with the truth.

    Args:
      names: names of metrics, those of this file's table.
      labels: the truth [rows]: numbers of labels, or scores.
      predictions: the same, as predicted.

    Returns:
      The metrics by name: fractions between 0 and 1, or correlations between -1 and 1.
    """
    return {name: float(_METRICS[name](labels, predictions)) for name in names}


def _f1(labels, predictions):
    """F1 of label 1; 0 where label 1 is neither true nor predicted."""
    return metrics.f1_score(labels, predictions, zero_division=0)


def _correlation(correlate, labels, predictions):
    """A correlation; 0 where one side is constant, so that there is none."""
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return correlate(labels, predictions)[0]


def _pearson(labels, predictions):
    return _correlation(stats.pearsonr, labels, predictions)


def _spearman(labels, predictions):
    return _correlation(stats.spearmanr, labels, predictions)


_METRICS = {
    "accuracy": metrics.accuracy_score,
    "f1": _f1,
    "matthews_correlation": metrics.matthews_corrcoef,
    "pearson": _pearson,
    "spearman": _spearman,
}

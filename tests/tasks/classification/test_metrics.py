"""The metrics of classifications and regressions, compared with values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics

from albert_tf.tasks.classification.metrics import (
    accuracy,
    compute_metrics,
    f1,
    matthews_correlation,
    pearson,
    spearman,
    warn_of_one_label,
)

# 3 true positives, 1 false positive, 2 false negatives, 2 true negatives.
LABELS = np.array([1, 1, 1, 0, 1, 1, 0, 0])
PREDICTIONS = np.array([1, 1, 1, 1, 0, 0, 0, 0])


def test_labels():
    assert compute_metrics((f1, accuracy, matthews_correlation), LABELS, PREDICTIONS) == {
        "f1": pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5)),
        "accuracy": 5 / 8,
        "matthews_correlation": pytest.approx((3 * 2 - 1 * 2) / math.sqrt(4 * 5 * 3 * 4)),
    }


def test_f1_is_that_of_label_1():
    swapped = compute_metrics((f1,), 1 - LABELS, 1 - PREDICTIONS)
    assert swapped == {"f1": pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))}


def test_three_labels():
    labels, predictions = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])
    assert compute_metrics((accuracy,), labels, predictions) == {"accuracy": 0.5}


def test_matthews_correlation_of_many_labels_is_that_of_scikit_learn():
    random = np.random.RandomState(0)
    labels = random.randint(0, 50, 2000)
    predictions = np.where(random.rand(2000) < 0.5, labels, random.randint(0, 60, 2000))
    expected = sklearn.metrics.matthews_corrcoef(labels, predictions)
    assert 0.4 < expected < 0.6
    assert matthews_correlation(labels, predictions) == pytest.approx(expected, rel=1e-12)
    assert matthews_correlation(labels, np.full(2000, 3)) == 0.0


def test_scores():
    """Around their means the labels are -2, -1, 0, 3 and the predictions -1.5, 0.5, -0.5, 1.5; the
    ranks are 1, 2, 3, 4 and 1, 3, 2, 4."""
    labels, predictions = np.array([0.0, 1.0, 2.0, 5.0]), np.array([1.0, 3.0, 2.0, 4.0])
    expected = (2 * 1.5 - 0.5 + 0 + 3 * 1.5) / math.sqrt((4 + 1 + 9) * (2.25 * 2 + 0.25 * 2))
    assert compute_metrics((pearson, spearman), labels, predictions) == {
        "pearson": pytest.approx(expected),
        "spearman": pytest.approx(1 - 6 * 2 / (4 * (16 - 1))),
    }


def test_equal_scores_share_their_ranks():
    """The ranks are 1.5, 1.5, 3 and 1, 2, 3: around 2 they are -.5, -.5, 1 and -1, 0, 1."""
    labels, predictions = np.array([1.0, 1.0, 4.0]), np.array([0.0, 2.0, 3.0])
    expected = (0.5 + 1) / math.sqrt(1.5 * 2)
    assert compute_metrics((spearman,), labels, predictions) == {
        "spearman": pytest.approx(expected)
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", [pearson, spearman])
def test_constant_scores_do_not_correlate(metric):
    varied, constant = np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0, 3.0])
    assert metric(varied, constant) == 0.0
    assert metric(constant, varied) == 0.0
    assert metric(varied[:1], varied[:1]) == 0.0


@pytest.mark.filterwarnings("error")
def test_one_label_for_all():
    labels, ones, zeros = np.array([0, 1, 0, 1]), np.ones(4, int), np.zeros(4, int)
    metrics = (f1, matthews_correlation)
    assert compute_metrics(metrics, labels, ones) == {
        "f1": pytest.approx(2 / 3),
        "matthews_correlation": 0.0,
    }
    assert compute_metrics(metrics, labels, zeros) == {"f1": 0.0, "matthews_correlation": 0.0}
    assert compute_metrics((f1,), zeros, zeros) == {"f1": 0.0}


def test_one_label_for_all_is_told(caplog):
    warn_of_one_label([0, 1, 0], [1, 1, 1], ["no", "yes"])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("all 3 predictions are 'yes': ")


@pytest.mark.parametrize("predictions", [[0, 0, 0], [0, 1, 0], []])
def test_labels_as_they_should_be_are_no_warning(caplog, predictions):
    warn_of_one_label([0, 0, 0][: len(predictions)], predictions, ["no", "yes"])
    assert not caplog.records

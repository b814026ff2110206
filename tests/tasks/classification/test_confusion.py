"""Confusion matrix and the metrics of each label, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from albert_tf.tasks.classification.confusion import as_table, confusion_matrix, label_metrics

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 0, 0])
NAMES = ("off", "on", "dim\n")


def test_rows_are_true_labels_and_columns_predicted_ones():
    matrix = confusion_matrix(LABELS, PREDICTIONS, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_metrics_of_each_label():
    metrics = label_metrics(confusion_matrix(LABELS, PREDICTIONS, 3), NAMES)
    assert metrics == {
        "off": {"precision": 0.5, "recall": pytest.approx(2 / 3), "f1": 4 / 7, "rows": 3},
        "on": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2},
        "dim\n": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 1},
    }


def test_a_readable_table():
    assert as_table(confusion_matrix(LABELS, PREDICTIONS, 3), NAMES).splitlines() == [
        "       precision  recall      f1  rows",
        "off       0.5000  0.6667  0.5714     3",
        "on        0.5000  0.5000  0.5000     2",
        "dim\\n     0.0000  0.0000  0.0000     1",
        "",
        "true \\ predicted  off  on  dim\\n",
        "off                 2   1      0",
        "on                  1   1      0",
        "dim\\n               1   0      0",
    ]

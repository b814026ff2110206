"""Which labels are confused, and the metrics of each label: counted by hand, and of many labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from albert_tf.tasks.classification import confusion
from albert_tf.tasks.classification.confusion import Confusion
from tasks.classification import many_labels

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 0, 0])
NAMES = ("off", "on", "dim\n")


@pytest.fixture
def is_sparse(monkeypatch):
    """Three labels are too many for a matrix."""
    monkeypatch.setattr(confusion, "DENSE_BELOW", 3)


def test_rows_are_true_labels_and_columns_predicted_ones():
    matrix = Confusion.of(LABELS, PREDICTIONS, [*NAMES, "none"]).matrix()
    assert matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_metrics_of_each_label():
    metrics = Confusion.of(LABELS, PREDICTIONS, NAMES).label_metrics()
    assert metrics == {
        "off": {"precision": 0.5, "recall": pytest.approx(2 / 3), "f1": 4 / 7, "rows": 3},
        "on": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2},
        "dim\n": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 1},
    }


BY_LABEL = [
    "       precision  recall      f1  rows",
    "off       0.5000  0.6667  0.5714     3",
    "on        0.5000  0.5000  0.5000     2",
    "dim\\n     0.0000  0.0000  0.0000     1",
    "",
]


def test_a_readable_table():
    assert Confusion.of(LABELS, PREDICTIONS, NAMES).as_text().splitlines() == [
        *BY_LABEL,
        "true \\ predicted  off  on  dim\\n",
        "off                 2   1      0",
        "on                  1   1      0",
        "dim\\n               1   0      0",
    ]


def test_many_labels_have_their_most_confused_pairs(is_sparse, monkeypatch):
    labels, predictions = [*LABELS, 2], [*PREDICTIONS, 0]
    counted = Confusion.of(np.array(labels), np.array(predictions), NAMES)
    assert counted.most_confused() == [("dim\n", "off", 2), ("off", "on", 1), ("on", "off", 1)]
    assert counted.as_text().splitlines()[5:] == [
        "true, most confused first  predicted  rows",
        "dim\\n                            off     2",
        "off                               on     1",
        "on                               off     1",
    ]
    monkeypatch.setattr(confusion, "MOST_CONFUSED", 1)
    assert counted.most_confused() == [("dim\n", "off", 2)]


def test_json_has_a_matrix_of_few_labels_and_the_cells_of_many():
    """99 labels, each predicted rightly once, and the first one twice as the last; then 100."""
    for size in (99, 100):
        names = [f"label {number}" for number in range(size)]
        labels, predictions = [*range(size), 0, 0], [*range(size), size - 1, size - 1]
        value = Confusion.of(np.array(labels), np.array(predictions), names).as_json()
        assert value["labels"] == names
        assert value["by_label"]["label 0"] == {
            "precision": 1.0,
            "recall": pytest.approx(1 / 3),
            "f1": 0.5,
            "rows": 3,
        }
        if size == 99:
            expected = np.eye(99, dtype=int)
            expected[0, 98] = 2
            assert list(value) == ["labels", "matrix", "by_label"]
            assert value["matrix"] == expected.tolist()
        else:
            assert list(value) == ["labels", "cells", "by_label"]
            assert value["cells"][:3] == [[0, 0, 1], [0, 99, 2], [1, 1, 1]]
            assert len(value["cells"]) == 101


def test_outputs_for_five_thousand_labels_are_small():
    counted = Confusion.of(many_labels.TRUTHS, many_labels.PREDICTIONS, many_labels.NAMES)
    text, value = counted.as_text(), counted.as_json()
    assert len(text) < 400_000
    assert text.splitlines()[5003].split() == ["label", "17", "label", "4000", "30"]
    assert len(text.splitlines()) == 1 + 5000 + 1 + 1 + 100
    assert sum(count for _, _, count in value["cells"]) == 20_030
    assert len(json.dumps(value, indent=4)) < 3_000_000

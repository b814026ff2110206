"""Tests of the sections of the report page about labels and scores."""

from __future__ import annotations

import numpy as np

from albert_tf.tasks.classification import report

LABELS = ("contradiction", "entailment", "neutral")
TRUTHS = [0, 0, 1, 1, 1, 2]
PROBABILITIES = [
    [0.8, 0.1, 0.1],
    [0.3, 0.6, 0.1],
    [0.0, 0.5, 0.5],
    [0.9, 0.1, 0.0],
    [0.1, 0.7, 0.2],
    [0.2, 0.2, 0.6],
]
ANSWERS = [{"predictions": row.index(max(row)), "probabilities": row} for row in PROBABILITIES]
TEXTS = [[("Text 1", f"first {number}"), ("Text 2", "second")] for number in range(1, 7)]


def test_labels():
    labels, examples = report.label_sections(LABELS, TEXTS, TRUTHS, ANSWERS)
    matrix, table = labels.blocks
    assert matrix.labels == list(LABELS)
    assert matrix.counts == [[1, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert table.rows == [
        ["contradiction", "50.0", "50.0", "50.0", 2],
        ["entailment", "66.7", "66.7", "66.7", 3],
        ["neutral", "100.0", "100.0", "100.0", 1],
    ]
    (listing,) = examples.blocks
    order = ["first 4", "first 2", "first 3", "first 6", "first 5", "first 1"]
    assert [item["title"] for item in listing.items] == order
    worst = listing.items[0]
    assert worst["facts"] == ["predicted: contradiction (90%)", "true: entailment", "no. 4"]
    assert worst["groups"] == ["entailment", "contradiction"]
    assert worst["rows"][0] == ["contradiction", "90.0%"]
    assert listing.states == ["wrong", "right"]


def test_a_matrix_of_many_labels_shows_those_with_the_most_errors():
    labels = [f"label {number}" for number in range(50)]
    counts = np.eye(50, dtype=int)
    counts[41, 7], counts[7, 3] = 2, 1
    matrix = report.confusion(labels, counts)
    assert len(matrix.labels) == 30
    assert {"label 3", "label 7", "label 41"} <= set(matrix.labels)
    row, column = matrix.labels.index("label 41"), matrix.labels.index("label 7")
    assert matrix.counts[row][column] == 2


def test_scores():
    answers = [{"predictions": score} for score in (1.0, 4.5, 2.25)]
    scores, examples = report.score_sections(TEXTS[:3], [0.5, 1.0, 2.0], answers)
    assert scores.blocks[0].points == [[0.5, 1.0], [1.0, 4.5], [2.0, 2.25]]
    titles = [item["title"] for item in examples.blocks[0].items]
    assert titles == ["first 2", "first 1", "first 3"]

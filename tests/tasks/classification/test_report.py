"""Tests of the sections of the report page about labels and scores."""

from __future__ import annotations

import json

import numpy as np

from albert_tf.tasks.classification import report
from albert_tf.tasks.classification.confusion import Confusion
from tasks.classification import many_labels

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
    truths, predictions = [*range(50), 41, 41, 7], [*range(50), 7, 7, 3]
    matrix = report.confusion(Confusion.of(np.array(truths), np.array(predictions), labels))
    assert len(matrix.labels) == 30
    assert matrix.labels[:4] == ["label 7", "label 41", "label 3", "label 0"]
    row, column = matrix.labels.index("label 41"), matrix.labels.index("label 7")
    assert matrix.counts[row][column] == 2


def test_sections_about_five_thousand_labels_are_small():
    counted = Confusion.of(many_labels.TRUTHS, many_labels.PREDICTIONS, many_labels.NAMES)
    pairs, table = report.confusion(counted), report.per_label(counted)
    assert pairs.columns == ("true", "predicted", "examples")
    assert len(pairs.rows) == 100
    assert pairs.rows[0] == ("label 17", "label 4000", 30)
    assert len(table.rows) == 200
    assert {row[0] for row in table.rows[:2]} == {"label 17", "label 4000"}
    assert len(json.dumps([pairs.as_json(), table.as_json()])) < 20_000


def test_scores():
    answers = [{"predictions": score} for score in (1.0, 4.5, 2.25)]
    scores, examples = report.score_sections(TEXTS[:3], [0.5, 1.0, 2.0], answers)
    assert scores.blocks[0].points == [[0.5, 1.0], [1.0, 4.5], [2.0, 2.25]]
    titles = [item["title"] for item in examples.blocks[0].items]
    assert titles == ["first 2", "first 1", "first 3"]

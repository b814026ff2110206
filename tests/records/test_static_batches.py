"""Static shapes for devices that compile a graph for each; the numbers are the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.records import datasets, static_batches
from albert_tf.records import record_files as records
from albert_tf.runs import tasks, training
from task_factory import SCRIPTS, make_task, training_shapes


@pytest.fixture
def static_shapes(monkeypatch):
    """Shapes as on an HPU."""
    monkeypatch.setattr(tasks.Task, "needs_static_shapes", True)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("script", SCRIPTS)
def test_training_reads_static_shapes(tmp_path, pretraining_records, script, parts):
    changes = {"input_file": pretraining_records} if script == "pretraining" else {}
    task = make_task(
        script, tmp_path, train_batch_size=4, gradient_accumulation_steps=parts, **changes
    )
    with tf.Graph().as_default():
        assert task.train_input_fn(0)().element_spec == training_shapes(script, task)


def through(input_fn):
    """The batches of an input function."""
    with tf.Graph().as_default(), tf.Session() as session:
        features = tf.data.make_one_shot_iterator(input_fn()).get_next()
        while True:
            try:
                yield session.run(features)
            except tf.errors.OutOfRangeError:
                return


def test_batches_of_each_length_are_filled_up(tmp_path):
    """Nine rows of lengths 1 to 9, in batches of up to 2 with lengths 4 and 9."""
    path = str(tmp_path / "records")
    sequence = tf.io.FixedLenFeature([9], tf.int64)
    spec = {"input_ids": sequence, "input_mask": sequence}

    def rows():
        for row in range(1, 10):
            padding = [0] * (9 - row)
            yield {"input_ids": [row] * row + padding, "input_mask": [1] * row + padding}

    records.make_records(path, {"rows": 9}, {}, spec, rows)
    short, long = static_batches.static_input_fns(
        lambda: datasets.bucketed_dataset(path, spec, 2, [4, 9], "row"), 2, [4, 9]
    )
    for input_fn, length, expected in ((short, 4, [0, 1, 2, 3]), (long, 9, [4, 5, 6, 7, 8])):
        with tf.Graph().as_default():
            assert input_fn().element_spec == {
                "input_ids": tf.TensorSpec([2, length], tf.int32),
                "input_mask": tf.TensorSpec([2, length], tf.int32),
                "row": tf.TensorSpec([2], tf.int32),
                "is_padding": tf.TensorSpec([2], tf.int32),
            }
        batches = list(through(input_fn))
        assert [list(batch["is_padding"]) for batch in batches[:-1]] == [[0, 0]] * (
            len(batches) - 1
        )
        kept = [static_batches.without_padding(batch) for batch in batches]
        assert set(kept[0]) == {"input_ids", "input_mask", "row"}
        assert list(np.concatenate([batch["row"] for batch in kept])) == expected
    assert list(batches[-1]["is_padding"]) == [0, 1]
    assert list(batches[-1]["row"]) == [8, 8]


def test_predictions_without_marks_stay_as_they_are():
    predictions = {"logits": np.arange(3)}
    assert static_batches.without_padding(predictions) == predictions


def run_task(script, output_dir, **changes):
    training.run(make_task(script, output_dir, do_train=False, **changes))


def test_answers_are_the_same(tmp_path, request):
    changes = {"length_buckets": "64,80", "predict_batch_size": 7}
    run_task("squad", tmp_path / "free", **changes)
    request.getfixturevalue("static_shapes")
    run_task("squad", tmp_path / "static", **changes)
    for name in ("predictions.json", "eval_results.json"):
        free, static = ((tmp_path / d / name).read_text() for d in ("free", "static"))
        assert free == static
    n_best = [
        json.loads((tmp_path / d / "nbest_predictions.json").read_text())
        for d in ("free", "static")
    ]
    assert n_best[0].keys() == n_best[1].keys()


def test_rows_keep_their_order(tmp_path, request):
    changes = {"length_buckets": "24", "predict_batch_size": 3, "eval_batch_size": 5}
    run_task("classifier", tmp_path / "free", **changes)
    request.getfixturevalue("static_shapes")
    run_task("classifier", tmp_path / "static", **changes)
    results = [np.loadtxt(tmp_path / d / "test_results.tsv") for d in ("free", "static")]
    np.testing.assert_allclose(*results, rtol=1e-4)
    figures = [
        json.loads((tmp_path / d / "eval_results.json").read_text()) for d in ("free", "static")
    ]
    assert figures[0] == figures[1]


def test_evaluation_of_pretraining_counts_each_record_once(tmp_path, pretraining_records, request):
    changes = {"input_file": pretraining_records, "eval_batch_size": 7, "max_eval_steps": 1000}
    run_task("pretraining", tmp_path / "free", **changes)
    request.getfixturevalue("static_shapes")
    run_task("pretraining", tmp_path / "static", **changes)
    figures = [
        (tmp_path / d / "eval_results.txt").read_text().splitlines() for d in ("free", "static")
    ]
    assert figures[0] == figures[1]

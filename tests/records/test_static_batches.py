"""Static shapes: filled batches, and the same results as with dynamic shapes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices.device import Device
from albert_tf.records import datasets, manifests, record_files, static_batches
from albert_tf.records.manifests import Origin
from albert_tf.run import run, training
from task_factory import SCRIPTS, make_context, training_shapes

pytestmark = pytest.mark.tensorflow


class StaticDevice(Device):
    """Device with static shapes, like an HPU."""

    static_shapes = True


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("script", SCRIPTS)
def test_training_reads_static_shapes(tmp_path, pretraining_records, script, micro_batches):
    changes = {"input_file": pretraining_records} if script == "pretraining" else {}
    context = make_context(
        script, tmp_path, train_batch_size=4, gradient_accumulation_steps=micro_batches, **changes
    )
    context.train.prepare()
    with tf.Graph().as_default():
        dataset = training.training_dataset(context, start_step=0)
        assert dataset.element_spec == training_shapes(context)


def run_through(input_fn):
    """Batches of an input function."""
    with tf.Graph().as_default(), tf.Session() as session:
        features = tf.data.make_one_shot_iterator(input_fn()).get_next()
        while True:
            try:
                yield session.run(features)
            except tf.errors.OutOfRangeError:
                return


def test_batches_of_each_length_are_filled_up(tmp_path):
    """Nine rows of lengths 1 to 9, in batches of up to 2 rows and lengths 4 and 9."""
    path = str(tmp_path / "records")
    sequence = tf.io.FixedLenFeature([9], tf.int64)
    spec = {"input_ids": sequence, "input_mask": sequence}

    def rows():
        for row in range(1, 10):
            padding = [0] * (9 - row)
            yield {"input_ids": [row] * row + padding, "input_mask": [1] * row + padding}

    with manifests.record_writers([path], Origin({"rows": 9}, {})) as (writer,):
        for row in rows():
            writer.write(record_files.serialize_example(row))
    for length, expected in ((4, [0, 1, 2, 3]), (9, [4, 5, 6, 7, 8])):

        def input_fn(length=length):
            dataset = datasets.bucketed_dataset(path, spec, 2, [4, 9], "row")
            return static_batches.of_length(dataset, 2, length)

        with tf.Graph().as_default():
            assert input_fn().element_spec == {
                "input_ids": tf.TensorSpec([2, length], tf.int32),
                "input_mask": tf.TensorSpec([2, length], tf.int32),
                "row": tf.TensorSpec([2], tf.int32),
                "is_filler": tf.TensorSpec([2], tf.int32),
            }
        batches = list(run_through(input_fn))
        assert [list(batch["is_filler"]) for batch in batches[:-1]] == [[0, 0]] * (len(batches) - 1)
        kept = [static_batches.without_fillers(batch) for batch in batches]
        assert set(kept[0]) == {"input_ids", "input_mask", "row"}
        assert list(np.concatenate([batch["row"] for batch in kept])) == expected
    assert list(batches[-1]["is_filler"]) == [0, 1]
    assert list(batches[-1]["row"]) == [8, 8]


def test_predictions_without_fillers_are_unchanged():
    predictions = {"logits": np.arange(3)}
    assert static_batches.without_fillers(predictions) == predictions


def run_task(script, output_dir, is_static, **changes):
    device = StaticDevice() if is_static else None
    # Static shapes have padding; without it, sums are rounded otherwise.
    changes = {"do_train": False, "compute_padding": True, **changes}
    run.carry_out(make_context(script, output_dir, device, **changes))


def run_both(script, tmp_path, **changes):
    """Run a task with dynamic and with static shapes; return the two output directories."""
    for name in ("dynamic", "static"):
        run_task(script, tmp_path / name, name == "static", **changes)
    return tmp_path / "dynamic", tmp_path / "static"


def metrics(directory):
    """Metrics of a run's results."""
    results = json.loads((directory / "eval_results.json").read_text())
    found = {name: value for name, value in results.items() if isinstance(value, (int, float))}
    assert found.keys() & {"f1", "best_f1"}
    return found


@pytest.mark.parametrize("script", ["squad", "squad_v2"])
def test_answers_are_the_same(tmp_path, script):
    directories = run_both(script, tmp_path, length_buckets=["64", "80"], predict_batch_size=7)
    dynamic, static = ((d / "predictions.json").read_text() for d in directories)
    assert dynamic == static
    dynamic, static = map(metrics, directories)
    assert dynamic == pytest.approx(static, rel=1e-4)  # the threshold of v2.0 is a score
    n_best = [json.loads((d / "nbest_predictions.json").read_text()) for d in directories]
    assert n_best[0].keys() == n_best[1].keys()


def probabilities(directory):
    """Probabilities of a run's test results, [rows, labels]."""
    rows = [line.split("\t") for line in (directory / "test_results.tsv").read_text().splitlines()]
    return np.array([[float(x) for x in row if x[:1].isdigit()] for row in rows])


@pytest.mark.parametrize(("script", "bucket"), [("classifier", "24"), ("race", "80")])
def test_rows_keep_their_order(tmp_path, script, bucket):
    directories = run_both(
        script, tmp_path, length_buckets=[bucket], predict_batch_size=3, eval_batch_size=5
    )
    np.testing.assert_allclose(*map(probabilities, directories), rtol=1e-4)
    dynamic, static = (json.loads((d / "eval_results.json").read_text()) for d in directories)
    assert dynamic == static


def test_evaluation_of_pretraining_counts_each_record_once(tmp_path, pretraining_records):
    changes = {"eval_batch_size": 7, "max_eval_steps": 1000}
    directories = run_both("pretraining", tmp_path, input_file=pretraining_records, **changes)
    dynamic, static = ((d / "eval_results.txt").read_text().splitlines() for d in directories)
    assert dynamic == static

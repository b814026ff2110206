"""The log and the TensorBoard events of a training run."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.graph import hooks
from albert_tf.run_dir import events

pytestmark = pytest.mark.tensorflow


def test_throughput():
    throughput = hooks.Throughput(10, now=100.0)
    assert throughput.since_last(20, 105.0) == 2.0
    assert throughput.since_last(50, 107.0) == 15.0
    assert throughput.since_start(50, 108.0) == 5.0
    throughput.leave_out(2.0)
    assert throughput.since_start(50, 110.0) == 5.0


def test_throughput_of_several_counts():
    throughput = hooks.Throughput(np.array([10, 100]), now=100.0)
    assert list(throughput.since_last(np.array([20, 300]), 105.0)) == [2.0, 40.0]


@pytest.fixture
def training_run(tmp_path, graph):
    """Run 9 steps with a hook, and return the directory of the events."""
    step = tf.train.get_or_create_global_step()
    train_op = tf.assign_add(step, 1)
    loss = tf.cast(step, tf.float32) * 0 + 2.5
    hook = hooks.ProgressHook(
        loss, tf.constant(1e-3), tf.constant(96.0), 9, 32, str(tmp_path), summary_steps=2
    )
    stop = tf.train.StopAtStepHook(last_step=9)
    with tf.train.SingularMonitoredSession([hook, stop]) as session:
        while not session.should_stop():
            session.run(train_op)
    return tmp_path


def test_the_log_tells_first_and_last_step(caplog, request):
    caplog.set_level("INFO")
    request.getfixturevalue("training_run")
    first, last = (r.getMessage() for r in caplog.records if r.module == "hooks")
    assert re.fullmatch(
        r"step 1 of 9: loss 2\.5000, learning rate 0\.001; the first step took \d+\.\d s", first
    )
    assert re.fullmatch(
        r"step 9 of 9: loss 2\.5000, learning rate 0\.001; [\d.]+ examples/s with \d+ tokens/s, "
        r"[\d.]+ with \d+ over the run",
        last,
    )


def test_the_loss_of_a_step_is_the_mean_over_its_micro_batches(tmp_path, graph, caplog):
    caplog.set_level("INFO")
    run = tf.get_variable("run", [], initializer=tf.zeros_initializer())
    tf.train.create_global_step()
    loss = tf.identity(run)
    hook = hooks.ProgressHook(
        loss, tf.constant(1e-3), tf.constant(96.0), 9, 32, str(tmp_path), runs_per_step=4
    )
    with tf.control_dependencies([loss]):
        train_op = tf.assign_add(run, 1)
    with tf.train.SingularMonitoredSession([hook]) as session:
        for _ in range(4):
            session.run(train_op)
    (first,) = (r.getMessage() for r in caplog.records if r.module == "hooks")
    assert ": loss 1.5000, " in first  # of 0, 1, 2 and 3


def test_events(training_run):
    (file,) = training_run.iterdir()
    found = [event for event in tf.train.summary_iterator(str(file)) if event.summary.value]
    assert [event.step for event in found] == [2, 4, 6, 8]
    for event in found:
        values = {value.tag: value.simple_value for value in event.summary.value}
        assert values["train/loss"] == 2.5
        assert values["train/learning_rate"] == pytest.approx(1e-3)
        assert values["train/examples_per_second"] > 0
        assert values["train/tokens_per_second"] == pytest.approx(
            3 * values["train/examples_per_second"], rel=1e-5
        )


def test_scalars_are_written_outside_of_a_graph(tmp_path):
    events.write_scalars(tmp_path, 7, {"eval/f1": 81.5})
    events.write_scalars(tmp_path, 9, {"eval/f1": 82.5})
    (file,) = tmp_path.iterdir()
    values = [
        (event.step, event.summary.value[0].simple_value)
        for event in tf.train.summary_iterator(str(file))
        if event.summary.value
    ]
    assert values == [(7, 81.5), (9, 82.5)]

"""The interface of tasks: its size, schedules, and what a task gets without writing it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import toy_task
from albert_tf.records.splits import Splits
from albert_tf.tasks.base import (
    MODEL_INPUTS,
    RecordOutput,
    Schedule,
    Task,
    artifacts_of,
    input_fields,
)
from golden import tiny_config


def test_a_task_has_at_most_15_members():
    members = {name for name in {*Task.__annotations__, *vars(Task)} if not name.startswith("_")}
    # These are set by `__init__`.
    assert len({*members, "settings", "config", "tokenizer", "splits"}) <= 15


@pytest.mark.parametrize(
    ("schedule", "num_devices", "steps", "warmup_steps"),
    [
        (Schedule(steps=100, warmup_steps=10), 1, 100, 10),
        (Schedule(steps=100, warmup_steps=10), 4, 100, 10),
        (Schedule(steps=100, warmup_steps=10, is_divided=True), 4, 25, 2),
        (Schedule(steps=101, warmup_proportion=0.1, is_divided=True), 4, 25, 2),
        # 1,000 examples in batches of 8.
        (Schedule(epochs=2.0, warmup_proportion=0.1), 1, 250, 25),
        (Schedule(epochs=2.0, warmup_proportion=0.1), 4, 62, 6),
        (Schedule(epochs=0.5, warmup_steps=3), 1, 62, 3),
        (Schedule(epochs=2.0, warmup_steps=8, is_divided=True), 4, 62, 2),
    ],
)
def test_schedules_are_resolved_in_steps_of_a_run(schedule, num_devices, steps, warmup_steps):
    resolved = schedule.resolve(num_examples=1000, batch_size=8, num_devices=num_devices)
    assert (resolved.steps, resolved.warmup_steps) == (steps, warmup_steps)
    kept = ("epochs", "is_divided", "optimizer", "poly_power", "start_warmup_step")
    assert [getattr(resolved, name) for name in kept] == [getattr(schedule, name) for name in kept]


@pytest.fixture
def task():
    """A task of two texts."""
    settings = toy_task.Settings(max_seq_length=8)
    return toy_task.LongerTextTask(settings, tiny_config(), None, Splits())


def test_an_example_with_one_record_is_predicted_by_its_outputs(task):
    outputs = [
        RecordOutput(number, {"logits": np.array([number, 1.5], np.float32), "best": np.int64(0)})
        for number in (2, 0, 1)
    ]
    assert task.predictions(["a", "b", "c"], outputs) == [
        {"logits": [float(number), 1.5], "best": 0} for number in range(3)
    ]


def test_a_plain_task_keeps_no_artifacts(task):
    assert artifacts_of(task) == {}


def test_an_encoder_reads_three_fields(task):
    fields = input_fields(task)
    assert tuple(fields) == MODEL_INPUTS
    assert set(fields.values()) == {tf.io.FixedLenFeature((8,), tf.int64)}

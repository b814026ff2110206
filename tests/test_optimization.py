"""AdamW, LAMB and the schedule against the golden numbers and the formulas of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import optimization
from golden import build, golden_numbers, train_on_golden_rows
from heads import HEADS

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("head", HEADS)
def test_twelve_steps_are_golden(graph, head, optimizer):
    expected = golden_numbers(f"training_{head}_{optimizer}")
    loss = build(head)["loss"]
    variables = tf.trainable_variables()
    norm = tf.global_norm(tf.gradients(loss, variables))
    train_op = optimization.create_optimizer(
        loss, 1e-3, num_train_steps=10, num_warmup_steps=3, use_tpu=False, optimizer=optimizer
    )
    learning_rate = graph.get_tensor_by_name("learning_rate:0")
    metrics = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(12):
            metrics.append(session.run([loss, norm, learning_rate]))
            session.run(train_op)
        values = session.run({variable.op.name: variable for variable in variables})
        step = session.run(tf.train.get_global_step())
    losses, norms, rates = np.transpose(metrics)
    assert step == 12
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-4)
    np.testing.assert_allclose(norms, expected["gradient_norms"], rtol=1e-4)
    np.testing.assert_allclose(rates, expected["learning_rates"], rtol=1e-5, atol=1e-12)
    assert set(values) <= set(expected)
    for name, value in values.items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-4 * scale, err_msg=name)


def test_the_update_uses_the_rate_of_its_step(graph):
    """Learning rate fetched with the train op, in many runs to detect a race."""
    w = tf.get_variable("w", initializer=tf.constant([1.0, -2.0]))
    loss = tf.reduce_sum(tf.square(w))
    train_op = optimization.create_optimizer(loss, 1.0, 100, 50, use_tpu=False)
    learning_rate = graph.get_tensor_by_name("learning_rate:0")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        rates = [session.run([learning_rate, train_op])[0] for _ in range(50)]
    np.testing.assert_allclose(rates, np.arange(50) / 50, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),  # before warm-up
        (10, 0.0),
        (15, 0.5),
        (19, 0.9),
        (20, (1 - 20 / 100) ** 2),
        (60, (1 - 60 / 100) ** 2),
        (100, 0.0),
        (200, 0.0),
    ],
)
def test_schedule(graph, step, expected):
    rate = optimization.learning_rate_schedule(
        tf.constant(step, tf.int64),
        init_lr=1.0,
        num_train_steps=100,
        num_warmup_steps=10,
        poly_power=2.0,
        start_warmup_step=10,
    )
    with tf.Session() as session:
        assert session.run(rate) == pytest.approx(expected, abs=1e-6)


def test_schedule_without_warmup(graph):
    rate = optimization.learning_rate_schedule(tf.constant(0), 0.5, 10, 0)
    with tf.Session() as session:
        assert session.run(rate) == 0.5


@pytest.mark.parametrize("optimizer_class", ["AdamWeightDecayOptimizer", "LAMBOptimizer"])
def test_optimizers_match_the_formulas(graph, optimizer_class):
    start = {"kernel": np.array([3.0, -4.0]), "bias": np.array([1.0, 1.0])}
    variables = {
        name: tf.get_variable(name, initializer=tf.constant(value, tf.float32))
        for name, value in start.items()
    }
    unused = tf.get_variable("unused", initializer=tf.constant([7.0]))
    gradients = {"kernel": tf.constant([0.3, -0.1]), "bias": tf.constant([0.2, 0.5])}
    optimizer = getattr(optimization, optimizer_class)(
        learning_rate=0.1, weight_decay_rate=0.01, exclude_from_weight_decay=["bias"]
    )
    global_step = tf.train.get_or_create_global_step()
    update = optimizer.apply_gradients(
        [
            (gradients["kernel"], variables["kernel"]),
            (None, unused),
            (gradients["bias"], variables["bias"]),
        ],
        global_step,
    )
    assert {v.op.name for v in tf.global_variables()} == {
        "kernel",
        "kernel/adam_m",
        "kernel/adam_v",
        "bias",
        "bias/adam_m",
        "bias/adam_v",
        "unused",
        "global_step",
    }
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        gradient_values = session.run(gradients)
        for _ in range(3):
            session.run(update)
        values = session.run(variables)
        assert session.run(global_step) == 0
        assert session.run(unused) == [7.0]

    for name, w in start.items():
        mean = square = np.zeros(2)
        for _ in range(3):
            decay = 0.01 if name == "kernel" else 0.0
            mean = 0.9 * mean + 0.1 * gradient_values[name]
            square = 0.999 * square + 0.001 * gradient_values[name] ** 2
            update_value = mean / (np.sqrt(square) + 1e-6) + decay * w
            ratio = 1.0
            if optimizer_class == "LAMBOptimizer" and name == "kernel":
                ratio = np.linalg.norm(w) / np.linalg.norm(update_value)
            w = w - 0.1 * ratio * update_value
        np.testing.assert_allclose(values[name], w, rtol=1e-5)


@pytest.mark.parametrize("zero", ["weights", "update"])
def test_lamb_takes_plain_steps_where_a_norm_is_zero(graph, zero):
    w = tf.get_variable("w", initializer=tf.constant([0.0 if zero == "weights" else 2.0]))
    gradient = tf.constant([1.0 if zero == "weights" else 0.0])
    optimizer = optimization.LAMBOptimizer(learning_rate=0.5)
    update = optimizer.apply_gradients([(gradient, w)])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update)
        step = 0.1 / (np.sqrt(0.001) + 1e-6)
        expected = -0.5 * step if zero == "weights" else 2.0
        np.testing.assert_allclose(session.run(w), [expected], rtol=1e-5)


def test_lamb_can_adapt_variables_without_decay(graph):
    w = tf.get_variable("bias", initializer=tf.constant([2.0]))
    optimizer = optimization.LAMBOptimizer(
        learning_rate=0.5, exclude_from_weight_decay=["bias"], exclude_from_layer_adaptation=[]
    )
    update = optimizer.apply_gradients([(tf.constant([1.0]), w)])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update)
        np.testing.assert_allclose(session.run(w), [2.0 - 0.5 * 2.0], rtol=1e-5)


def test_unknown_optimizers_and_tpus_are_refused(graph):
    loss = tf.square(tf.get_variable("w", []))
    with pytest.raises(ValueError, match="'sgd' is not one of adamw, lamb"):
        optimization.create_optimizer(loss, 1e-3, 10, 0, False, optimizer="sgd")
    with pytest.raises(ValueError, match="TPUs are not supported"):
        optimization.create_optimizer(loss, 1e-3, 10, 0, use_tpu=True)


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("head", HEADS)
def test_accumulated_gradients_equal_one_batch(head, optimizer):
    """Four micro-batches of one row, with different numbers of predictions, against one batch.

    The test takes few steps, as the gradient of the keys' bias is rounding noise, which Adam scales
    up to full size.
    """
    values = [train_on_golden_rows(head, optimizer, range(4), count) for count in (1, 4)]
    assert values[0]["global_step"] == 3
    assert set(values[0]) == set(values[1])
    for name, value in values[0].items():
        np.testing.assert_allclose(values[1][name], value, rtol=0, atol=1e-6, err_msg=name)

"""Elementwise calculations as one op: where they are compiled, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from albert_tf.devices import fusion
from golden import tiny_config


def compiled_calls(graph):
    return [op.name for op in graph.get_operations() if op.type.endswith("PartitionedCall")]


def test_training_compiles_the_activation_and_its_gradient(graph):
    model = modeling.AlbertModel(tiny_config(), True, tf.zeros([1, 8], tf.int32))
    layers = tiny_config().num_hidden_layers
    assert len(compiled_calls(graph)) == layers
    tf.gradients(model.get_sequence_output(), tf.trainable_variables())
    # The gradients of the activation and of the softmax.
    assert len(compiled_calls(graph)) == 3 * layers


def test_prediction_compiles_nothing(graph):
    modeling.AlbertModel(tiny_config(), False, tf.zeros([1, 8], tf.int32))
    assert compiled_calls(graph) == []


def test_a_compiled_function_gives_the_same_numbers_in_each_graph():
    @fusion.fused
    def scaled_sum(x, y):
        return 3 * x + y

    x, y = np.arange(4, dtype=np.float32), np.float32(0.5)
    for fuses in (True, False, True):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            if fuses:
                fusion.enable_on_cpu()
            output = scaled_sum(tf.constant(x), tf.constant(y))
            assert len(compiled_calls(graph)) == fuses
            np.testing.assert_array_equal(session.run(output), [0.5, 3.5, 6.5, 9.5])


def test_attention_gradient_is_that_of_autodiff(graph):
    random = np.random.RandomState(0)
    query, key, value, upstream = (
        tf.constant(random.standard_normal([2, 3, 5, 4]), tf.float64) for _ in range(4)
    )
    mask_scores = tf.constant([[[[0.0, 0, 0, 0, -10000]]], [[[0.0] * 5]]], tf.float64)
    ours = modeling._attend(query, key, value, mask_scores, 0.0)
    plain = tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + mask_scores), value)
    inputs = [query, key, value]
    gradients = zip(tf.gradients(ours, inputs, upstream), tf.gradients(plain, inputs, upstream))
    with tf.Session() as session:
        pairs = session.run([(ours, plain), *gradients])
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)

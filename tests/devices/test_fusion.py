"""Compilation of elementwise functions: where it is used, and equal results."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
from albert_tf.devices import fusion
from albert_tf.devices.cpu import Cpu
from albert_tf.devices.device import PORTABLE, building_for
from albert_tf.nn import attention
from golden import tiny_config

pytestmark = pytest.mark.tensorflow


def compiled_calls(graph):
    return [op.name for op in graph.get_operations() if op.type.endswith("PartitionedCall")]


def test_training_on_a_cpu_compiles_the_activation_and_its_gradient(graph):
    with building_for(Cpu()):
        model = modeling.AlbertModel(tiny_config(), True, tf.zeros([1, 8], tf.int32))
        layers = tiny_config().num_hidden_layers
        assert len(compiled_calls(graph)) == layers
        tf.gradients(model.get_sequence_output(), tf.trainable_variables())
    # Activation, its gradient, and the gradient of the softmax.
    assert len(compiled_calls(graph)) == 3 * layers


def test_prediction_compiles_nothing(graph):
    with building_for(Cpu().for_inference()):
        modeling.AlbertModel(tiny_config(), False, tf.zeros([1, 8], tf.int32))
    assert compiled_calls(graph) == []


def test_prediction_keeps_nothing_for_gradients(graph):
    """TensorFlow fuses GELU with its dense layer only if nothing else reads what is in between."""
    with building_for(Cpu().for_inference()):
        modeling.AlbertModel(tiny_config(), False, tf.zeros([1, 8], tf.int32))
    assert not [op.name for op in graph.get_operations() if op.type == "IdentityN"]


def test_a_model_in_a_notebook_has_no_effect_outside_its_graph(graph, monkeypatch):
    """Without a script, no session, no redirected stderr and no compilation."""
    before = dict(os.environ)
    with monkeypatch.context() as patches:
        patches.setattr(tf, "Session", None)
        patches.setattr("os.dup2", None)
        model = modeling.AlbertModel(tiny_config(), True, tf.zeros([1, 8], tf.int32))
        tf.gradients(model.get_sequence_output(), tf.trainable_variables())
    assert compiled_calls(graph) == []
    assert dict(os.environ) == before


def test_a_compiled_function_gives_the_same_numbers():
    @fusion.fused
    def scaled_sum(x, y):
        return 3 * x + y

    x, y = np.arange(4, dtype=np.float32), np.float32(0.5)
    for device, fuses in ((Cpu(), True), (PORTABLE, False), (Cpu(), True)):
        with tf.Graph().as_default() as graph, tf.Session() as session, building_for(device):
            output = scaled_sum(tf.constant(x), tf.constant(y))
            assert len(compiled_calls(graph)) == fuses
            np.testing.assert_array_equal(session.run(output), [0.5, 3.5, 6.5, 9.5])


@pytest.mark.parametrize("device", [PORTABLE, Cpu()])
def test_attention_gradient_is_that_of_autodiff(graph, device):
    random = np.random.RandomState(0)
    query, key, value, upstream = (
        tf.constant(random.standard_normal([2, 3, 5, 4]), tf.float64) for _ in range(4)
    )
    mask_scores = tf.constant([[[[0.0, 0, 0.5, 0, -10000]]], [[[0.0] * 5]]], tf.float64)
    with building_for(device):
        ours, _ = attention.attend(query, key, value, mask_scores, 0.0)
        inputs = [query, key, value, mask_scores]
        our_gradients = tf.gradients(ours, inputs, upstream)
    plain = tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + mask_scores), value)
    gradients = zip(our_gradients, tf.gradients(plain, inputs, upstream))
    with tf.Session() as session:
        pairs = session.run([(ours, plain), *gradients])
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)

"""Layer normalization against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from custom_layer_norm import custom_layer_norm

pytestmark = pytest.mark.tensorflow

X = np.random.RandomState(0).randn(2, 3, 4) * 5 + 2


def normalize(x, axes, epsilon=1e-12):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon)


def run(*tensors):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(tensors)


@pytest.mark.parametrize(
    ("begin_norm_axis", "axes"), [(1, (1, 2)), (-1, (2,)), (2, (2,)), (0, (0, 1, 2))]
)
def test_normalizes_the_axes(graph, begin_norm_axis, axes):
    (value,) = run(custom_layer_norm(tf.constant(X), begin_norm_axis=begin_norm_axis))
    np.testing.assert_allclose(value, normalize(X, axes), atol=1e-9)


def test_gamma_and_beta(graph):
    with tf.variable_scope("block"):
        outputs = custom_layer_norm(tf.constant(X), begin_norm_axis=-1)
    beta, gamma = tf.trainable_variables()
    assert (beta.op.name, gamma.op.name) == ("block/LayerNorm/beta", "block/LayerNorm/gamma")
    assert beta.shape.as_list() == gamma.shape.as_list() == [4]
    shifted = tf.group(beta.assign([1.0, 2, 3, 4]), gamma.assign([2.0, 2, 0, 1]))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(shifted)
        value = session.run(outputs)
    expected = normalize(X, (2,)) * [2, 2, 0, 1] + [1, 2, 3, 4]
    np.testing.assert_allclose(value, expected, atol=1e-9)


def test_params_axis_and_absent_params(graph):
    custom_layer_norm(tf.constant(X), begin_params_axis=1, center=False, scope="a")
    custom_layer_norm(tf.constant(X), scale=False, trainable=False, scope="b")
    variables = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    assert variables == {"a/gamma": [3, 4], "b/beta": [4]}
    assert [v.op.name for v in tf.trainable_variables()] == ["a/gamma"]


def test_reuse_collections_and_activation(graph):
    first = custom_layer_norm(
        tf.constant(X),
        scope="norm",
        activation_fn=tf.nn.relu,
        variables_collections=["mine", tf.GraphKeys.GLOBAL_VARIABLES],
        outputs_collections=["outputs"],
    )
    second = custom_layer_norm(tf.constant(X), scope="norm", reuse=True)
    assert len(tf.global_variables()) == len(tf.get_collection("mine")) == 2
    assert tf.get_collection("outputs") == [first]
    one, other = run(first, second)
    np.testing.assert_array_equal(one, np.maximum(other, 0))


@pytest.mark.parametrize("begin_norm_axis", [-1, 1])
def test_gradients_match_autodiff(graph, begin_norm_axis):
    x = tf.constant(X)
    upstream = tf.constant(np.random.RandomState(1).randn(*X.shape))
    outputs = custom_layer_norm(x, begin_norm_axis=begin_norm_axis)
    beta, gamma = tf.trainable_variables()
    axes = list(range(begin_norm_axis % 3, 3))
    mean, variance = tf.nn.moments(x, axes, keep_dims=True)
    plain = (x - mean) / tf.sqrt(variance + 1e-12) * gamma + beta
    ours = tf.gradients(outputs, [x, gamma, beta], grad_ys=upstream)
    derived = tf.gradients(plain, [x, gamma, beta], grad_ys=upstream)
    for value, expected in zip(run(*ours), run(*derived)):
        np.testing.assert_allclose(value, expected, atol=1e-9)


def test_float16_uses_a_larger_epsilon(graph):
    x = np.array([[1.0, 1.001, 0.999, 1.0]], np.float16)
    outputs = custom_layer_norm(tf.constant(x), begin_norm_axis=-1)
    assert outputs.dtype == tf.float16
    (value,) = run(outputs)
    np.testing.assert_allclose(value, normalize(x.astype(np.float64), (1,), 1e-3), atol=2e-3)


def test_unknown_shapes_are_refused(graph):
    with pytest.raises(ValueError, match="known rank"):
        custom_layer_norm(tf.placeholder(tf.float32))
    with pytest.raises(ValueError, match="not static"):
        custom_layer_norm(tf.placeholder(tf.float32, [2, None]))
    with pytest.raises(ValueError, match="out of range"):
        custom_layer_norm(tf.zeros([2, 3]), begin_norm_axis=2)

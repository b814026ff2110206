"""Layer normalization over the trailing axes of a tensor (Ba et al. 2016, section 3)."""

from __future__ import annotations

from typing import Callable

import tensorflow.compat.v1 as tf

from albert_tf.devices import device
from albert_tf.nn import gradients

_EPSILON = 1e-12
_EPSILON_FLOAT16 = 1e-3  # 1e-12 is zero in float16


def custom_layer_norm(
    inputs: tf.Tensor,
    center: bool = True,
    scale: bool = True,
    activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = None,
    reuse: bool | None = None,
    variables_collections: list[str] | None = None,
    outputs_collections: list[str] | None = None,
    trainable: bool = True,
    begin_norm_axis: int = 1,
    begin_params_axis: int = -1,
    scope: str | None = None,
) -> tf.Tensor:
    """Normalize `inputs` to mean 0 and variance 1 over its trailing axes, then scale and shift.

    The arguments match `tf.contrib.layers.layer_norm` of TF1. If the normalized axes are also the
    axes of `beta` and `gamma`, a device may use its native op.

    Args:
      inputs: float tensor of any rank, with static axes from `begin_params_axis` on.
      center: whether to add the variable `beta`.
      scale: whether to multiply by the variable `gamma`.
      activation_fn: function applied to the result, if given.
      reuse: whether to reuse the variables of an earlier call in the same scope.
      variables_collections: graph collections for the variables.
      outputs_collections: graph collections for the result.
      trainable: whether the variables are trainable.
      begin_norm_axis: first axis to normalize.
      begin_params_axis: first axis of `beta` and `gamma`.
      scope: variable scope, "LayerNorm" by default.

    Returns:
      Tensor with the shape and dtype of `inputs`.

    Raises:
      ValueError: if the rank of `inputs` or a required static axis is unknown, or if an axis
        argument is out of range.
    """
    norm_axes, params_shape = _axes(inputs, begin_norm_axis, begin_params_axis)

    def variable(name: str, initializer: tf.Initializer) -> tf.Variable:
        return tf.get_variable(
            name,
            shape=params_shape,
            dtype=inputs.dtype.base_dtype,
            initializer=initializer,
            collections=variables_collections,
            trainable=trainable,
        )

    with tf.variable_scope(scope, "LayerNorm", [inputs], reuse=reuse):
        epsilon = _EPSILON_FLOAT16 if inputs.dtype.base_dtype == tf.float16 else _EPSILON
        # beta before gamma, the order of the variables in published checkpoints.
        beta = variable("beta", tf.zeros_initializer()) if center else None
        gamma = variable("gamma", tf.ones_initializer()) if scale else None
        if center and scale and len(norm_axes) == len(params_shape):
            normalize = device.current().layer_norm or _layer_norm
            outputs = normalize(inputs, beta, gamma, norm_axes, epsilon)
        else:
            outputs = _standardize(inputs, norm_axes, epsilon)
            outputs = outputs * gamma if scale else outputs
            outputs = outputs + beta if center else outputs
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        if outputs_collections:
            tf.add_to_collections(outputs_collections, outputs)
        return outputs


def _axes(
    inputs: tf.Tensor, begin_norm_axis: int, begin_params_axis: int
) -> tuple[list[int], tf.TensorShape]:
    """Axes to normalize, and the shape of the variables."""
    rank = inputs.shape.ndims
    if rank is None:
        raise ValueError(f"{inputs.name}: layer normalization needs an input of known rank")
    if not (-rank <= begin_norm_axis < rank and -rank <= begin_params_axis < rank):
        raise ValueError(
            f"{inputs.name} has rank {rank}: begin_norm_axis {begin_norm_axis} or "
            f"begin_params_axis {begin_params_axis} is out of range"
        )
    params_shape = inputs.shape[begin_params_axis % rank :]
    if not params_shape.is_fully_defined():
        raise ValueError(f"{inputs.name}: the shape {params_shape} of beta and gamma is not static")
    return list(range(begin_norm_axis % rank, rank)), params_shape


def _layer_norm(
    inputs: tf.Tensor, beta: tf.Variable, gamma: tf.Variable, axes: list[int], epsilon: float
) -> tf.Tensor:
    """Layer normalization whose axes are also those of `beta` and `gamma`.

    With shapes that are not static, op-by-op differentiation would add ops for broadcasting.
    """
    gamma = tf.convert_to_tensor(gamma)
    standardized, inverse_deviation, axes = _standardized(inputs, axes, epsilon)
    return gradients.override(
        _layer_norm_gradient,
        standardized * gamma + beta,
        inputs,
        axes,
        standardized,
        inverse_deviation,
        gamma,
        beta,
    )


@gradients.ClosedForm
def _layer_norm_gradient(
    upstream: tf.Tensor,
    inputs: tf.Tensor,
    axes: tf.Tensor,
    standardized: tf.Tensor,
    inverse_deviation: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
) -> tuple[tf.Tensor | None, ...]:
    gradient, *_ = _standardize_gradient(
        upstream * gamma, inputs, axes, standardized, inverse_deviation
    )
    batch_axes = list(range(inputs.shape.ndims - gamma.shape.ndims))
    gamma_gradient = tf.reduce_sum(upstream * standardized, batch_axes)
    return gradient, None, None, None, gamma_gradient, tf.reduce_sum(upstream, batch_axes)


def _standardize(inputs: tf.Tensor, axes: list[int], epsilon: float) -> tf.Tensor:
    """Compute (x - mean) / sqrt(variance + epsilon) over some axes.

    The closed-form gradient takes half as many passes over memory as op-by-op differentiation.
    """
    standardized, inverse_deviation, axes = _standardized(inputs, axes, epsilon)
    return gradients.override(
        _standardize_gradient, standardized, inputs, axes, standardized, inverse_deviation
    )


def _standardized(
    inputs: tf.Tensor, axes: list[int], epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Standardized inputs, 1 / sqrt(variance + epsilon), and the axes as a tensor."""
    axes = tf.constant(axes)
    centered = inputs - _mean(inputs, axes)
    inverse_deviation = tf.rsqrt(_mean(tf.square(centered), axes) + epsilon)
    standardized = centered * inverse_deviation
    return standardized, inverse_deviation, axes


@gradients.ClosedForm
def _standardize_gradient(
    upstream: tf.Tensor,
    inputs: tf.Tensor,
    axes: tf.Tensor,
    standardized: tf.Tensor,
    inverse_deviation: tf.Tensor,
) -> tuple[tf.Tensor | None, ...]:
    projection = standardized * _mean(upstream * standardized, axes)
    return inverse_deviation * (upstream - _mean(upstream, axes) - projection), None, None, None


def _mean(x: tf.Tensor, axes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axes, keepdims=True)

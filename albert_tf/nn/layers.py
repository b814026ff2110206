"""Dense layers and shapes, on tensors of any rank."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from albert_tf.nn.config import AlbertConfig


class Dense(NamedTuple):
    """Weights of a dense layer, read once for all places in the graph that apply it.

    Attributes:
      kernel: float tensor [input width, output width].
      bias: float tensor [output width].
    """

    kernel: tf.Tensor
    bias: tf.Tensor

    def __call__(self, inputs: tf.Tensor, use_einsum: bool = False) -> tf.Tensor:
        """Apply the layer, without activation, to the last axis.

        Args:
          inputs: float tensor [..., input width].
          use_einsum: whether to use `tf.einsum` instead of `tf.matmul`.

        Returns:
          Float tensor [..., output width].
        """
        if use_einsum:
            product = tf.einsum("...i,io->...o", inputs, self.kernel)
        else:
            product = einsum_via_matmul(inputs, self.kernel, num_inner_dims=1)
        return tf.nn.bias_add(product, self.bias)


def dense_weights(input_width: int, output_width: int, name: str, config: AlbertConfig) -> Dense:
    """Get the variables of a dense layer, and read them.

    Args:
      input_width: width of the inputs.
      output_width: number of outputs.
      name: variable scope of `kernel` and `bias`.
      config: config with the `initializer_range` of the kernel.
    """
    with tf.variable_scope(name):
        kernel = tf.get_variable(
            "kernel",
            [input_width, output_width],
            initializer=create_initializer(config.initializer_range),
        )
        bias = tf.get_variable("bias", [output_width], initializer=tf.zeros_initializer())
        return Dense(tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))


def dense_layer(
    inputs: tf.Tensor, output_width: int, name: str, config: AlbertConfig, use_einsum: bool = False
) -> tf.Tensor:
    """Apply a dense layer, without activation, to the last axis.

    Args:
      inputs: float tensor [..., input width].
      output_width: number of outputs.
      name: variable scope of `kernel` and `bias`.
      config: config with the `initializer_range` of the kernel.
      use_einsum: whether to use `tf.einsum` instead of `tf.matmul`.

    Returns:
      Float tensor [..., output_width].
    """
    return dense_weights(inputs.shape[-1], output_width, name, config)(inputs, use_einsum)


def einsum_via_matmul(input_tensor: tf.Tensor, w: tf.Tensor, num_inner_dims: int) -> tf.Tensor:
    """Contract the last axes of one tensor with the first axes of another by one `tf.matmul`.

    Args:
      input_tensor: tensor [outer..., inner...] with `num_inner_dims` inner axes.
      w: tensor [inner..., result...] with the same inner axes, and a static shape.
      num_inner_dims: number of axes to contract.

    Returns:
      Tensor [outer..., result...].
    """
    inner, result = w.shape.as_list()[:num_inner_dims], w.shape.as_list()[num_inner_dims:]
    matrix, w_matrix = input_tensor, w
    if input_tensor.shape.ndims != 2 or num_inner_dims != 1:
        matrix = tf.reshape(input_tensor, [-1, math.prod(inner)])
    if w.shape.ndims != 2 or num_inner_dims != 1:
        w_matrix = tf.reshape(w, [math.prod(inner), math.prod(result)])
    product = tf.matmul(matrix, w_matrix)
    if input_tensor.shape.ndims - num_inner_dims == 1 and len(result) == 1:
        return product
    outer = get_shape_list(input_tensor)[:-num_inner_dims]
    return tf.reshape(product, outer + result)


def create_initializer(initializer_range: float = 0.02) -> tf.Initializer:
    """Truncated normal initializer.

    Args:
      initializer_range: standard deviation, before truncation at two standard deviations.
    """
    return tf.truncated_normal_initializer(stddev=initializer_range)


def get_shape_list(
    tensor: tf.Tensor,
    expected_rank: int | list[int] | None = None,
    name: str | None = None,
) -> list[int | tf.Tensor]:
    """Shape of a tensor, preferring static sizes.

    Args:
      tensor: any tensor of known rank.
      expected_rank: allowed rank or ranks; any by default.
      name: name of the tensor in errors; its own name by default.

    Returns:
      For each axis an int if its size is static, otherwise a scalar int32 tensor.

    Raises:
      ValueError: if the rank is not among the expected ones.
    """
    if expected_rank is not None:
        assert_rank(tensor, expected_rank, name)
    shape = tensor.shape.as_list()
    if None in shape:
        dynamic_shape = tf.shape(tensor)
        shape = [dynamic_shape[i] if size is None else size for i, size in enumerate(shape)]
    return shape


def get_size(tensor: tf.Tensor, axis: int) -> int | tf.Tensor:
    """Size of an axis of a tensor of known rank: int if static, otherwise scalar int32 tensor."""
    size = tensor.shape.as_list()[axis]
    return tf.shape(tensor)[axis] if size is None else size


def assert_rank(tensor: tf.Tensor, expected_rank: int | list[int], name: str | None = None) -> None:
    """Check the rank of a tensor.

    Args:
      tensor: any tensor.
      expected_rank: allowed rank or ranks.
      name: name of the tensor in errors; its own name by default.

    Raises:
      ValueError: if the rank is not among the expected ones.
    """
    expected = [expected_rank] if isinstance(expected_rank, int) else list(expected_rank)
    rank = tensor.shape.ndims
    if rank not in expected:
        allowed = " or ".join(str(rank) for rank in expected)
        raise ValueError(
            f"{name or tensor.name} has rank {rank} (shape {tensor.shape}), not {allowed}"
        )

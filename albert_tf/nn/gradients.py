"""Closed-form gradients, in place of TensorFlow's op-by-op derivation."""

from __future__ import annotations

import itertools
from typing import Callable, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.devices import device

# From the gradients of the outputs and the inputs to one gradient, or None, per input.
GradientFunction = Callable[..., "Sequence[tf.Tensor | None]"]


class ClosedForm:
    """Decorator that makes a gradient function usable with `override`.

    Example:

      @ClosedForm
      def square_gradient(upstream, x):
          return [2 * x * upstream]

      def square(x):
          return override(square_gradient, x * x, x)
    """

    def __init__(self, function: GradientFunction, num_outputs: int = 1):
        """Register the function with TensorFlow.

        TensorFlow never replaces a registered gradient, so each registration gets a new name. After
        a module is reloaded, graphs use its new functions.

        Args:
          function: gradient function. Its first arguments are the gradients of the outputs.
          num_outputs: number of outputs.
        """
        self.function = function
        self.num_outputs = num_outputs
        for number in itertools.count():
            self.name = f"{function.__module__}.{function.__qualname__}/{number}"
            try:
                tf.RegisterGradient(self.name)(self._of_identity)
                return
            except KeyError:
                continue

    def __call__(self, *tensors: tf.Tensor) -> Sequence[tf.Tensor | None]:
        return self.function(*tensors)

    def _of_identity(self, op: tf.Operation, *upstreams: tf.Tensor) -> list[tf.Tensor | None]:
        number = self.num_outputs
        return [None] * number + list(self.function(*upstreams[:number], *op.inputs[number:]))


def override(gradient: ClosedForm, output: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
    """Replace the gradient of a computation by a closed-form gradient.

    Unlike `tf.custom_gradient`, this leaves no unused ops in the graph. On devices that fuse ops
    themselves, the computation keeps the gradient derived by TensorFlow.

    Args:
      gradient: closed-form gradient.
      output: result of the computation.
      *inputs: inputs of the gradient function: all tensors through which gradients flow, and
        intermediate results.

    Returns:
      Tensor with the value of `output`.
    """
    return override_all(gradient, [output], *inputs)[0]


def override_all(
    gradient: ClosedForm, outputs: Sequence[tf.Tensor], *inputs: tf.Tensor
) -> list[tf.Tensor]:
    """Replace the gradients of a computation with several outputs; see `override`."""
    if not device.current().closed_form_gradients:
        return list(outputs)
    with tf.get_default_graph().gradient_override_map({"IdentityN": gradient.name}):
        return tf.identity_n([*outputs, *inputs])[: len(outputs)]

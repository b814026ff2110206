"""Closed-form gradients, in place of TensorFlow's op-by-op derivation."""

from __future__ import annotations

import itertools
from typing import Callable, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.devices import device

# From the gradient of the output and the inputs to one gradient, or None, per input.
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

    def __init__(self, function: GradientFunction):
        """Register the function with TensorFlow.

        TensorFlow never replaces a registered gradient, so each registration gets a new name. After
        a module is reloaded, graphs use its new functions.
        """
        self.function = function
        for number in itertools.count():
            self.name = f"{function.__module__}.{function.__qualname__}/{number}"
            try:
                tf.RegisterGradient(self.name)(self._of_identity)
                return
            except KeyError:
                continue

    def __call__(self, *tensors):
        return self.function(*tensors)

    def _of_identity(self, op, upstream, *_):
        return [None, *self.function(upstream, *op.inputs[1:])]


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
    if not device.current().closed_form_gradients:
        return output
    with tf.get_default_graph().gradient_override_map({"IdentityN": gradient.name}):
        return tf.identity_n([output, *inputs])[0]

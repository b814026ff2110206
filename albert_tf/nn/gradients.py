"""Gradients in closed form, in place of those that TensorFlow derives op by op."""

from __future__ import annotations

import itertools
from typing import Callable, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.devices import device

# Takes the gradient of the output and the inputs; returns a gradient, or None, for each input.
GradientFunction = Callable[..., "Sequence[tf.Tensor | None]"]


class ClosedForm:
    """A gradient that `override` can give to a computation; a decorator for its function.

    Example:

      @ClosedForm
      def square_gradient(upstream, x):
          return [2 * x * upstream]

      def square(x):
          return override(square_gradient, x * x, x)
    """

    def __init__(self, function: GradientFunction):
        """Register the function with TensorFlow.

        TensorFlow keeps the first gradient of a name for ever, so each registration gets a name of
        its own: after a module has been reloaded, graphs use its new functions.
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
    """The output of a computation, with a gradient in closed form in place of its own.

    Unlike `tf.custom_gradient` this leaves no op in the graph that nothing reads. Graphs for
    devices that fuse ops themselves keep the gradient that TensorFlow derives.

    Args:
      gradient: the gradient.
      output: result of the computation.
      *inputs: tensors that the gradient is computed from: all through which gradients flow, and
        intermediate results.

    Returns:
      A tensor with the value of `output`.
    """
    if not device.current().closed_form_gradients:
        return output
    with tf.get_default_graph().gradient_override_map({"IdentityN": gradient.name}):
        return tf.identity_n([output, *inputs])[0]

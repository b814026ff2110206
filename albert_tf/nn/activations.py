"""Activation functions by name, and GELU."""

from __future__ import annotations

import math
from typing import Callable

import tensorflow.compat.v1 as tf

from albert_tf.devices import device
from albert_tf.devices.fusion import fused
from albert_tf.nn import gradients

Activation = Callable[[tf.Tensor], tf.Tensor]

_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def gelu(x: tf.Tensor) -> tf.Tensor:
    """Gaussian error linear unit, tanh approximation (Hendrycks & Gimpel 2016, section 2).

    Args:
      x: float tensor of any shape.

    Returns:
      0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), with the shape and dtype of `x`.
    """
    native = device.current().gelu
    return native(x) if native else gradients.override(_gelu_gradient, _gelu(x), x)


@fused
def _gelu(x: tf.Tensor) -> tf.Tensor:
    # Products take a tenth of the time of `tf.pow`. In this form, TensorFlow's remapper recognizes
    # GELU after a dense layer, and has oneDNN compute both at once.
    return (0.5 * x) * (1 + tf.tanh(_SCALE * (x + _CUBIC * (x * tf.square(x)))))


@gradients.ClosedForm
@fused
def _gelu_gradient(upstream: tf.Tensor, x: tf.Tensor) -> list[tf.Tensor]:
    square = tf.square(x)
    tanh = tf.tanh(x * (_SCALE + _SCALE * _CUBIC * square))
    argument_slope = _SCALE + 3 * _SCALE * _CUBIC * square
    return [upstream * (0.5 + 0.5 * tanh + 0.5 * x * (1 - tf.square(tanh)) * argument_slope)]


_FUNCTIONS: dict[str, Activation | None] = {
    "": None,
    "linear": None,
    "relu": tf.nn.relu,
    "gelu": gelu,
    "tanh": tf.tanh,
}


def get_activation(activation: str | Activation | None) -> Activation | None:
    """Look up an activation function by name.

    Args:
      activation: "gelu", "relu", "tanh" or "linear", in any case; None or "" for linear; or a
        function, which is returned unchanged.

    Returns:
      Function from tensor to tensor, or None for linear.

    Raises:
      ValueError: if the name is unknown.
    """
    if not isinstance(activation, str):
        return activation
    name = activation.lower()
    if name not in _FUNCTIONS:
        raise ValueError(f"hidden_act {activation!r} is not one of gelu, relu, tanh, linear")
    return _FUNCTIONS[name]

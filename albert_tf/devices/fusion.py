"""Elementwise functions in one pass over memory, compiled by XLA.

Op by op, TensorFlow writes every intermediate result to memory and reads it back. On a CPU, for the
longest elementwise functions of a training step, this takes longer than the arithmetic.
"""

from __future__ import annotations

import functools
from typing import Callable

import tensorflow.compat.v1 as tf

from albert_tf.devices import device
from albert_tf.io import native_log


def fused(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Decorate an elementwise function to become one compiled op on devices that support it.

    On other devices the function adds its ops to the graph as written. A compiled call has no
    gradient; `nn.gradients.override` gives it one.
    """

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> tf.Tensor:
        if device.current().compiles_elementwise:
            return compiled(function)(*tensors)
        return function(*tensors)

    return call


@functools.lru_cache(maxsize=None)
def compiled(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """The function as one op, compiled by XLA."""
    return tf.function(function, jit_compile=True, autograph=False)


@functools.lru_cache(maxsize=None)
def compile_first_in_silence() -> None:
    """Compile a trivial function with standard error silenced.

    From TensorFlow 2.13 on, XLA logs its first compilation at any log level. The function
    temporarily redirects standard error of the whole process, so call it only at the start of a
    script.
    """
    with tf.Graph().as_default(), tf.Session() as session, native_log.suppressed():
        fed = tf.placeholder(tf.float32, [1])  # a constant would be folded away
        session.run(compiled(tf.square)(fed), {fed: [1.0]})

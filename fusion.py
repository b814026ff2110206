"""Elementwise calculations in one pass over memory.

Op by op, TensorFlow writes every intermediate result of a calculation to memory and reads it again.
On a CPU this costs more time than the arithmetic, so XLA compiles the longest calculations of a
training step. Accelerators have their own ways to fuse, and prediction sees too many shapes: XLA
compiles each anew.
"""

from __future__ import annotations

import functools
import weakref
from typing import Callable

import tensorflow.compat.v1 as tf

import hpu

_fusing_graphs: weakref.WeakSet[tf.Graph] = weakref.WeakSet()


def enable_on_cpu() -> None:
    """Lets `fused` functions compile in the default graph, if its device is a CPU."""
    if _device_is_cpu():
        _fusing_graphs.add(tf.get_default_graph())


def fused(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A decorator for elementwise functions of tensors: one op where fusion is enabled.

    Elsewhere the function adds its ops to the graph as it is written. Calls that are compiled have
    no gradient; `gradients.override` gives one.
    """
    compiled = tf.function(function, jit_compile=True)

    @functools.wraps(function)
    def call(*tensors):
        fuses = tf.get_default_graph() in _fusing_graphs
        return (compiled if fuses else function)(*tensors)

    return call


@functools.lru_cache(maxsize=None)
def _device_is_cpu():
    return not hpu.is_hpu() and not tf.config.list_physical_devices("GPU")

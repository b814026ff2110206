"""Elementwise calculations in one pass over memory.

Op by op, TensorFlow writes every intermediate result of a calculation to memory and reads it again.
On a CPU this costs more time than the arithmetic, so XLA compiles the longest calculations of a
training step. Accelerators have their own ways to fuse, and prediction sees too many shapes: XLA
compiles each anew.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import weakref
from typing import Callable

import tensorflow.compat.v1 as tf

from albert_tf.devices import hpu

_fusing_graphs: weakref.WeakSet[tf.Graph] = weakref.WeakSet()


def enable_on_cpu() -> None:
    """Lets `fused` functions compile in the default graph, if its device is a CPU."""
    if not hpu.is_hpu() and not _has_gpu():
        _compile_first_in_silence()
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
def _has_gpu():
    return bool(tf.config.list_physical_devices("GPU"))


@functools.lru_cache(maxsize=None)
def _compile_first_in_silence():
    """Compiles a function of no use, so that XLA announces its first compilation to nobody.

    From TensorFlow 2.13 on it does so whatever the log level is.
    """
    with tf.Graph().as_default(), tf.Session() as session, _silent_stderr():
        fed = tf.placeholder(tf.float32, [1])  # the square of a constant would be folded away
        session.run(tf.function(tf.square, jit_compile=True)(fed), {fed: [1.0]})


@contextlib.contextmanager
def _silent_stderr():
    """Drops what native code writes to standard error."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)

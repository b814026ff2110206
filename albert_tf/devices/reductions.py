"""Collective ops in graphs: all-reduce of gradients, broadcast and comparison of weights.

A run of one process adds none of them to its graphs.
"""

from __future__ import annotations

import hashlib
import os
from typing import Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.devices import distributed


def average(tensors: Sequence[tf.Tensor], name: str, compression: str = "none") -> list[tf.Tensor]:
    """Average tensors over all processes (all-reduce), in a graph that all of them run.

    Args:
      tensors: dense float tensors, with the same shapes in all processes.
      name: prefix of the names of the all-reduces, unique in the graph.
      compression: "none", or "fp16" to send 16-bit floats.

    Returns:
      The means, in the order of `tensors` and with their shapes and dtypes.
    """
    horovod = distributed.horovod_module()
    if horovod is None:
        return list(tensors)
    return [
        horovod.allreduce(
            tensor,
            op=horovod.Average,
            compression=getattr(horovod.Compression, compression),
            name=f"{name}_{number}",
        )
        for number, tensor in enumerate(tensors)
    ]


def share_buffers(config: tf.ConfigProto) -> None:
    """Let Horovod's all-reduces share buffers through TensorFlow's scoped allocator.

    The environment variable TF_DISABLE_SCOPED_ALLOCATOR=true prevents this.

    Args:
      config: session configuration, changed in place.
    """
    is_disabled = os.environ.get("TF_DISABLE_SCOPED_ALLOCATOR", "").strip().lower()
    if is_disabled not in ("1", "true", "yes"):
        options = config.graph_options.rewrite_options
        options.scoped_allocator_optimization = options.ON
        options.scoped_allocator_opts.enable_op.append("HorovodAllreduce")


def training_hooks() -> list[tf.train.SessionRunHook]:
    """Session hooks that broadcast rank 0's variables, compare the weights and watch the steps."""
    if distributed.horovod_module() is None:
        return []
    return [_BroadcastHook(), _SameWeightsHook(), _WatchingHook()]


def broadcast(variables: Sequence[tf.Variable]) -> tf.Operation:
    """Build the op that sets variables to the values of rank 0 in all processes.

    Horovod's own hook does not exist where TensorFlow has no Estimators.
    """
    horovod = distributed.horovod_module()
    return tf.no_op() if horovod is None else horovod.broadcast_variables(variables, root_rank=0)


class _BroadcastHook(tf.train.SessionRunHook):
    """Session hook that sets all variables to the values of rank 0 when a session starts."""

    def begin(self) -> None:
        self._broadcast = broadcast(tf.global_variables())

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        with distributed.watching():
            session.run(self._broadcast)


class _WatchingHook(tf.train.SessionRunHook):
    """Session hook that ends this process if a session run waits too long for the others."""

    def before_run(self, run_context: tf.train.SessionRunContext) -> None:
        self._watching = distributed.watching()
        self._watching.__enter__()

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        self._watching.__exit__(None, None, None)


class _SameWeightsHook(tf.train.SessionRunHook):
    """Session hook that warns if the weights are not bit-identical in all processes."""

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._compare(session, "start from")

    def end(self, session: tf.Session) -> None:
        self._compare(session, "end with")

    def _compare(self, session: tf.Session, verb: str) -> None:
        sha256 = hashlib.sha256()
        for value in session.run(tf.trainable_variables()):
            sha256.update(value.tobytes())
        digests = distributed.gather(sha256.hexdigest())
        others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if not others:
            logging.info("all %d processes %s the same weights", distributed.size(), verb)
        elif distributed.is_chief():
            logging.warning(
                "rank %s: the weights differ from the weights of rank 0, which are the ones saved; "
                "check that all hosts have the same processors and software",
                ", ".join(others),
            )

"""Habana Gaudi cards (HPU): whether graphs are built for one, and the ops that only it has.

The ops come from the package `habana-tensorflow`, which adds the device "HPU" to TensorFlow. Once
it has been loaded, a session without a card ends the process, so it is loaded where there is one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import Iterator, Mapping, Sequence

import tensorflow as tf2
import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.errors import InputError

_CARD_FILE = Path("/sys/class/accel/accel0/device/device_type")  # the driver writes it
_LOGGED_STEPS = 10  # by the Synapse logger

_habana = None  # the package, once its ops are known to TensorFlow
_builds_portable_graphs = False


def load_habana_module(device: str) -> None:
    """Makes the HPU known to TensorFlow, if there is one; to be called before any graph is built.

    The package reads TF_BF16_CONVERSION while it is loaded.

    Args:
      device: value of --device: with "auto" it is enough to log why there is no HPU, with "cpu" and
        "gpu" none is looked for.

    Raises:
      InputError: with "hpu", if there is none, or the package cannot be used.
    """
    if device not in ("auto", "hpu"):
        return
    try:
        _load()
    except InputError as error:
        if device == "hpu":
            raise InputError(
                f"--device=hpu: {error}; mend that, or run with --device=cpu"
            ) from error
        logging.info("no HPU: %s", error)


def _load():
    if importlib.util.find_spec("habana_frameworks") is None:
        raise InputError(
            "habana-tensorflow is not installed (requirements-hpu.txt, on Python 3.10)"
        )
    if not card_type():
        raise InputError(
            f"habana-tensorflow is installed, but the driver shows no card: {_CARD_FILE} is not "
            "there"
        )
    try:
        register_ops()
    except Exception as error:  # whatever a package of another version fails with
        raise InputError(
            f"habana-tensorflow cannot be loaded: {error} (requirements-hpu.txt has the versions "
            "that work together)"
        ) from error


def card_type() -> str | None:
    """The type of the cards, such as "GAUDI2", or None if there is none."""
    with contextlib.suppress(OSError):
        return _CARD_FILE.read_text(encoding="utf-8").strip() or None
    return None


def register_ops() -> None:
    """Adds Habana's ops and their gradients to TensorFlow: from here on graphs are for an HPU.

    Without a card such graphs can be built and looked at, but a session ends the process.
    """
    global _habana
    import habana_frameworks.tensorflow as habana

    try:
        habana.load_habana_module()
    except AttributeError:
        # The last thing it does is to ask for the type of the card.
        if card_type():
            raise
    _habana = habana


def is_hpu() -> bool:
    """Whether the graph that is being built is for an HPU."""
    return _habana is not None and not _builds_portable_graphs


@contextlib.contextmanager
def portable_graphs() -> Iterator[None]:
    """Within this context graphs have no ops of the HPU, so that they can be served anywhere."""
    global _builds_portable_graphs
    before, _builds_portable_graphs = _builds_portable_graphs, True
    try:
        yield
    finally:
        _builds_portable_graphs = before


def layer_norm(
    x: tf.Tensor, beta: tf.Tensor, gamma: tf.Tensor, axes: Sequence[int], epsilon: float
) -> tf.Tensor:
    """Layer normalization as one op, `HabanaLayerNorm`, whose gradient is one op too.

    Args:
      x: float tensor.
      beta: what is added, of the shape of the normalized axes.
      gamma: what is multiplied by, of the same shape.
      axes: the normalized axes, the last of `x`.
      epsilon: added to the variance.

    Returns:
      A tensor with the shape and dtype of `x`.
    """
    normalized, _, _ = _habana.habana_ops.habana_layer_norm(
        x=x,
        beta=beta,
        gamma=gamma,
        axes=tf.make_tensor_proto(axes, tf.int32),
        epsilon=tf.make_tensor_proto(epsilon, tf.float32),
    )
    return normalized


def gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU in its tanh approximation as one op, `HabanaGelu`: the package replaces `tf.nn.gelu`."""
    return tf2.nn.gelu(x, approximate=True)


def check_static_shapes(tensors: Mapping[str, tf.Tensor]) -> None:
    """Checks, for a graph for an HPU, that no shape is left open.

    An HPU compiles its graph anew for each shape, which takes minutes.

    Args:
      tensors: the inputs of the model by name.

    Raises:
      ValueError: if the graph is for an HPU and a tensor has a dimension that is not static.
    """
    open_shapes = [
        f"{name} {tensor.shape}"
        for name, tensor in tensors.items()
        if not tensor.shape.is_fully_defined()
    ]
    if is_hpu() and open_shapes:
        raise ValueError(
            f"on an HPU all shapes must be static, but these are not: {', '.join(open_shapes)}"
        )


def profiling_hooks(start: int) -> list[tf.train.SessionRunHook]:
    """The hooks that HABANA_SYNAPSE_LOGGER=range asks for, in a graph for an HPU.

    Args:
      start: the first run of the session that is logged, counted from 0 in this process.
    """
    is_asked_for = os.environ.get("HABANA_SYNAPSE_LOGGER", "").lower() == "range"
    return [SynapseLoggerHook(start)] if is_asked_for and is_hpu() else []


class SynapseLoggerHook(tf.train.SessionRunHook):
    """Lets Habana's Synapse logger write a trace of ten runs of the session.

    Habana's hook of the same name has the methods of a session hook, but not their arguments.
    """

    def __init__(self, start: int):
        """Makes the hook.

        Args:
          start: the first run of the session that is logged.
        """
        from habana_frameworks.tensorflow import synapse_logger_helpers

        steps = list(range(start, start + _LOGGED_STEPS))
        self._habana_hook = synapse_logger_helpers.SynapseLoggerHook(steps)

    def before_run(self, run_context):
        self._habana_hook.before_run()

    def after_run(self, run_context, run_values):
        self._habana_hook.after_run()

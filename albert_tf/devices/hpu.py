"""Habana Gaudi cards (HPU) and their native ops.

The ops come from the package `habana-tensorflow`, which adds the device "HPU" to TensorFlow. Once
the package is loaded, a session without a card ends the process. It is therefore loaded only if the
driver shows a card.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

from albert_tf.devices.device import Device, MissingDeviceError

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

_CARD_FILE = Path("/sys/class/accel/accel0/device/device_type")  # written by the driver
_PROFILED_RUNS = 10  # session runs


class Hpu(Device):
    """Gaudi card. Its compiler recompiles the graph for each new shape and fuses ops itself."""

    name = "hpu"
    static_shapes = True
    length_step = 128
    closed_form_gradients = False
    has_bfloat16 = True
    has_stateless_random = False
    shares_reduction_buffers = True

    def __init__(self, habana: Any):
        """Create the device from the package `habana_frameworks.tensorflow`."""
        self._habana = habana

    @classmethod
    def find(cls, local_rank: int) -> Hpu:
        """Find the card of this host and load Habana's package.

        The package reads TF_BF16_CONVERSION when it is loaded.

        Raises:
          MissingDeviceError: if the host has no card, or the package is missing or cannot be
            loaded.
        """
        if importlib.util.find_spec("habana_frameworks") is None:
            raise MissingDeviceError(
                "habana-tensorflow is not installed (requirements-hpu.txt, on Python 3.10)",
                is_logged=bool(card_type()),
            )
        if not card_type():
            raise MissingDeviceError(
                f"habana-tensorflow is installed, but the driver shows no card: {_CARD_FILE} does "
                "not exist"
            )
        try:
            return cls(register_ops())
        except Exception as error:  # an incompatible version may raise anything
            raise MissingDeviceError(
                f"habana-tensorflow cannot be loaded: {error} (requirements-hpu.txt lists "
                "compatible versions)"
            ) from error

    @property
    def description(self) -> str:
        """Device description for the log."""
        return f"HPU: {card_type()}"

    def layer_norm(
        self,
        inputs: tf.Tensor,
        beta: tf.Tensor,
        gamma: tf.Tensor,
        axes: Sequence[int],
        epsilon: float,
    ) -> tf.Tensor:
        """Layer normalization as `HabanaLayerNorm`, whose gradient is also one op.

        Args:
          inputs: float tensor.
          beta: offset, with the shape of the normalized axes.
          gamma: scale, with the same shape.
          axes: normalized axes, the last ones of `inputs`.
          epsilon: constant added to the variance.

        Returns:
          Tensor with the shape and dtype of `inputs`.
        """
        import tensorflow.compat.v1 as tf

        normalized, _, _ = self._habana.habana_ops.habana_layer_norm(
            x=inputs,
            beta=beta,
            gamma=gamma,
            axes=tf.make_tensor_proto(axes, tf.int32),
            epsilon=tf.make_tensor_proto(epsilon, tf.float32),
        )
        return normalized

    def gelu(self, inputs: tf.Tensor) -> tf.Tensor:
        """GELU (tanh approximation) as `HabanaGelu`: the package patches `tf.nn.gelu`."""
        import tensorflow

        return tensorflow.nn.gelu(inputs, approximate=True)

    def training_hooks(self, profile_start: int) -> list[tf.train.SessionRunHook]:
        """Profile ten session runs with Habana's Synapse logger if HABANA_SYNAPSE_LOGGER=range."""
        if os.environ.get("HABANA_SYNAPSE_LOGGER", "").lower() != "range":
            return []
        return [_synapse_logger_hook(profile_start)]


def card_type() -> str | None:
    """Type of the card, such as "GAUDI2", or None without a card."""
    with contextlib.suppress(OSError):
        return _CARD_FILE.read_text(encoding="utf-8").strip() or None
    return None


def register_ops() -> Any:
    """Register Habana's ops and their gradients with TensorFlow, for the whole process.

    Without a card, graphs with these ops can be built and inspected, but any session ends the
    process.

    Returns:
      The package `habana_frameworks.tensorflow`.
    """
    import habana_frameworks.tensorflow as habana

    try:
        habana.load_habana_module()
    except AttributeError:
        # Without a card, only the last step fails: the query of the card's type.
        if card_type():
            raise
    return habana


def _synapse_logger_hook(start: int) -> tf.train.SessionRunHook:
    """Adapt Habana's `SynapseLoggerHook`, whose methods lack a session hook's arguments."""
    import tensorflow.compat.v1 as tf
    from habana_frameworks.tensorflow import synapse_logger_helpers

    class SynapseLoggerHook(tf.train.SessionRunHook):
        def __init__(self) -> None:
            runs = list(range(start, start + _PROFILED_RUNS))
            self._habana_hook = synapse_logger_helpers.SynapseLoggerHook(runs)

        def before_run(self, run_context: tf.train.SessionRunContext) -> None:
            self._habana_hook.before_run()

        def after_run(
            self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
        ) -> None:
            self._habana_hook.after_run()

    return SynapseLoggerHook()

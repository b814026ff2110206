"""Habana Gaudi cards (HPU) and the ops that only they have.

The ops come from the package `habana-tensorflow`, which adds the device "HPU" to TensorFlow. Once
it has been loaded, a session without a card ends the process, so it is loaded only where the driver
shows a card.
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

_CARD_FILE = Path("/sys/class/accel/accel0/device/device_type")  # the driver writes it
_PROFILED_RUNS = 10  # of the session, by the Synapse logger


class Hpu(Device):
    """A Gaudi card, which compiles its graph anew for each shape and fuses ops itself."""

    name = "hpu"
    static_shapes = True
    length_step = 128
    closed_form_gradients = False
    has_bfloat16 = True
    shares_reduction_buffers = True

    def __init__(self, habana: Any):
        """A card, used through the package `habana_frameworks.tensorflow`."""
        self._habana = habana

    @classmethod
    def find(cls, local_rank: int) -> Hpu:
        """The cards of this server, once Habana's package is loaded.

        The package reads TF_BF16_CONVERSION while it is loaded.

        Raises:
          MissingDeviceError: if there is no card, or the package is missing or cannot be loaded.
        """
        if importlib.util.find_spec("habana_frameworks") is None:
            raise MissingDeviceError(
                "habana-tensorflow is not installed (requirements-hpu.txt, on Python 3.10)"
            )
        if not card_type():
            raise MissingDeviceError(
                f"habana-tensorflow is installed, but the driver shows no card: {_CARD_FILE} is "
                "not there"
            )
        try:
            return cls(register_ops())
        except Exception as error:  # whatever a package of another version fails with
            raise MissingDeviceError(
                f"habana-tensorflow cannot be loaded: {error} (requirements-hpu.txt has the "
                "versions that work together)"
            ) from error

    @property
    def description(self) -> str:
        """The device in the words of the log."""
        return f"HPU: {card_type()}"

    def layer_norm(
        self,
        inputs: tf.Tensor,
        beta: tf.Tensor,
        gamma: tf.Tensor,
        axes: Sequence[int],
        epsilon: float,
    ) -> tf.Tensor:
        """Layer normalization as `HabanaLayerNorm`, whose gradient is one op too."""
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
        """GELU in its tanh approximation as `HabanaGelu`: the package replaces `tf.nn.gelu`."""
        import tensorflow

        return tensorflow.nn.gelu(inputs, approximate=True)

    def training_hooks(self, profile_start: int) -> list[tf.train.SessionRunHook]:
        """Habana's Synapse logger over ten session runs, with HABANA_SYNAPSE_LOGGER=range."""
        if os.environ.get("HABANA_SYNAPSE_LOGGER", "").lower() != "range":
            return []
        return [_synapse_logger_hook(profile_start)]


def card_type() -> str | None:
    """Type of the cards, such as "GAUDI2"; None if there is none."""
    with contextlib.suppress(OSError):
        return _CARD_FILE.read_text(encoding="utf-8").strip() or None
    return None


def register_ops() -> Any:
    """Add Habana's ops and their gradients to TensorFlow, for the whole process.

    Without a card graphs with these ops can be built and looked at, but a session ends the process.

    Returns:
      The package `habana_frameworks.tensorflow`.
    """
    import habana_frameworks.tensorflow as habana

    try:
        habana.load_habana_module()
    except AttributeError:
        # The last thing it does is to ask for the type of the card.
        if card_type():
            raise
    return habana


def _synapse_logger_hook(start):
    """Habana's `SynapseLoggerHook`, which lacks the arguments of a session hook's methods."""
    import tensorflow.compat.v1 as tf
    from habana_frameworks.tensorflow import synapse_logger_helpers

    class SynapseLoggerHook(tf.train.SessionRunHook):
        def __init__(self):
            runs = list(range(start, start + _PROFILED_RUNS))
            self._habana_hook = synapse_logger_helpers.SynapseLoggerHook(runs)

        def before_run(self, run_context):
            self._habana_hook.before_run()

        def after_run(self, run_context, run_values):
            self._habana_hook.after_run()

    return SynapseLoggerHook()

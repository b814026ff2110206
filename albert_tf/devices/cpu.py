"""CPUs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from albert_tf.devices.device import PORTABLE, Device, ElementwiseFunction

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


class Cpu(Device):
    """A server's processors. XLA compiles the elementwise functions of training graphs."""

    name = "cpu"
    has_bfloat16 = True
    rewrites_to_bfloat16 = True

    @classmethod
    def find(cls, local_rank: int) -> Cpu:
        """The CPU of this server."""
        return cls()

    @property
    def description(self) -> str:
        """The device in the words of the log."""
        return f"CPU: {len(os.sched_getaffinity(0))} cores"

    def start(self) -> None:
        """Let XLA announce its first compilation to nobody."""
        from albert_tf.devices import fusion  # loads TensorFlow

        fusion.compile_first_in_silence()

    def for_inference(self) -> Device:
        """The portable kind: XLA would compile anew for each of prediction's shapes."""
        return PORTABLE

    def elementwise(self, function: ElementwiseFunction) -> ElementwiseFunction:
        """The function as one compiled op."""
        from albert_tf.devices import fusion

        return fusion.compiled(function)

    def configure_session(self, config: tf.ConfigProto, local_rank: int, processes: int) -> None:
        """Keep the session off GPUs."""
        config.device_count["GPU"] = 0

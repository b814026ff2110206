"""CPU device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from albert_tf.devices.device import Device

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


class Cpu(Device):
    """CPU of a host. XLA compiles the elementwise functions of training graphs."""

    name = "cpu"
    attention_groups = 4
    min_grouped_length = 256
    compiles_elementwise = True
    has_bfloat16 = True
    rewrites_to_bfloat16 = True

    @classmethod
    def find(cls, local_rank: int) -> Cpu:
        """Return the CPU of this host."""
        return cls()

    @property
    def description(self) -> str:
        """Device description for the log."""
        return f"CPU: {len(os.sched_getaffinity(0))} cores"

    def start(self) -> None:
        """Trigger XLA's first compilation, with its log output suppressed."""
        from albert_tf.devices import fusion  # loads TensorFlow

        fusion.compile_first_in_silence()

    def configure_session(self, config: tf.ConfigProto, local_rank: int, processes: int) -> None:
        """Keep the session off GPUs."""
        config.device_count["GPU"] = 0

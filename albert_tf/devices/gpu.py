"""GPUs, through TensorFlow's own support for them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Sequence

from albert_tf.devices.device import Device, MissingDeviceError
from albert_tf.errors import InputError

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


class Gpu(Device):
    """A GPU: portable graphs, and one card for each process."""

    name = "gpu"

    def __init__(self, names: Sequence[str]):
        """Names of the GPUs that TensorFlow sees."""
        self._names = names

    @classmethod
    def find(cls, local_rank: int) -> Gpu:
        """The GPUs of this server.

        Args:
          local_rank: number of this process among those of the run on this server.

        Raises:
          MissingDeviceError: if TensorFlow sees none.
          InputError: if it sees fewer than there are processes.
        """
        import tensorflow.compat.v1 as tf

        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            raise MissingDeviceError(
                "TensorFlow sees no GPU; check the driver and the CUDA libraries", is_told=False
            )
        if local_rank >= len(gpus):
            raise InputError(
                f"there are more processes on {socket.gethostname()} than GPUs, {len(gpus)}: start "
                "one process for each"
            )
        return cls([gpu.name for gpu in gpus])

    @property
    def description(self) -> str:
        """The device in the words of the log."""
        return f"GPU: {', '.join(self._names)}"

    def configure_session(self, config: tf.ConfigProto, local_rank: int, processes: int) -> None:
        """Let memory grow as needed, and with several processes see one card alone."""
        config.gpu_options.allow_growth = True
        if processes > 1:
            config.gpu_options.visible_device_list = str(local_rank)

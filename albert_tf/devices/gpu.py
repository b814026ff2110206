"""GPU device, as supported by TensorFlow itself."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Sequence

from albert_tf.devices.device import Device, MissingDeviceError
from albert_tf.io.errors import InputError

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


class Gpu(Device):
    """GPU with portable graphs; one device per process."""

    name = "gpu"

    def __init__(self, names: Sequence[str]):
        """Create the device from the names of the GPUs that TensorFlow sees."""
        self._names = names

    @classmethod
    def find(cls, local_rank: int) -> Gpu:
        """Find the GPUs of this host.

        Args:
          local_rank: rank of this process on this host, from 0.

        Raises:
          MissingDeviceError: if TensorFlow sees no GPU.
          InputError: if the host runs more processes than it has GPUs.
        """
        import tensorflow.compat.v1 as tf

        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            raise MissingDeviceError(
                "TensorFlow sees no GPU; check the driver and the CUDA libraries", is_logged=False
            )
        if local_rank >= len(gpus):
            raise InputError(
                f"{socket.gethostname()} runs more processes than its {len(gpus)} GPUs; start one "
                "process per GPU"
            )
        return cls([gpu.name for gpu in gpus])

    @property
    def description(self) -> str:
        """Device description for the log."""
        return f"GPU: {', '.join(self._names)}"

    def configure_session(self, config: tf.ConfigProto, local_rank: int, processes: int) -> None:
        """Allocate memory on demand; with several processes, make only one GPU visible."""
        config.gpu_options.allow_growth = True
        if processes > 1:
            config.gpu_options.visible_device_list = str(local_rank)

"""Choice of the device for training and prediction."""

from __future__ import annotations

from absl import logging

from albert_tf.devices.cpu import Cpu
from albert_tf.devices.device import Device, MissingDeviceError
from albert_tf.devices.gpu import Gpu
from albert_tf.devices.hpu import Hpu
from albert_tf.io.errors import InputError

KINDS = (Hpu, Gpu, Cpu)  # best first
NAMES = ("auto", *(kind.name for kind in KINDS))  # values of --device


def find_device(name: str, local_rank: int = 0) -> Device:
    """Find the device named by --device, or the best available one for "auto".

    Args:
      name: one of `NAMES`.
      local_rank: rank of this process on this host, from 0.

    Raises:
      InputError: if the device is missing or unusable.
    """
    for kind in KINDS:
        if name in ("auto", kind.name):
            try:
                return kind.find(local_rank)
            except MissingDeviceError as error:
                if name != "auto":
                    raise InputError(
                        f"--device={name}: {error}; fix that, or run with --device=cpu"
                    ) from error
                if error.is_logged:
                    logging.info("no %s: %s", kind.name.upper(), error)
    raise InputError(f"--device={name}: not one of {', '.join(NAMES)}")

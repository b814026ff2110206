"""The choice of the device that a run trains and predicts on."""

from __future__ import annotations

from absl import logging

from albert_tf.devices.cpu import Cpu
from albert_tf.devices.device import Device, MissingDeviceError
from albert_tf.devices.gpu import Gpu
from albert_tf.devices.hpu import Hpu
from albert_tf.errors import InputError

KINDS = (Hpu, Gpu, Cpu)  # the best first
NAMES = ("auto", *(kind.name for kind in KINDS))  # values of --device


def find_device(name: str, local_rank: int = 0) -> Device:
    """The device that --device names, or with "auto" the best that is there.

    Args:
      name: one of `NAMES`.
      local_rank: number of this process among those of the run on this server.

    Raises:
      InputError: if the device is not there or cannot be used.
    """
    for kind in KINDS:
        if name in ("auto", kind.name):
            try:
                return kind.find(local_rank)
            except MissingDeviceError as error:
                if name != "auto":
                    raise InputError(
                        f"--device={name}: {error}; mend that, or run with --device=cpu"
                    ) from error
                if error.is_told:
                    logging.info("no %s: %s", kind.name.upper(), error)
    raise InputError(f"--device={name}: not one of {', '.join(NAMES)}")

"""Habana Gaudi cards (HPU).

Every answer is that of a machine without one: HPU runs are not built yet.
"""

from __future__ import annotations

from errors import InputError


def load_habana_module(device: str) -> None:
    """Makes the HPU known to TensorFlow; to be called before any graph is built.

    Args:
      device: value of --device.

    Raises:
      InputError: if an HPU is asked for and there is none.
    """
    if device == "hpu":
        raise InputError("--device=hpu: training on an HPU is not supported yet")


def is_hpu() -> bool:
    """Whether graphs are built for an HPU."""
    return False

"""How many processes train together, and which of them this is.

Every answer is that of a single process: runs on several cards are not built yet.
"""

from __future__ import annotations

from errors import InputError


def initialize(use_horovod: bool) -> None:
    """Joins the other processes of the run.

    Raises:
      InputError: if Horovod is asked for.
    """
    if use_horovod:
        raise InputError("--use_horovod: training on several cards is not supported yet")


def rank() -> int:
    """The number of this process, from 0."""
    return 0


def size() -> int:
    """The number of processes."""
    return 1


def is_chief() -> bool:
    """Whether this process writes the checkpoints, summaries and results."""
    return rank() == 0

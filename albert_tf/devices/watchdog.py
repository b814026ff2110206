"""Watchdog that ends this process if it has waited too long for the other processes of the run.

Horovod's own limit (HOROVOD_STALL_SHUTDOWN_TIME_SECONDS) only applies to processes that still
answer: a suspended process, or a host that has vanished, also stops Horovod's check in all others.
The launcher ends the run when one process ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Iterator

from absl import logging

STALL_SHUTDOWN = "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS"  # variable of Horovod's own limit

_TICK_SECONDS = 1.0


class Watchdog:
    """Thread that counts the seconds of the current wait.

    It counts its own ticks, not the clock's: a process that was itself suspended has not waited.
    """

    def __init__(self, limit: int):
        """Start the thread.

        Args:
          limit: seconds that a wait may take; 0 for any time.
        """
        self._limit = limit
        self._waits = 0
        self._ticks = 0.0
        if limit:
            threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Limit the time that the block may take."""
        self._ticks = 0.0
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            self._ticks = 0.0

    def _watch(self) -> None:
        while self._ticks <= self._limit:
            time.sleep(_TICK_SECONDS)
            self._ticks = self._ticks + _TICK_SECONDS if self._waits else 0.0
        logging.error(
            "the other processes have not answered for %d s: one has hung or was suspended, or its "
            "host is down; the same command resumes from the last checkpoint (%s sets the limit)",
            self._limit,
            STALL_SHUTDOWN,
        )
        os._exit(1)

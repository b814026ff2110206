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
from typing import Callable, Iterator

_TICK_SECONDS = 1.0


class Watchdog:
    """Thread that counts the seconds of the current wait.

    It counts its own ticks, not the clock's: a process that was itself suspended has not waited.
    """

    def __init__(self, limit: int, end: Callable[[int], None]):
        """Start the thread.

        Args:
          limit: seconds that a wait may take; 0 for any time.
          end: function of the limit that ends this process.
        """
        self._limit = limit
        self._end = end
        self._waits = 0
        self._ticks = 0.0
        if limit:
            threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Limit the time that the block may take."""
        self.begin()
        try:
            yield
        finally:
            self.finish()

    def begin(self) -> None:
        """Begin a wait, which `finish` ends."""
        self._ticks = 0.0
        self._waits += 1

    def finish(self) -> None:
        """Finish a wait."""
        self._waits = max(0, self._waits - 1)
        self._ticks = 0.0

    def _watch(self) -> None:
        while True:
            time.sleep(_TICK_SECONDS)
            self._ticks = self._ticks + _TICK_SECONDS if self._waits else 0.0
            if self._ticks > self._limit:
                self._end(self._limit)
                os._exit(1)

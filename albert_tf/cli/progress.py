"""Rates and pauses of progress in the log."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

_FIRST_PAUSE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 60.0

Count = TypeVar("Count", float, np.ndarray)


class Throughput(Generic[Count]):
    """Rate of a count per second, over the whole run and since the last report.

    The count is a number, or an array of several things that are counted.
    """

    def __init__(self, count: Count, now: float):
        """Start counting at `count`; times are in seconds."""
        self._start: tuple[Count, float] = (count, now)
        self._last: tuple[Count, float] = (count, now)

    def since_last(self, count: Count, now: float) -> Count:
        """Rate since the last call."""
        rate = _rate(self._last, (count, now))
        self._last = (count, now)
        return rate

    def leave_out(self, seconds: float) -> None:
        """Leave out a pause since the last call."""
        self._start = (self._start[0], self._start[1] + seconds)
        self._last = (self._last[0], self._last[1] + seconds)

    def since_start(self, count: Count, now: float) -> Count:
        """Rate since the start."""
        return _rate(self._start, (count, now))


class ReportTimer:
    """Timer of log lines: due after 10 s, then at growing intervals of up to a minute."""

    def __init__(self, now: float):
        """Start the timer; times are in seconds."""
        self._pause = _FIRST_PAUSE_SECONDS
        self._next_report = now + self._pause

    def is_due(self, now: float) -> bool:
        """Whether a log line is due."""
        return now >= self._next_report

    def restart(self, now: float) -> None:
        """Set the time of the next log line, after one has been written."""
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        self._next_report = now + self._pause


def _rate(start: tuple[Count, float], end: tuple[Count, float]) -> Count:
    return (end[0] - start[0]) / max(end[1] - start[1], 1e-9)

"""Signals that tell a script to stop.

After `start`, the first signal raises `Stopped` in the main thread, so that temporary files are
removed and workers end. Inside `deferred`, as in training, it is only noted; the code there looks
for it where it can stop. A second signal ends the process at once.

Python runs handlers in the main thread, between two of its own instructions. A signal that arrives
in native code, such as a training step, takes effect when that returns.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Callable, Iterator

# Of Ctrl-C, schedulers, a lost connection, and Slurm's warnings before the end of the time limit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# A launcher and the system may both send the same signal to a process.
_SECONDS_OF_ONE_STOP = 1.0
_EXIT_CODE_OF_SIGNAL = 128  # and the number of the signal, as shells report it


class Stopped(KeyboardInterrupt):
    """A signal has told the program to stop.

    Attributes:
      signal: the signal.
      is_told: whether the log tells of it already, in all processes of the run.
    """

    def __init__(self, number: int, place: str = "", is_told: bool = False):
        """Create the exception.

        Args:
          number: number of the signal.
          place: place from which the run can resume, such as "at step 300".
          is_told: see above.
        """
        self.signal = signal.Signals(number)
        self.is_told = is_told
        self._place = f" {place}" if place else ""
        super().__init__(number)

    def __str__(self) -> str:
        return f"stopped by {self.signal.name}{self._place}; rerun the same command to continue"

    @property
    def exit_code(self) -> int:
        """Exit code of a program that ends for this reason, as shells report it."""
        return _EXIT_CODE_OF_SIGNAL + self.signal


@dataclass
class _State:
    """Signals that this process has received.

    Attributes:
      requested: the first signal.
      time: time at which it arrived.
      deferrals: number of `deferred` blocks that this process is in.
    """

    requested: int | None = None
    time: float = 0.0
    deferrals: int = 0


_state = _State()


def start() -> None:
    """Handle the signals from now on, apart from those that are ignored, as under nohup."""
    _set_handlers(_handle)


def release() -> None:
    """Leave the signals to the system: while a script ends, whether or not it has failed."""
    _set_handlers(signal.SIG_DFL)


def leave_to_parent() -> None:
    """Ignore the signals in a worker process, which its parent ends, by SIGTERM or otherwise."""
    _set_handlers(signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _set_handlers(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _handle(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if number == signal.SIGHUP:
        _leave_terminal()
    if _state.requested is None:
        _state.requested, _state.time = number, now
        if not _state.deferrals:
            raise Stopped(number)
    elif now - _state.time > _SECONDS_OF_ONE_STOP:
        line = f"ended at once by a second signal, {signal.Signals(number).name}\n"
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, line.encode())
        os._exit(_EXIT_CODE_OF_SIGNAL + number)


def _leave_terminal() -> None:
    """Drop what is written to a terminal that is gone: it would fail, and with it the stop."""
    with Path(os.devnull).open("r+b", buffering=0) as nowhere:
        for descriptor in range(3):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # a lost one is not `isatty` any more
                os.dup2(nowhere.fileno(), descriptor)


def requested() -> int | None:
    """Number of the signal that has told this process to stop, or None."""
    return _state.requested


def check() -> None:
    """Raise `Stopped` if a signal has told this process to stop, inside `deferred` too.

    Long loops call it between two pieces of work, so that a signal is not lost if `Stopped` was
    raised in a destructor, where Python drops exceptions.
    """
    if _state.requested is not None:
        raise Stopped(_state.requested)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Only note a signal in the block, and raise `Stopped` after it.

    Inside another such block, the outer one raises it.
    """
    before = _state.requested
    _state.deferrals += 1
    try:
        yield
    finally:
        _state.deferrals -= 1
    if _state.requested != before and not _state.deferrals:
        check()

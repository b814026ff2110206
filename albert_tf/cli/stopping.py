"""Stops of a script by SIGTERM and SIGINT.

`loading.end_quietly` holds while modules load, `start` for the rest of the script. From then on a
signal raises `Stopped` in the main thread, so that temporary files are removed and workers end. In
a destructor Python would drop it, so it is raised again after that.
Inside `deferred` it is only noted, for the training loop to end after the step. A second signal
ends the process at once, even while the main thread waits in native code.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Iterator

from albert_tf.cli.loading import DEFAULT, EXIT_CODE_OF_SIGNAL, SIGNALS, end, handle

# A launcher and the system may both send the same signal to a process.
_SECONDS_OF_ONE_STOP = 1.0
# Limit for the main thread to react in: it cannot while it waits in native code.
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.1
# Time for a destructor to end in, before `Stopped` is raised again.
_DESTRUCTOR_SECONDS = 0.05


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
          place: place at which the run goes on, such as "at step 300".
          is_told: see above.
        """
        self.signal = signal.Signals(number)
        self.is_told = is_told
        self._place = f" {place}" if place else ""
        super().__init__(number)

    def __str__(self) -> str:
        remedy = "resumes from there" if self._place else "goes on where it can"
        return f"stopped by {self.signal.name}{self._place}; the same command {remedy}"

    @property
    def exit_code(self) -> int:
        """Exit code of a program that ends for this reason, as shells report it."""
        return EXIT_CODE_OF_SIGNAL + self.signal


class _State:
    """Signals received by this process.

    Attributes:
      requested: first signal received, or agreed upon by all processes.
      deferrals: number of nested `deferred` blocks since the last `at_once`.
      has_reacted: whether `check` has raised `Stopped`.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.deferrals = 0
        self.has_reacted = False


_state = _State()


def start() -> None:
    """Begin to raise `Stopped` for signals. Call this in the main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # The main thread may be in native code for long, where Python runs no handlers. The system's
    # handler writes the signal's number to this pipe in any case.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    os.register_at_fork(after_in_child=release)
    signal.signal(signal.SIGALRM, lambda number, frame: _check_unless_deferred())
    sys.unraisablehook = _report_or_raise_again
    handle(_note)


def release() -> None:
    """Leave signals to the system: in forked processes, and while a failed script ends."""
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    handle(DEFAULT)


def _note(number: int, frame: FrameType | None) -> None:
    """Note a signal, and raise `Stopped` unless that is deferred."""
    if _state.requested is None:
        _state.requested = number
    _check_unless_deferred()


def _report_or_raise_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Raise `Stopped` once more shortly, if a destructor was running when it was raised.

    Python reports exceptions of destructors, and goes on without them.
    """
    if isinstance(unraisable.exc_value, Stopped):
        _state.has_reacted = False
        signal.setitimer(signal.ITIMER_REAL, _DESTRUCTOR_SECONDS)
    else:
        sys.__unraisablehook__(unraisable)


def _watch(reader: int) -> None:
    """Thread: end the process at a second signal, or if the main thread does not react."""
    first = None
    while True:
        (number,) = os.read(reader, 1)
        if number not in SIGNALS:
            continue
        if first is None:
            first = time.monotonic()
            threading.Thread(target=_end_after_grace, args=(number,), daemon=True).start()
        elif time.monotonic() - first > _SECONDS_OF_ONE_STOP:
            end(number, "ended at once by a second signal,")


def _end_after_grace(number: int) -> None:
    """Thread: end the process if the main thread neither reacts nor defers the signal."""
    remaining = _GRACE_SECONDS
    while remaining > 0:
        time.sleep(_POLL_SECONDS)
        remaining = _GRACE_SECONDS if _state.deferrals > 0 else remaining - _POLL_SECONDS
        if _state.has_reacted:
            return
    end(number, "stopped by")


def requested() -> int | None:
    """Number of the signal that has told this process to stop, or None."""
    return _state.requested


def check() -> None:
    """Raise `Stopped` if this process has been told to stop, once."""
    if _state.requested is not None and not _state.has_reacted:
        _state.has_reacted = True
        raise Stopped(_state.requested)


def _check_unless_deferred() -> None:
    if not _state.deferrals:
        check()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Only note signals in the block.

    After it, `Stopped` is raised if there was one, unless another such block is around it.
    """
    _state.deferrals += 1
    try:
        yield
    finally:
        _state.deferrals -= 1
    _check_unless_deferred()


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Raise `Stopped` at once in the block, even inside `deferred`.

    For work in the middle of training that may take long and loses nothing.
    """
    deferrals, _state.deferrals = _state.deferrals, 0
    try:
        check()
        yield
    finally:
        _state.deferrals = deferrals

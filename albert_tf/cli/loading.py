"""Signals while the modules of a script load.

A script calls `end_quietly` before it imports anything else. This module loads no other, so that
only Python's own start comes before.
"""

from __future__ import annotations

import _signal  # `signal` would load others, which take as long as Python's own start
import os

# Python itself catches SIGINT, but not SIGTERM: once that is caught, both handlers are set.
_NAMES = {_signal.SIGINT: "SIGINT", _signal.SIGTERM: "SIGTERM"}
SIGNALS = tuple(_NAMES)

DEFAULT = _signal.SIG_DFL  # handler: that of the system; `_signal` takes no enum of `signal`
EXIT_CODE_OF_SIGNAL = 128  # and the number of the signal, as shells report it


def end_quietly() -> None:
    """End with one line and no traceback if a signal arrives from now on."""
    handle(_end_while_loading)


def handle(handler: object) -> None:
    """Set the handler of the signals, apart from those that are ignored, as under nohup."""
    for number in SIGNALS:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, handler)


def _end_while_loading(number: int, frame: object) -> None:
    end(number, "stopped by")


def end(number: int, reason: str) -> None:
    """End the process at once because of a signal.

    Args:
      number: number of the signal.
      reason: the text before the signal's name in the line that tells of the end.
    """
    os.write(2, f"{reason} {_NAMES[number]}\n".encode())
    os._exit(EXIT_CODE_OF_SIGNAL + number)

"""Kills of a process between any two of its file operations."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from typing import Callable, Iterator

from scripts import ALL_KILLS

_OPERATIONS = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate")
_FAILED = 3  # exit code of a function that raises


def kills(function: Callable[[], None], directory: Path, every: int = 1) -> Iterator[int]:
    """Run a function in forked processes, each killed before a later file operation.

    The last process is not killed, and must succeed.

    Args:
      function: function to run.
      directory: directory whose file operations count.
      every: kill before every so many of them alone, unless all kills are asked for.

    Yields:
      The number of the operation, from 0, after each kill.
    """
    number = 0
    while _is_killed(function, str(directory), number):
        yield number
        number += 1 if ALL_KILLS else every


def _is_killed(function, directory, number):
    process = os.fork()
    if process == 0:
        gc.freeze()  # the end of a session would wait for threads that are not in a fork
        _kill_before(directory, number)
        try:
            function()
            os._exit(0)
        finally:
            os._exit(_FAILED)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _kill_before(directory, number):
    """Kill this process before its file operation of a number."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in _OPERATIONS and str(arguments[0]).startswith(directory):
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(hook)

"""The log of a script: lines on standard error, and in `log.txt` in the output directory of a run.

The file gets the lines from the start of the script on, also those of errors. Runs that resume
append to it.
"""

from __future__ import annotations

import contextlib
import logging as python_logging
import sys
import time
from pathlib import Path

from absl import logging

from albert_tf.devices import distributed
from albert_tf.io.errors import InputError

FILE_NAME = "log.txt"

_MOST_KEPT_LINES = 10_000  # lines before the file is open


class _Formatter(python_logging.Formatter):
    """Formatter of lines for people: rank if it is not 0, level's letter, time and message.

    With --verbosity=1 they have absl's prefix, with date, thread and place in the code.
    """

    def format(self, record: python_logging.LogRecord) -> str:
        if logging.get_verbosity() >= logging.DEBUG:
            return distributed.with_rank(logging.PythonFormatter().format(record))
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return distributed.with_rank(f"{record.levelname[0]} {clock} {super().format(record)}")


class _FileFormatter(python_logging.Formatter):
    """Formatter of the file's lines: date, time, level's letter, rank if it is not 0, message."""

    def format(self, record: python_logging.LogRecord) -> str:
        day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        lines = distributed.with_rank(super().format(record)).splitlines() or [""]
        return "\n".join(f"{day} {record.levelname[0]} {line}" for line in lines)


class _LogFile(python_logging.Handler):
    """Handler that keeps the lines of the log until its file is open.

    A line is one write to a file open for appending, so that processes on one host may share it.

    Attributes:
      start_time: monotonic time at which the script started, in seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start_time = time.monotonic()
        self.setFormatter(_FileFormatter())
        self._kept: list[tuple[int, str]] = []
        self._path: Path | None = None

    def emit(self, record: python_logging.LogRecord) -> None:
        line = f"{self.format(record)}\n"
        if self._path is None:
            if len(self._kept) < _MOST_KEPT_LINES:
                self._kept.append((record.levelno, line))
            return
        with contextlib.suppress(OSError):  # a full disk is told by what the run itself writes
            self._write(line)

    def open(self, path: Path) -> None:
        self._path = path
        kept = [line for level, line in self._kept if level >= self.level]
        self._kept = []
        if kept:
            self._write("".join(kept))

    def _write(self, text: str) -> None:
        assert self._path is not None
        with self._path.open("ab", buffering=0) as file:
            file.write(text.encode("utf-8", "backslashreplace"))


_log_file: _LogFile | None = None


def start() -> None:
    """Begin the log of a script; its lines are kept from now on for the file of `open_in`."""
    global _log_file
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Formatter())
    handler.python_handler.setStream(sys.stderr)  # which was closed when absl looked for it
    if _log_file is None:
        _log_file = _LogFile()
        python_logging.getLogger().addHandler(_log_file)


def start_time() -> float:
    """Monotonic time at which the script started, in seconds; in a notebook, the time it is now."""
    return _log_file.start_time if _log_file else time.monotonic()


def open_in(directory: str | Path) -> None:
    """Write the lines of the log to `log.txt` in a directory, those kept so far first.

    Rank 0 writes all its lines, other ranks their warnings and errors. Without a call of `start`,
    as in notebooks and tests, nothing is written.

    Args:
      directory: an existing directory.

    Raises:
      InputError: if the file cannot be written.
    """
    if _log_file is None:
        return
    if not distributed.is_chief():
        _log_file.setLevel(python_logging.WARNING)
    path = Path(directory) / FILE_NAME
    if path.exists() and not path.is_file():  # a pipe would wait for a reader
        raise InputError(f"{path}: cannot write the log (not a file); move it away")
    try:
        _log_file.open(path)
    except OSError as error:
        raise InputError(f"{path}: cannot write the log ({error.strerror})") from error


def continue_in(directory: str | Path) -> None:
    """Write the lines to the log of an earlier run in a directory, if there is one."""
    if (Path(directory) / FILE_NAME).exists():
        open_in(directory)


def add(message: str) -> None:
    """Write a message that standard error gets without the log, such as that of an error."""
    if _log_file is not None:
        _log_file.handle(
            python_logging.LogRecord("absl", python_logging.ERROR, "", 0, "%s", (message,), None)
        )

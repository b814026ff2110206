"""Log file of a run, `log.txt` in its output directory.

It gets the lines of the log, from the start of the script on, also those of errors. Runs that
resume append to it.
"""

from __future__ import annotations

import logging as python_logging
import time
from pathlib import Path

from albert_tf.devices import distributed
from albert_tf.io.errors import InputError

NAME = "log.txt"

_MOST_KEPT_LINES = 10_000  # lines before the file is open


class _Formatter(python_logging.Formatter):
    """Formatter of the file's lines: date, time, level's letter, rank if it is not 0, message."""

    def format(self, record: python_logging.LogRecord) -> str:
        day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        lines = distributed.with_rank(super().format(record)).splitlines() or [""]
        return "\n".join(f"{day} {record.levelname[0]} {line}" for line in lines)


class _LogFile(python_logging.Handler):
    """Handler that keeps the lines of the log until its file is open.

    A line is one write to a file open for appending, so that processes on one server may share it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())
        self._kept: list[tuple[int, str]] = []
        self._path: Path | None = None

    def emit(self, record: python_logging.LogRecord) -> None:
        line = f"{self.format(record)}\n"
        if self._path is None:
            if len(self._kept) < _MOST_KEPT_LINES:
                self._kept.append((record.levelno, line))
            return
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(line.encode("utf-8", "backslashreplace"))
        except OSError:  # a full disk is told by what the run itself writes
            pass

    def open(self, path: Path) -> None:
        self._path = path
        lines = [line for level, line in self._kept if level >= self.level]
        self._kept = []
        if lines:
            with self._path.open("ab", buffering=0) as file:
                file.write("".join(lines).encode("utf-8", "backslashreplace"))


_log_file: _LogFile | None = None


def keep_lines() -> None:
    """Keep the lines of the log from now on, for the file that `open_in` names."""
    global _log_file
    if _log_file is None:
        _log_file = _LogFile()
        python_logging.getLogger().addHandler(_log_file)


def open_in(directory: str | Path) -> None:
    """Write the lines of the log to `log.txt` in a directory, those kept so far first.

    Rank 0 writes all its lines, other ranks their warnings and errors. Without a call of
    `keep_lines`, as in notebooks and tests, nothing is written.

    Args:
      directory: an existing directory.

    Raises:
      InputError: if the file cannot be written.
    """
    if _log_file is None:
        return
    if not distributed.is_chief():
        _log_file.setLevel(python_logging.WARNING)
    path = Path(directory) / NAME
    try:
        _log_file.open(path)
    except OSError as error:
        raise InputError(f"{path}: cannot write the log ({error.strerror})") from error


def continue_in(directory: str | Path) -> None:
    """Write the lines to the log of an earlier run in a directory, if there is one."""
    if (Path(directory) / NAME).exists():
        open_in(directory)


def add(message: str) -> None:
    """Write a message that standard error gets without the log, such as that of an error."""
    if _log_file is not None:
        _log_file.handle(
            python_logging.LogRecord("absl", python_logging.ERROR, "", 0, "%s", (message,), None)
        )

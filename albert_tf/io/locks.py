"""Locks between processes: one run in a directory, one process that writes a file.

The operating system releases a lock when its holder ends, however that ends.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

import filelock
from absl import logging

from albert_tf.io import files
from albert_tf.io.errors import InputError

_PATIENCE_SECONDS = 2.0  # of a killed run's workers to notice, of a holder to write its name
_LONGEST_HOLDER = 300  # bytes


@contextmanager
def only_run(path: Path, named: str | Path, remedy: str) -> Iterator[None]:
    """Hold a lock in the block, or refuse to start if another process holds it.

    Args:
      path: path of the lock file, in an existing directory.
      named: what no two runs may write at once, for the message.
      remedy: what else the user can do than wait for the other run, for the message.

    Raises:
      InputError: if another run holds the lock; the message describes it.
      OSError: if the lock file cannot be written.
    """
    lock = filelock.FileLock(str(path))
    try:
        with _held(lock, _PATIENCE_SECONDS):
            yield
    except filelock.Timeout:
        raise InputError(
            f"{named}: in use by {_holder(lock)}; wait until it has ended, or {remedy}"
        ) from None


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file or directory to write in the block; other processes wait for it.

    Args:
      path: path of the file or directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{path}{files.LOCK_SUFFIX}")
    with ExitStack() as stack:
        try:
            stack.enter_context(_held(lock, _PATIENCE_SECONDS))
        except filelock.Timeout:
            logging.info("%s: waiting for %s, which is working on it", path, _holder(lock))
            stack.enter_context(_held(lock, timeout=-1))
        yield


@contextmanager
def _held(lock: filelock.BaseFileLock, timeout: float) -> Iterator[None]:
    """Hold a lock in the block, with a file beside it that describes this process."""
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError:
        logging.warning(
            "%s: this file system has no locks: do not start two runs in it at once", lock.lock_file
        )
        yield
        return
    try:
        script = Path(sys.argv[0]).name or "python"
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        process = f"process {os.getpid()} on {socket.gethostname()} ({script}, since {since})"
        files.write_text(_holder_path(lock), process)
        yield
    finally:
        _holder_path(lock).unlink()
        lock.release()


def _holder_path(lock: filelock.BaseFileLock) -> Path:
    return Path(str(lock.lock_file) + files.HOLDER_SUFFIX)


def _holder(lock: filelock.BaseFileLock) -> str:
    """Describe the holder of a lock: process, host, script and start."""
    try:
        text = _holder_path(lock).read_bytes()[:_LONGEST_HOLDER].decode(errors="replace")
    except OSError:
        text = ""
    return "".join(char for char in text if char.isprintable()) or "another process"

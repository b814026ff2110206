"""Locks that end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from absl import logging

from albert_tf.errors import InputError


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Let one process at a time make what is to be at `path`; the others wait.

    The lock is held through the operating system: it ends with the process, however that ends, and
    holds between servers where their common file system knows locks (NFS does).

    Raises:
      InputError: if the file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(f"{path.name}.lock")
    lock = _locked(lock_path)
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)  # before it is released, see `_locked`
        lock.close()


def _locked(lock_path):
    """Wait for the lock and return its open file.

    The process that had the lock before has removed the file. A lock on a removed file locks out
    nobody: then it is taken anew.
    """
    while True:
        lock = lock_path.open("a")
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.info("%s: another process is downloading it: waiting", lock_path.stem)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock.fileno()), lock_path.stat()):
                return lock
        except FileNotFoundError:
            pass  # removed by who had the lock
        except OSError as error:
            raise InputError(
                f"{lock_path}: this file system cannot lock files ({error.strerror}); download to "
                "a local disk and copy"
            ) from error
        lock.close()

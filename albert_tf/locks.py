"""File locks between processes, released when their holder exits."""

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
    """Hold the file lock of `path`; other processes wait for it.

    The operating system releases the lock when the process exits, even if it is killed. The lock
    also works between servers if their shared file system supports locks (NFS does).

    Args:
      path: path of the file or folder to write under the lock.

    Raises:
      InputError: if the file system does not support locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(f"{path.name}.lock")
    lock = _locked(lock_path)
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)  # before the release, see `_locked`
        lock.close()


def _locked(lock_path):
    """Wait for the lock and return its open file.

    The previous holder removes the lock file, and a lock on a removed file excludes no other
    process. In that case the lock is taken again on a new file.
    """
    while True:
        lock = lock_path.open("a")
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.info(
                    "%s: waiting for another process that is downloading it", lock_path.stem
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock.fileno()), lock_path.stat()):
                return lock
        except FileNotFoundError:
            pass  # removed by the previous holder
        except OSError as error:
            raise InputError(
                f"{lock_path}: this file system does not support locks ({error.strerror}); "
                "download to a local disk and copy the files"
            ) from error
        lock.close()

"""Locks between processes, released by the operating system when their holder ends.

A lock is a `flock`, so a killed process holds none. Servers that share a file system exclude each
other if it supports locks (NFS does, and releases those of a server that is gone).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from absl import logging

from albert_tf.io.errors import InputError

LOCK_SUFFIX = ".lock"

_LONGEST_HOLDER = 300  # bytes
_PATIENCE_SECONDS = 10.0  # a file is replaced in less
_RETRY_SECONDS = 0.05

_handles: weakref.WeakSet[Handle] = weakref.WeakSet()  # of this process


class Handle:
    """An open file or folder to lock; its lock lasts until it is closed or the process ends."""

    def __init__(self, path: Path, flags: int = os.O_RDONLY):
        """Open a file with flags of `os.open`."""
        self._descriptor: int | None = os.open(path, flags, 0o666)
        _handles.add(self)

    def fileno(self) -> int:
        """Descriptor of the open file."""
        assert self._descriptor is not None
        return self._descriptor

    def close(self) -> None:
        """Close the file, unless it is closed already."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def is_at(self, path: Path) -> bool:
        """Whether a path still names the open file, which may have been removed or replaced."""
        try:
            return os.path.samestat(os.fstat(self.fileno()), path.stat())
        except FileNotFoundError:
            return False

    def try_lock(self, is_shared: bool = False) -> bool:
        """Lock the file unless another process holds its lock.

        Args:
          is_shared: whether other processes may hold shared locks at the same time.

        Returns:
          Whether the file is locked now.

        Raises:
          OSError: if the file system does not support the lock.
        """
        try:
            fcntl.flock(self, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()


def _close_handles() -> None:
    """Close the handles in a forked process, which would prolong their locks."""
    for handle in list(_handles):
        handle.close()


os.register_at_fork(after_in_child=_close_handles)


class Lock:
    """A lock held by this process, until `release`, or until the object or the process ends.

    The lock file says who holds the lock, and is removed when the lock is released.
    """

    def __init__(self, lock_path: Path, waits: bool):
        """Acquire the lock.

        Args:
          lock_path: path of the lock file.
          waits: whether to wait for another holder.

        Raises:
          BlockingIOError: if another process holds the lock, unless `waits`.
          OSError: if the lock file cannot be written, or the file system does not support locks.
        """
        handle = _locked(lock_path, waits)
        self._release = weakref.finalize(self, _release, handle, lock_path, os.getpid())

    def release(self) -> None:
        """Release the lock."""
        self._release()


def _release(handle: Handle, lock_path: Path, process: int) -> None:
    if os.getpid() == process:  # a forked process does not hold the lock
        lock_path.unlink(missing_ok=True)  # before the release, see `_locked`
        handle.close()


def _locked(lock_path: Path, waits: bool) -> Handle:
    """Lock the lock file, write the holder into it, and return the open file.

    The previous holder removes the lock file, and a lock on a removed file excludes no other
    process. In that case the lock is taken again on a new file.
    """
    while True:
        handle = Handle(lock_path, os.O_RDWR | os.O_CREAT)
        try:
            is_locked = handle.try_lock()
        except OSError:
            lock_path.unlink(missing_ok=True)
            raise
        if not is_locked:
            if not waits:
                raise BlockingIOError
            logging.info(
                "%s: waiting for %s, which is working on it", lock_path.stem, holder(lock_path)
            )
            fcntl.flock(handle, fcntl.LOCK_EX)
        if handle.is_at(lock_path):
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), _description_of_this_process().encode(errors="replace"))
            return handle
        handle.close()


def is_unsupported(error: OSError) -> bool:
    """Whether an error means that the file system does not support the lock."""
    return error.errno in (
        errno.ENOLCK,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.EINVAL,
        errno.EBADF,  # NFS locks files exclusively only if they are open for writing
    )


def _description_of_this_process() -> str:
    script = Path(sys.argv[0]).name or "python"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} ({script}, since {since})"


def holder(lock_path: Path) -> str:
    """Describe the holder of a lock: process, server, script and start."""
    try:
        with lock_path.open("rb") as file:
            text = file.read(_LONGEST_HOLDER).decode(errors="replace")
    except OSError:
        text = ""
    return "".join(c for c in text if c.isprintable()) or "another process"


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder to write; other processes wait for it.

    Args:
      path: path of the file or folder.

    Raises:
      InputError: if the file system does not support locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(f"{path.name}{LOCK_SUFFIX}")
    try:
        lock = Lock(lock_path, waits=True)
    except OSError as error:
        if not is_unsupported(error):
            raise
        raise InputError(
            f"{lock_path}: this file system does not support locks ({error.strerror}); "
            "write to a local disk and copy the files"
        ) from error
    try:
        yield
    finally:
        lock.release()


def only_run(lock_path: Path, what: str | Path, remedy: str) -> Lock | None:
    """Take a lock for the duration of a run, without waiting.

    Args:
      lock_path: path of the lock file, in an existing folder.
      what: what must not be written by two runs, for the message.
      remedy: what else the user can do than to wait for the other run, for the message.

    Returns:
      The lock; None, with a warning, if the file system does not support locks.

    Raises:
      InputError: if another run holds the lock; the message describes it.
      OSError: if the lock file cannot be written.
    """
    try:
        return Lock(lock_path, waits=False)
    except BlockingIOError:
        raise InputError(
            f"{what}: in use by {holder(lock_path)}; wait until it has ended, or {remedy}"
        ) from None
    except OSError as error:
        if not is_unsupported(error):
            raise
        logging.warning(
            "%s: this file system does not support locks (%s): do not start two runs in it at once",
            what,
            error.strerror,
        )
        return None


def hold(path: Path, unlocked_after: float = 0.0) -> Handle | None:
    """Lock a file or folder that no other process holds.

    Args:
      path: path of the file or folder.
      unlocked_after: seconds since the last change after which a file counts as held by no process,
        where the file system does not support locks.

    Returns:
      The locked file; None if another process holds it, or has removed it.
    """
    try:
        handle = Handle(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        is_locked = handle.try_lock()
    except OSError as error:
        if not is_unsupported(error):
            raise
        is_locked = time.time() - os.fstat(handle.fileno()).st_mtime >= unlocked_after
    return handle if is_locked and handle.is_at(path) else None


def reading(path: Path) -> Handle:
    """Keep a file from being replaced by other processes while this one reads it.

    Args:
      path: path of a file that is replaced under `replacing`.

    Returns:
      The open file; the protection lasts until it is closed.

    Raises:
      InputError: if another process goes on replacing the file.
      FileNotFoundError: if there is no such file.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        handle = Handle(path)
        try:
            if handle.try_lock(is_shared=True) and handle.is_at(path):
                return handle
        except OSError as error:
            if not is_unsupported(error):
                raise
            return handle
        handle.close()
        if time.monotonic() > deadline:
            raise InputError(
                f"{path}: another process is replacing it; run the command again when it has ended"
            )
        time.sleep(_RETRY_SECONDS)


@contextmanager
def replacing(path: Path) -> Iterator[None]:
    """Exclude the readers of a file while it is replaced.

    Raises:
      InputError: if another process is reading the file.
    """
    try:
        handle = Handle(path, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    try:
        is_locked = handle.try_lock()
    except OSError as error:
        if not is_unsupported(error):
            raise
        is_locked = True
    try:
        if not is_locked:
            raise InputError(
                f"{path}: cannot be made again while another run reads it; wait until that has "
                "ended, or give another path"
            )
        yield
    finally:
        handle.close()

"""Atomic writes, file digests, and file patterns in flags."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from albert_tf.errors import InputError

MANIFEST_SUFFIX = ".manifest.json"

_READ_BLOCK = 1 << 20  # bytes


def digest(path: str) -> str:
    """SHA-256 digest of a file, in hexadecimal."""
    sha256 = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(_READ_BLOCK), b""):
            sha256.update(block)
    return sha256.hexdigest()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file atomically.

    Leftover temporary files of killed processes are removed first.

    Yields:
      Path of a temporary file in the same directory. It is renamed to `path` when the block ends,
      and removed if the block fails.
    """
    path = Path(path)
    temporary = _temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        _remove(temporary)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Create a directory atomically, with all of its files.

    Yields:
      Path of a new temporary directory next to `path`. It is renamed to `path` when the block ends,
      and removed if the block fails.

    Raises:
      InputError: if `path` exists and is not an empty directory.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: already exists; remove it or choose another path")
    temporary = _temporary_path(path)
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(path)
    finally:
        _remove(temporary)


def _temporary_path(path):
    """Path of this process's temporary file or directory for `path`.

    Leftovers of killed processes are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
        if not _is_running(int(leftover.name.rpartition("-")[2])):
            _remove(leftover)
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def _remove(path):
    """Remove a file or a whole directory, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_running(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, indent: int | None = 4) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def check_writable(flag: str, directory: str) -> None:
    """Create the directory named by a flag if needed, and check that it is writable.

    Args:
      flag: name of the flag.
      directory: path of the directory.

    Raises:
      InputError: if the directory is not writable.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(f"--{flag} {directory}: {error.strerror}") from error


def matching_files(flag: str, patterns: str | None) -> list[str]:
    """Find the files named by a flag.

    Manifests and temporary files are left out.

    Args:
      flag: name of the flag.
      patterns: comma-separated paths or patterns such as "*.txt".

    Returns:
      Paths in the order of the patterns, those of one pattern sorted, without duplicates.

    Raises:
      InputError: if the flag is missing, or no file matches one of the patterns.
    """
    if not patterns:
        raise InputError(
            f"--{flag} is missing; give comma-separated files or patterns such as *.txt"
        )
    found = []
    for pattern in patterns.split(","):
        paths = glob.glob(os.path.expanduser(pattern.strip()), recursive=True)
        paths = [path for path in paths if Path(path).is_file() and not is_companion(path)]
        if not paths:
            raise InputError(f"--{flag} {pattern}: no such file; correct the path")
        found += sorted(paths)
    return list(dict.fromkeys(found))


def is_companion(path: str) -> bool:
    """Whether a file name is that of a manifest or of a temporary file."""
    return bool(re.search(rf"({re.escape(MANIFEST_SUFFIX)}|\.tmp-\d+)$", path))

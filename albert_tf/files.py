"""Files that appear whole or not at all, and their digests."""

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

MANIFEST_SUFFIX = ".manifest.json"  # of the file that tells what made the one beside it

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

    Yields the path of a temporary file beside it, which becomes `path` when the block ends, and is
    removed if the block fails. Those of processes that were killed are removed first.
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
    """Make a directory atomically, with all of its files.

    Yields the path of a new directory beside it, which becomes `path` when the block ends, and is
    removed if the block fails.

    Raises:
      InputError: if there is something at `path` already.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: it exists already; remove it or give another path")
    temporary = _temporary_path(path)
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(path)
    finally:
        _remove(temporary)


def _temporary_path(path):
    """Path at which this process prepares a file or directory.

    What killed processes have left of the same file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
        if not _is_running(int(leftover.name.rpartition("-")[2])):
            _remove(leftover)
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def _remove(path):
    """Remove a file, or a directory with all that is in it, if it is there."""
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
        pass  # it is another user's
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write text atomically, in UTF-8."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, indent: int | None = 4) -> None:
    """Write a value as JSON, atomically."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def check_writable(flag: str, directory: str) -> None:
    """Make the directory that a flag names, if it is not there, and check that it takes files.

    Raises:
      InputError: if nothing can be written there.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(f"--{flag} {directory}: {error.strerror}") from error


def matching_files(flag: str, patterns: str | None) -> list[str]:
    """Files that a flag names, in order: comma-separated paths, or patterns such as "*.txt".

    Manifests, and files that are still being written, are left out.

    Raises:
      InputError: if the flag is missing, or no file matches one of its patterns.
    """
    if not patterns:
        raise InputError(f"--{flag} is missing: give files, separated by commas, or *-patterns")
    found = []
    for pattern in patterns.split(","):
        paths = glob.glob(os.path.expanduser(pattern.strip()), recursive=True)
        paths = [path for path in paths if Path(path).is_file() and not is_companion(path)]
        if not paths:
            raise InputError(f"--{flag} {pattern}: there is no such file; correct the path")
        found += sorted(paths)
    return list(dict.fromkeys(found))


def is_companion(path: str) -> bool:
    """Whether a file is a manifest, or one that is still being written, by its name."""
    return bool(re.search(rf"({re.escape(MANIFEST_SUFFIX)}|\.tmp-\d+)$", path))

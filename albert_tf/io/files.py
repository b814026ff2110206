"""Atomic writes, file digests, and file patterns in flags."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator

from albert_tf.io import locks
from albert_tf.io.errors import InputError

MANIFEST_SUFFIX = ".manifest.json"
PUBLISHING_SUFFIX = f".publishing{locks.LOCK_SUFFIX}"

_READ_BLOCK = 1 << 20  # bytes
_SAMPLES = 64
_SAMPLE_BYTES = 4096
_TEMPORARY = re.compile(r"\.tmp-\d+(-[0-9a-f]{8})?")
_ABANDONED_SECONDS = 24 * 60 * 60  # without a change, where the file system has no locks

_made_directories: list[Path] = []  # by this process, parents first


def contents(path: str | Path) -> bytes:
    """Read a whole file.

    Raises:
      InputError: if it is a pipe or a device, at which reading might wait for ever.
      OSError: if it cannot be read.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: a pipe or device, not a file; move it away, or correct the path")
    return path.read_bytes()


def digest(path: str | Path) -> str:
    """SHA-256 digest of a file, or of all visible files in a folder, in hexadecimal."""
    sha256 = hashlib.sha256()
    if Path(path).is_dir():
        inside = sorted(entry for entry in Path(path).iterdir() if not entry.name.startswith("."))
        for entry in filter(Path.is_file, inside):
            sha256.update(f"{digest(entry)} {entry.name}\n".encode())
        return sha256.hexdigest()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(_READ_BLOCK), b""):
            sha256.update(block)
    return sha256.hexdigest()


def sampled_digest(path: str | Path) -> str:
    """SHA-256 digest of a file's size and of blocks spread evenly over it, in hexadecimal.

    It takes milliseconds for a file of any size, and covers all of a small file.
    """
    size = Path(path).stat().st_size
    sha256 = hashlib.sha256(str(size).encode())
    with Path(path).open("rb") as file:
        for number in range(_SAMPLES):
            file.seek(number * max(size - _SAMPLE_BYTES, 0) // (_SAMPLES - 1))
            sha256.update(file.read(_SAMPLE_BYTES))
    return sha256.hexdigest()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file atomically.

    Yields:
      Path of an empty temporary file in the same directory. It is renamed to `path` when the block
      ends, and removed if the block fails.

    Raises:
      OSError: if the file cannot be written; it names `path`.
    """
    with temporary_file(path) as temporary:
        yield temporary
        with named_in_errors(path):
            flush(temporary)
            temporary.replace(path)


@contextmanager
def temporary_file(path: str | Path) -> Iterator[Path]:
    """Make a temporary file for the next content of a file.

    Temporary files of killed processes are removed first.

    Yields:
      Path of an empty temporary file in the same directory. It is removed when the block ends,
      unless it has been renamed.

    Raises:
      OSError: if the file cannot be written; it names `path`.
    """
    path = Path(path)
    with named_in_errors(path), _temporary(path, is_directory=False) as temporary:
        yield temporary


@contextmanager
def temporary_directory(path: str | Path) -> Iterator[Path]:
    """Make a temporary directory; those that killed processes have left are removed first.

    Args:
      path: path that its name begins with.

    Yields:
      Path of the empty directory. It is removed when the block ends.

    Raises:
      OSError: if the directory cannot be made; it names `path`.
    """
    with named_in_errors(path), _temporary(Path(path), is_directory=True) as temporary:
        yield temporary


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
    with named_in_errors(path), _temporary(path, is_directory=True) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def named_in_errors(path: str | Path) -> Iterator[None]:
    """Add a path to errors of the operating system in the block that name no file.

    Python names the file when it cannot be opened, but not when it cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def flush(path: str | Path) -> None:
    """Have a file written to the disk, so that it is whole even after a power failure."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _temporary(path: Path, is_directory: bool) -> Iterator[Path]:
    """Make a temporary file or directory for `path`, and remove it unless it has been renamed.

    It is locked as long as its process lives, and its name is unique, so that no process takes that
    of another for its own, or for a leftover. Process numbers alone are not unique: containers
    number their processes from 1.
    """
    make_directory(path.parent)
    remove_leftovers(path)
    while True:
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            temporary.mkdir() if is_directory else temporary.touch(exist_ok=False)
        except FileExistsError:
            continue
        handle = locks.hold(temporary)
        if handle:
            break
    try:
        yield temporary
    finally:
        if handle.is_at(temporary):
            _remove(temporary)
        handle.close()


def remove_leftovers(path: str | Path) -> None:
    """Remove the temporary files of killed processes that were writing a file or directory."""
    path = Path(path)
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.*"):
        suffix = leftover.name[len(path.name) :]
        if suffix == PUBLISHING_SUFFIX or _TEMPORARY.fullmatch(suffix):
            with contextlib.suppress(OSError):  # of another user, or removed by another process
                handle = locks.hold(leftover, _ABANDONED_SECONDS)
                if handle:
                    _remove(leftover)
                    handle.close()


def _remove(path: Path) -> None:
    """Remove a file or a whole directory, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str | Iterable[str]) -> None:
    """Write a text file atomically, in UTF-8: a text, or its parts one after the other."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)


def write_json(path: str | Path, value: Any, indent: int | None = 4) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def make_directory(path: str | Path) -> None:
    """Make a directory and its parents, unless they exist.

    Raises:
      OSError: if a directory cannot be made.
    """
    missing = [
        directory for directory in (Path(path), *Path(path).parents) if not directory.exists()
    ]
    Path(path).mkdir(parents=True, exist_ok=True)
    _made_directories.extend(reversed(missing))


@contextmanager
def without_new_directories() -> Iterator[None]:
    """Remove the directories that `make_directory` makes in the block, if they are empty then."""
    count = len(_made_directories)
    try:
        yield
    finally:
        while len(_made_directories) > count:
            with contextlib.suppress(OSError):  # it has files, or another process has removed it
                _made_directories.pop().rmdir()


def check_writable(flag: str, directory: str) -> None:
    """Create the directory named by a flag if needed, and check that it is writable.

    Args:
      flag: name of the flag.
      directory: path of the directory.

    Raises:
      InputError: if the directory is not writable.
    """
    _check_writable(f"--{flag} {directory}", Path(directory))


def _check_writable(named: str, directory: Path) -> None:
    try:
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a directory; give another path")
        make_directory(directory)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(f"{named}: {error.strerror}") from error


def check_can_be_written(path: str) -> None:
    """Create the directory of a file if needed, and check that it is writable.

    Raises:
      InputError: if the directory is not writable.
    """
    _check_writable(path, Path(path).parent)


def check_is_no_directory(path: str) -> None:
    """Check that the path of a file is not that of a directory.

    Raises:
      InputError: if it is.
    """
    if Path(path).is_dir():
        raise InputError(f"{path}: is a directory; give the path of a file")


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
        pattern = pattern.strip()
        paths = [pattern]
        if not Path(pattern).is_file():  # a file whose name looks like a pattern is meant itself
            paths = glob.glob(pattern, recursive=True)
            paths = [path for path in paths if Path(path).is_file() and not is_companion(path)]
        if not paths:
            raise InputError(f"--{flag} {pattern}: no such file; correct the path")
        found += sorted(paths)
    return list(dict.fromkeys(found))


def is_companion(path: str) -> bool:
    """Whether a file name is that of a manifest, a lock or a temporary file."""
    return path.endswith((MANIFEST_SUFFIX, locks.LOCK_SUFFIX)) or bool(
        re.search(rf"({_TEMPORARY.pattern})$", path)
    )

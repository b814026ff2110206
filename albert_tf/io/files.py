"""Atomic writes, file digests, and file patterns in flags."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator

from albert_tf.io.errors import InputError

MANIFEST_SUFFIX = ".manifest.json"
LOCK_SUFFIX = ".lock"
HOLDER_SUFFIX = "-holder"  # after `LOCK_SUFFIX`

_READ_BLOCK = 1 << 20  # bytes
_SAMPLES = 64
_SAMPLE_BYTES = 4096
_TEMPORARY = re.compile(r"\.tmp-([^/]*)-(\d+)")  # host and process
_ABANDONED_SECONDS = 24 * 60 * 60  # without a change, for the files of other hosts


def digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Digest of a file, or of all visible files in a directory, in hexadecimal."""
    found = hashlib.new(algorithm)
    if Path(path).is_dir():
        inside = sorted(entry for entry in Path(path).iterdir() if not entry.name.startswith("."))
        for entry in filter(Path.is_file, inside):
            found.update(f"{digest(entry, algorithm)} {entry.name}\n".encode())
        return found.hexdigest()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(_READ_BLOCK), b""):
            found.update(block)
    return found.hexdigest()


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
      InputError: if `path` is a directory.
      OSError: if the file cannot be written; it names `path`.
    """
    if Path(path).is_dir():
        raise InputError(
            f"{path}: is a directory, in place of a file to write; move it, and run the same "
            "command again"
        )
    with named_in_errors(path), _temporary(Path(path)) as temporary:
        temporary.touch(exist_ok=False)
        yield temporary
        flush(temporary)
        temporary.replace(path)


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
    with temporary_directory(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def temporary_directory(path: str | Path) -> Iterator[Path]:
    """Make a temporary directory.

    Args:
      path: path that its name begins with.

    Yields:
      Path of the empty directory. It is removed when the block ends, unless it has been renamed.

    Raises:
      OSError: if the directory cannot be made; it names `path`.
    """
    with named_in_errors(path), _temporary(Path(path)) as temporary:
        temporary.mkdir()
        yield temporary


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
def _temporary(path: Path) -> Iterator[Path]:
    """Path for the next content of a file or directory, removed at the end unless renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = path.with_name(f"{path.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    _remove(temporary)  # of an earlier process with the same number
    try:
        yield temporary
    finally:
        _remove(temporary)


def remove_leftovers(path: str | Path) -> None:
    """Remove the temporary files of killed processes that were writing a file or directory."""
    path = Path(path)
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
        match = _TEMPORARY.fullmatch(leftover.name[len(path.name) :])
        if match and _is_abandoned(leftover, match[1], int(match[2])):
            _remove(leftover)


def _is_abandoned(temporary: Path, host: str, process: int) -> bool:
    """Whether the process that was writing a temporary file has ended, as far as one can tell."""
    with contextlib.suppress(FileNotFoundError):
        if host != socket.gethostname():
            return time.time() - temporary.stat().st_mtime > _ABANDONED_SECONDS
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it lives, and belongs to another user
            pass
    return False


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


def update(path: Path, content: bytes) -> None:
    """Write a file atomically, unless it has the content already."""
    if not path.is_file() or path.read_bytes() != content:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)


def write_json(path: str | Path, value: Any, indent: int | None = 4) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def check_directory(named: str, directory: str | Path) -> None:
    """Check that files can be written to a directory, which need not exist yet.

    Args:
      named: name of the directory in the message: its path, or its flag with the path.
      directory: path of the directory.

    Raises:
      InputError: if it cannot be written, or not be made.
    """
    path = Path(directory)
    try:
        while not path.exists():
            path = path.parent
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a directory; give another path")
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(f"{named}: {error.strerror}") from error


def check_no_pipe(path: str | Path) -> None:
    """Check that a path is not that of a pipe, at which a reader would wait forever.

    Raises:
      InputError: if it is.
    """
    if Path(path).is_fifo():
        raise InputError(f"{path}: is a pipe, which can be read only once; put a file in its place")


def check_file(path: str | Path) -> None:
    """Check that a file can be written: that its path is not a directory, and that its own can be.

    Raises:
      InputError: if it cannot.
    """
    if Path(path).is_dir():
        raise InputError(f"{path}: is a directory; give the path of a file")
    check_directory(str(path), Path(path).parent)


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
    for pattern in map(str.strip, patterns.split(",")):
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
    suffixes = (MANIFEST_SUFFIX, LOCK_SUFFIX, LOCK_SUFFIX + HOLDER_SUFFIX)
    return path.endswith(suffixes) or is_temporary(path)


def is_temporary(path: str) -> bool:
    """Whether a file name is that of a temporary file or directory."""
    return bool(re.search(rf"{_TEMPORARY.pattern}$", path))

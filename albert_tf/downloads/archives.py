"""Safe extraction of archives."""

from __future__ import annotations

import errno
import gzip
import os
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Iterable, Iterator, TypeVar

from albert_tf.io.errors import InputError

_BLOCK = 1 << 16  # bytes
_LARGEST_HEADER = 1 << 24  # bytes
_MOST_MEMBERS = 100_000
_LONGEST_PATH, _LONGEST_NAME = 1000, 200  # bytes; file systems take little more
_MOST_FOLDERS = 32
_ENCRYPTED = 1  # bit of a zip member's flags

Member = TypeVar("Member")


def unpack(archive: Path, directory: Path, max_size: int) -> None:
    """Unpack a `.tar.gz` or `.zip` archive, without its top folder if it has a single one.

    Only regular files are written, and only inside `directory`.

    Args:
      archive: path of the archive.
      directory: path of an empty directory.
      max_size: largest total size of the files, in bytes.

    Raises:
      InputError: if the archive is damaged, encrypted or too large, or a member is a link, a device
        or outside of `directory`.
    """
    make_members = _zip_members if archive.suffix == ".zip" else _tar_members
    members, left = make_members(archive), max_size
    while True:
        with _reading(archive):
            member = next(members, None)
        if member is None:
            break
        name, file = member
        with _opened(archive, name, directory) as output:
            while True:
                with _reading(archive):
                    block = file.read(_BLOCK)
                if not block:
                    break
                left -= len(block)
                if left < 0:
                    raise InputError(
                        f"{archive.name}: the files are larger than {max_size} bytes; raise "
                        "--max_unpacked_size if the archive is what you want"
                    )
                output.write(block)
    inside = list(directory.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        top = inside[0].rename(directory / f"{inside[0].name}.tmp-{os.getpid()}")
        for path in top.iterdir():
            path.rename(directory / path.name)
        top.rmdir()


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn an error from reading the archive in the block into an `InputError`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # on damaged archives the libraries raise errors of any kind
        # EINVAL comes from a place before the start of the file; others are errors of the disk.
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise
        raise InputError(f"{archive.name}: the archive is damaged: {error}") from error


@contextmanager
def _opened(archive: Path, name: str, directory: Path) -> Iterator[BinaryIO]:
    """Create the file of a member, and its folders."""
    target = directory / _safe_path(archive, name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        output = target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise _harmful(archive, name, "is in the archive twice, or also a folder") from error
    with output:
        yield output


class _GzipFile(gzip.GzipFile):
    """A gzip file that refuses to read huge headers of a tar archive into memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.HeaderError(f"a header of {size} bytes")
        return super().read(size)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and content of each file in a tar archive."""
    with _GzipFile(archive) as compressed, tarfile.open(fileobj=compressed, mode="r:") as tar:
        for member in _limited(archive, tar):
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content
            elif not member.isdir():
                raise _harmful(archive, member.name, "is a link or a device")
            elif member.size:
                raise _harmful(archive, member.name, "is a folder with content")


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and content of each file in a zip archive, without macOS metadata.

    Links are read as regular files.
    """
    with zipfile.ZipFile(archive) as zip_file:
        for member in _limited(archive, zip_file.infolist()):
            name = member.filename.replace("\\", "/")  # as some programs for Windows write it
            if name.endswith("/") or name.startswith("__MACOSX/"):
                continue
            if member.flag_bits & _ENCRYPTED:
                raise _harmful(archive, name, "is encrypted")
            with zip_file.open(member) as file:
                yield name, file


def _limited(archive: Path, members: Iterable[Member]) -> Iterator[Member]:
    for number, member in enumerate(members):
        if number == _MOST_MEMBERS:
            raise InputError(f"{archive.name}: the archive has more than {_MOST_MEMBERS} members")
        yield member


def _safe_path(archive: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise _harmful(archive, name, "would be written outside of the folder")
    try:
        sizes = [len(os.fsencode(part)) for part in path.parts]
    except UnicodeEncodeError as error:
        raise _harmful(archive, name, "has a name that is no text") from error
    if not sizes:
        raise _harmful(archive, name, "has no name")
    if len(sizes) > _MOST_FOLDERS or max(sizes) > _LONGEST_NAME or sum(sizes) > _LONGEST_PATH:
        raise _harmful(archive, f"{name[:60]}...", "has too long a path")
    return Path(*path.parts)


def _harmful(archive: Path, name: str, reason: str) -> InputError:
    return InputError(
        f"{archive.name}: member {name!r} {reason}; nothing was unpacked, do not use this archive"
    )

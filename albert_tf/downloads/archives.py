"""Safe extraction of archives."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Iterator, Optional, Tuple

from albert_tf.io.errors import InputError

_LARGEST_HEADER = 1 << 24  # bytes
_MOST_MEMBERS = 100_000
_LONGEST_PATH, _LONGEST_NAME = 1000, 200  # bytes; file systems take little more
_MOST_DIRECTORIES = 32
_ENCRYPTED = 1  # bit of a zip member's flags

# Name, declared size and content of a member; None for a directory.
_Member = Tuple[str, int, Optional[IO[bytes]]]


def unpack(archive: Path, directory: Path, max_size: int) -> None:
    """Unpack a `.tar.gz` or `.zip` archive, without its top directory if it has a single one.

    Only regular files are written, and only inside `directory`.

    Args:
      archive: path of the archive.
      directory: path of an empty directory.
      max_size: largest total size of the files, in bytes.

    Raises:
      InputError: if the archive is damaged, encrypted or too large, or a member is a link, a device
        or outside of `directory`.
    """
    members = _zip_members if archive.suffix == ".zip" else _tar_members
    left = max_size
    try:
        for number, (name, size, content) in enumerate(members(archive)):
            if number == _MOST_MEMBERS:
                raise InputError(f"{archive.name}: it has more than {_MOST_MEMBERS} members")
            if content is None:
                continue
            if size > left:
                raise InputError(
                    f"{archive.name}: the files are larger than {max_size} bytes; raise "
                    "--max_unpacked_size if the archive is what you want"
                )
            target = directory / _safe_path(archive, name)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                output = target.open("xb")
            except (FileExistsError, NotADirectoryError) as error:
                reason = "is in the archive twice, or also a directory"
                raise _harmful(archive, name, reason) from error
            with content, output:
                shutil.copyfileobj(content, output)
                left -= output.tell()
    except (InputError, MemoryError):
        raise
    except Exception as error:  # on damaged archives the libraries raise errors of any kind
        # EINVAL comes from a place before the start of the file; others are errors of the disk.
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise
        raise InputError(f"{archive.name}: the archive is damaged: {error}") from error
    inside = list(directory.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        top = inside[0].rename(directory / f"{inside[0].name}.tmp-{os.getpid()}")
        for path in top.iterdir():
            path.rename(directory / path.name)
        top.rmdir()


class _GzipFile(gzip.GzipFile):
    """A gzip file that refuses to read huge headers of a tar archive into memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.HeaderError(f"a header of {size} bytes")
        return super().read(size)


def _tar_members(archive: Path) -> Iterator[_Member]:
    """Yield the members of a tar archive.

    tarfile's filter "data" would write absolute paths inside of the directory, admit links inside
    of it, and take over permissions; reading only regular files needs no filter.
    """
    with _GzipFile(archive) as compressed, tarfile.open(fileobj=compressed, mode="r:") as tar:
        for member in tar:
            if member.isdir() and not member.size:
                yield member.name, 0, None
            elif member.isreg():
                yield member.name, member.size, tar.extractfile(member)
            else:
                reason = "is a link or a device, or a directory with content"
                raise _harmful(archive, member.name, reason)


def _zip_members(archive: Path) -> Iterator[_Member]:
    """Yield the members of a zip archive, with macOS metadata as directories.

    Links are read as regular files.
    """
    with zipfile.ZipFile(archive) as zip_file:
        for member in zip_file.infolist():
            name = member.filename.replace("\\", "/")  # as some programs for Windows write it
            if name.endswith("/") or name.startswith("__MACOSX/"):
                yield name, 0, None
            elif member.flag_bits & _ENCRYPTED:
                raise _harmful(archive, name, "is encrypted")
            else:
                yield name, member.file_size, zip_file.open(member)


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _harmful(archive, name, "would be written outside of the directory")
    sizes = [len(os.fsencode(part)) for part in path.parts]
    if not sizes:
        raise _harmful(archive, name, "has no name")
    if len(sizes) > _MOST_DIRECTORIES or max(sizes) > _LONGEST_NAME or sum(sizes) > _LONGEST_PATH:
        raise _harmful(archive, f"{name[:60]}...", "has too long a path")
    return path


def _harmful(archive: Path, name: str, reason: str) -> InputError:
    return InputError(
        f"{archive.name}: member {name!r} {reason}; nothing was unpacked, do not use this archive"
    )

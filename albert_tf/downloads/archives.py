"""Safe extraction of archives."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Iterable

from albert_tf.errors import InputError

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a `.tar.gz` or `.zip` archive, without its top folder if it has a single one.

    Only regular files are written, and only inside `directory`.

    Args:
      archive: path of the archive.
      directory: path of an empty directory.

    Raises:
      InputError: if the archive is damaged, or a member is a link, a device or outside of
        `directory`.
    """
    members = _zip_members if archive.suffix == ".zip" else _tar_members
    try:
        for name, file in members(archive):
            target = directory / _safe_path(archive, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as output:
                shutil.copyfileobj(file, output)
    except _DAMAGED as error:
        if getattr(error, "errno", None):  # an error of the disk, not of the archive
            raise
        raise InputError(f"{archive.name}: the archive is damaged: {error}") from error
    inside = list(directory.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        top = inside[0].rename(directory / f"{inside[0].name}.tmp-{os.getpid()}")
        for path in top.iterdir():
            path.rename(directory / path.name)
        top.rmdir()


def _tar_members(archive: Path) -> Iterable[tuple[str, BinaryIO]]:
    """Yield the name and content of each file in a tar archive."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.isreg():
                yield member.name, tar.extractfile(member)
            elif not member.isdir():
                raise _harmful(archive, member.name, "is a link or a device")


def _zip_members(archive: Path) -> Iterable[tuple[str, BinaryIO]]:
    """Yield the name and content of each file in a zip archive, without macOS metadata.

    Links are read as regular files.
    """
    with zipfile.ZipFile(archive) as zip_file:
        for member in zip_file.infolist():
            if not member.is_dir() and not member.filename.startswith("__MACOSX/"):
                with zip_file.open(member) as file:
                    yield member.filename, file


def _safe_path(archive, name):
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise _harmful(archive, name, "would be written outside of the folder")
    return Path(*path.parts)


def _harmful(archive, name, reason):
    return InputError(
        f"{archive.name}: member {name!r} {reason}; nothing was unpacked, do not use this archive"
    )

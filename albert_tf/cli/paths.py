"""Paths in flags: the home directory, and names that this program or TensorFlow cannot handle."""

from __future__ import annotations

import os
import re

from albert_tf.io.errors import InputError

PATH = "path"
PATHS = "paths"  # separated by commas; may be patterns
STANDARD_INPUT = "-"
# TensorFlow takes the names of checkpoints for patterns when it looks for them and removes them.
CHECKPOINT_PATH = "checkpoint path"

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST_NAME = 255 - 55  # bytes; leaves room for the suffixes of manifests and temporary files
_LONGEST_PATH = 4095 - 395  # bytes; leaves room for the files in a directory
_DEEPEST_PATH = 200  # directories
_LONGEST_SHOWN = 80  # characters


def resolved(flag: str, value: str, kind: str) -> str:
    """Check the value of a path flag, and replace `~` by the home directory.

    Args:
      flag: name of the flag.
      value: value of the flag.
      kind: `PATH`, `PATHS` or `CHECKPOINT_PATH`.

    Returns:
      The path or paths to use.

    Raises:
      InputError: if no file of this name can be used.
    """
    paths = value.split(",") if kind == PATHS else [value]
    return ",".join(_resolved_path(flag, path, kind) for path in paths)


def _resolved_path(flag: str, path: str, kind: str) -> str:
    shown = path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}…"
    shown = f"--{flag} {shown.encode(errors='backslashreplace').decode()}"
    if "\0" in path:
        raise InputError(f"{shown!r}: the path contains a NUL character; correct it")
    if _REMOTE.match(path.strip()):
        raise InputError(
            f"{shown}: not a path in the file system of this host; copy the files to it, or mount "
            "the storage and give a path in the mounted directory"
        )
    path = _with_home(path, shown)
    try:
        names = [name.encode() for name in path.split(os.sep)]
    except UnicodeEncodeError:
        raise InputError(f"{shown}: the path is not UTF-8; rename the file") from None
    if max(map(len, names)) > _LONGEST_NAME:
        raise InputError(
            f"{shown}: a name in the path is longer than {_LONGEST_NAME} bytes; shorten it"
        )
    if sum(map(len, names)) + len(names) > _LONGEST_PATH or len(names) > _DEEPEST_PATH:
        raise InputError(
            f"{shown}: the path is longer than {_LONGEST_PATH} bytes or deeper than "
            f"{_DEEPEST_PATH} directories; move the files up"
        )
    if kind == CHECKPOINT_PATH and re.search(r"[\[*?\\]", path):
        raise InputError(
            f"{shown}: TensorFlow takes checkpoints with one of [ * ? \\ in their path for "
            "patterns; choose a path without these"
        )
    return path


def _with_home(path: str, shown: str) -> str:
    """Replace `~` at the start of a path, after white space, by the home directory."""
    stripped = path.strip()
    if not stripped.startswith("~"):
        return path
    expanded = os.path.expanduser(stripped)
    if expanded.startswith("~"):
        raise InputError(
            f"{shown}: no such home directory; put ./ in front of a file whose name starts with ~"
        )
    return expanded

"""Numbers that an evaluation has found to be best for a checkpoint, such as a threshold.

The file lies in the output directory of the evaluation, and names the content of the checkpoint:
another checkpoint never uses them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

from absl import logging

from albert_tf.io import files, json_files
from albert_tf.io.bounds import Bounds
from albert_tf.run_dir import checkpoint_files

FILE = "calibration.json"
_FORMAT = 1
_NUMBER = Bounds(is_whole=False)


def contents(checkpoint_digest: str, calibration: Mapping[str, float]) -> dict[str, Any]:
    """Contents of the file.

    Args:
      checkpoint_digest: digest of the checkpoint.
      calibration: the numbers by name.
    """
    return json_files.versioned(_FORMAT, {"checkpoint": checkpoint_digest, **calibration})


def read(checkpoint: str, output_dir: str | None = None) -> dict[str, float]:
    """Read the numbers that belong to a checkpoint.

    Args:
      checkpoint: prefix of the checkpoint.
      output_dir: directory to look in before that of the checkpoint.

    Returns:
      The numbers by name; empty if there are none for this checkpoint.
    """
    directories = [Path(output_dir)] if output_dir else []
    digest = checkpoint_files.digest(checkpoint)
    for directory in dict.fromkeys([*directories, Path(checkpoint).parent]):
        values = _read_file(directory / FILE)
        if values.pop("checkpoint", None) == digest:
            return values
    return {}


def _read_file(path: Path) -> dict[str, Any]:
    """Contents of a file; empty if it is not there or has other contents."""
    try:
        values = json.loads(files.contents(path))
        is_readable = values.pop(json_files.FORMAT, None) == _FORMAT
        numbers = [value for name, value in values.items() if name != "checkpoint"]
        if is_readable and all(map(_NUMBER.allow, numbers)):
            return values
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        pass
    logging.warning("%s: not used, as it was not written by this version", path)
    return {}

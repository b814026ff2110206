"""JSON files that a task keeps with its model: in the output directory and in exported models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

from albert_tf.io import files, json_files

FORMAT = 1


def read(directory: str | Path, names: Sequence[str]) -> dict[str, Any]:
    """Read the kept files in a directory.

    Args:
      directory: the directory of a checkpoint, or of the extra files of an exported model.
      names: names of the files.

    Returns:
      JSON objects by file name, as far as the files are there.

    Raises:
      InputError: if a file is not JSON with an object.
    """
    remedy = "copy the file again from the directory of the training"
    paths = {name: Path(directory) / name for name in names}
    kept = {}
    for name, path in paths.items():
        if path.exists():
            content = json_files.read(path, "the file kept with the model", remedy)
            content.check_format(FORMAT)
            kept[name] = {key: x for key, x in content.values.items() if key != json_files.FORMAT}
    return kept


def write(directory: str | Path, kept: Mapping[str, Any]) -> None:
    """Write kept files, unless they are there already.

    Args:
      directory: the directory.
      kept: JSON values by file name.
    """
    for name, value in kept.items():
        path = Path(directory) / name
        if not path.exists() or read(directory, [name]) != {name: value}:
            files.write_json(path, json_files.versioned(FORMAT, value))

"""Exported models: inputs of a SavedModel, and the extra files stored with it.

The folder `assets.extra/` of a SavedModel has all that is needed to convert text to ids: the
config, the vocabulary and the settings of training.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.graph import estimators
from albert_tf.io import files
from albert_tf.records import datasets
from albert_tf.records.record_files import RecordFields
from albert_tf.run_dir import checkpoint_files

ASSETS = "assets.extra"
ORIGIN_FILE = "origin.json"  # checkpoint and settings of the export
EXAMPLES = "examples"  # Estimators name the signature after it: "examples:serving_default"
_TEMPORARY = "export.tmp-"
_LONGEST_EXPORT_SECONDS = 3600


def ids_or_examples(names: Sequence[str]) -> estimators.ServingInputReceiver:
    """Make the inputs of an exported model that takes ids or serialized `tf.train.Example`s.

    Args:
      names: names of the model's inputs.

    Returns:
      A receiver with two signatures: int32 tensors [batch, length] by name; or "input", strings
      [batch], each an example with lists of any length under these names. Lists are padded with 0
      to the longest.
    """
    serialized = tf.placeholder(tf.string, [None], "serialized_example")
    any_length = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    parsed = tf.io.parse_example(serialized, dict.fromkeys(names, any_length))
    features = {
        name: tf.placeholder_with_default(tf.cast(parsed[name], tf.int32), [None, None], name)
        for name in names
    }
    return estimators.ServingInputReceiver(features, features, {EXAMPLES: {"input": serialized}})


def records(fields: RecordFields) -> estimators.ServingInputReceiver:
    """Make the inputs of an exported model that takes records.

    Args:
      fields: record fields that the model reads.

    Returns:
      A receiver with one signature: "input", strings [batch], serialized `tf.train.Example`s.
    """
    serialized = tf.placeholder(tf.string, [None], "serialized_example")
    features = datasets.parse_examples(serialized, fields)
    return estimators.ServingInputReceiver(features, serialized)


def export(
    estimator: estimators.Estimator,
    export_dir: str,
    receiver: Callable[[], estimators.ServingInputReceiver],
    checkpoint: str,
    assets: Mapping[str, str],
    contents: Mapping[str, Any],
    run_settings: Mapping[str, Any],
) -> str:
    """Export a checkpoint as a SavedModel, with its assets and settings.

    If the latest export is of the same checkpoint with the same settings, it stays the latest.

    Args:
      estimator: Estimator of the run.
      export_dir: parent directory; the SavedModel gets a new directory in it, named after the time.
      receiver: function that makes the inputs of the model.
      checkpoint: prefix of the checkpoint.
      assets: paths of the files to copy to `assets.extra/`, by their new names.
      contents: JSON values of further files in `assets.extra/`, by their names: `SETTINGS_FILE`
        with the settings of the conversion from text to model inputs, and what the task keeps.
      run_settings: all settings that the graph may depend on; JSON values by name.

    Returns:
      Path of the SavedModel.
    """
    parent = Path(export_dir)
    parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(parent)
    origin = {
        "checkpoint": checkpoint_files.digest(checkpoint),
        "assets": {name: files.digest(path) for name, path in assets.items()},
        "settings": dict(run_settings),
        "contents": dict(contents),
    }
    latest = find_saved_model(export_dir)
    if latest and _read_json(Path(latest) / ASSETS / ORIGIN_FILE) == origin:
        logging.info("%s: exported before to %s", checkpoint, latest)
        return latest
    with _temporary_directory(parent) as directory:
        own_assets = {**contents, ORIGIN_FILE: origin}
        for name, value in own_assets.items():
            files.write_json(directory / name, value)
        exported = estimator.export_saved_model(
            str(directory),
            receiver,
            assets_extra={**assets, **{name: str(directory / name) for name in own_assets}},
            checkpoint_path=checkpoint,
        )
        number = int(Path(exported.decode()).name)
        while (parent / str(number)).exists():
            number += 1
        path = Path(exported.decode()).rename(parent / str(number))
    logging.info("exported %s to %s", checkpoint, path)
    return str(path)


@contextmanager
def _temporary_directory(parent: Path) -> Iterator[Path]:
    """Make a directory that is locked while the block runs, and removed after it."""
    path = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
    lock = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # file systems without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _remove_unfinished(parent: Path) -> None:
    """Remove what killed exports have left in a directory, but nothing that is being written."""
    for path in parent.glob(f"{_TEMPORARY}*"):
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            logging.info("%s: removed, left half-written by a killed export", path)
            shutil.rmtree(path)
        except OSError:
            continue  # another process is writing it
        finally:
            os.close(lock)
    for path in parent.glob("temp-*"):  # of TensorFlow, which names it after the time
        started = path.name.partition("-")[2]
        if started.isdigit() and time.time() - int(started) > _LONGEST_EXPORT_SECONDS:
            logging.info("%s: removed, left half-written by a killed export", path)
            shutil.rmtree(path)


def _read_json(path: Path) -> Any:
    """JSON value of a file; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def find_saved_model(directory: str) -> str | None:
    """Path of a SavedModel: the directory itself or the latest export in it; None if neither."""
    exported = [Path(directory)]
    if Path(directory).is_dir():
        exported += sorted((p for p in Path(directory).iterdir() if p.name.isdigit()), reverse=True)
    return next((str(path) for path in exported if is_saved_model(path)), None)


def is_saved_model(directory: str | Path) -> bool:
    """Whether a directory is a SavedModel."""
    return (Path(directory) / "saved_model.pb").is_file()

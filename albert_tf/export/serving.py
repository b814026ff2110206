"""Exported models: inputs of a SavedModel, and the extra files stored with it.

The directory `assets.extra/` of a SavedModel has all that is needed to convert text to ids: the
config, the vocabulary and the settings of training.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Mapping, Tuple

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.devices.device import PORTABLE
from albert_tf.graph.model import build_predictions, session_config
from albert_tf.io import files
from albert_tf.records import datasets
from albert_tf.records.record_files import RecordFields
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.base import MODEL_INPUTS, Task, input_fields

ASSETS = "assets.extra"
ORIGIN_FILE = "origin.json"  # checkpoint and settings of the export
SIGNATURE, EXAMPLES_SIGNATURE = "serving_default", "examples:serving_default"

# Features of the model, and the inputs of each signature by its name.
Inputs = Tuple[Mapping[str, tf.Tensor], Mapping[str, Mapping[str, tf.Tensor]]]


def save_model(
    task: Task, checkpoint: str, directory: str, make_inputs: Callable[[], Inputs]
) -> None:
    """Write a SavedModel that runs on any device.

    Args:
      task: the task.
      checkpoint: prefix of the checkpoint.
      directory: path of the SavedModel, which must not exist.
      make_inputs: function that builds the inputs in a new graph.
    """
    config = session_config(task.settings, PORTABLE, None)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        features, signatures = make_inputs()
        outputs = build_predictions(task, PORTABLE, features)
        with checkpoints.named_if_damaged(checkpoint):
            tf.train.Saver(tf.trainable_variables()).restore(session, checkpoint)
        builder = tf.saved_model.Builder(directory)
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.tag_constants.SERVING],
            {
                name: tf.saved_model.predict_signature_def(inputs, outputs)
                for name, inputs in signatures.items()
            },
        )
        builder.save()


def _ids_or_examples() -> Inputs:
    """Build the inputs of a model that takes ids or serialized `tf.train.Example`s.

    One signature has int32 tensors [batch, length] by name. The other has "input", strings [batch],
    each an example with lists of any length under these names, which are padded with 0 to the
    longest.
    """
    serialized = tf.placeholder(tf.string, [None], "serialized_example")
    any_length = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    parsed = tf.io.parse_example(serialized, dict.fromkeys(MODEL_INPUTS, any_length))
    features = {
        name: tf.placeholder_with_default(tf.cast(parsed[name], tf.int32), [None, None], name)
        for name in MODEL_INPUTS
    }
    return features, {SIGNATURE: features, EXAMPLES_SIGNATURE: {"input": serialized}}


def _records(fields: RecordFields) -> Inputs:
    """Build the inputs of a model that takes records: "input", serialized `tf.train.Example`s."""
    serialized = tf.placeholder(tf.string, [None], "serialized_example")
    return datasets.parse_examples(serialized, fields), {SIGNATURE: {"input": serialized}}


def export(
    task: Task,
    checkpoint: str,
    export_dir: str,
    assets: Mapping[str, str],
    contents: Mapping[str, Any],
    run_settings: Mapping[str, Any],
) -> str:
    """Export a checkpoint as a SavedModel that runs on any device, with its assets and settings.

    If the latest export is of the same checkpoint with the same settings, it stays the latest.

    Args:
      task: the task.
      checkpoint: prefix of the checkpoint.
      export_dir: parent directory; the SavedModel gets a new directory in it, named after the time.
      assets: paths of the files to copy to `assets.extra/`, by their new names.
      contents: JSON values of further files in `assets.extra/`, by their names.
      run_settings: all settings that the graph may depend on; JSON values by name.

    Returns:
      Path of the SavedModel.
    """
    parent = Path(export_dir)
    parent.mkdir(parents=True, exist_ok=True)
    origin = {
        "checkpoint": checkpoints.digest(checkpoint),
        "assets": {name: files.digest(path) for name, path in assets.items()},
        "settings": dict(run_settings),
        "contents": dict(contents),
    }
    latest = find_saved_model(export_dir)
    if latest and _read_json(Path(latest) / ASSETS / ORIGIN_FILE) == origin:
        logging.info("%s: exported before to %s", checkpoint, latest)
        return latest
    with files.temporary_directory(parent / "export") as directory:
        exported = directory / "saved_model"
        extra = exported / ASSETS
        save_model(
            task,
            checkpoint,
            str(exported),
            lambda: _records(input_fields(task)) if task.serves_records else _ids_or_examples(),
        )
        extra.mkdir()
        for name, source in assets.items():
            shutil.copyfile(source, extra / name)
        for name, value in {**contents, ORIGIN_FILE: origin}.items():
            files.write_json(extra / name, value)
        # A server takes the largest number, and clocks may be set back.
        newest = max((int(path.name) for path in _versions(parent)), default=0)
        path = exported.rename(parent / str(max(int(time.time()), newest + 1)))
    logging.info("exported %s to %s", checkpoint, path)
    return str(path)


def _read_json(path: Path) -> Any:
    """JSON value of a file; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def find_saved_model(directory: str) -> str | None:
    """Path of a SavedModel: the directory itself or the latest export in it; None if neither."""
    newest_first = sorted(_versions(Path(directory)), key=lambda path: -int(path.name))
    return next((str(p) for p in [Path(directory), *newest_first] if is_saved_model(p)), None)


def _versions(directory: Path) -> list[Path]:
    """Directories of the exported models in a directory."""
    return [path for path in directory.glob("*") if path.name.isdigit()]


def is_saved_model(directory: str | Path) -> bool:
    """Whether a directory is a SavedModel."""
    return (Path(directory) / "saved_model.pb").is_file()

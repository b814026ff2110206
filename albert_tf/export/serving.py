"""Exported models: inputs of a SavedModel, and the extra files stored with it.

The folder `assets.extra/` of a SavedModel has all that is needed to convert text to ids: the
config, the vocabulary and the settings of training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.devices.device import PORTABLE
from albert_tf.graph import estimators
from albert_tf.graph.model import build_predictions, session_config
from albert_tf.io import files
from albert_tf.records import datasets
from albert_tf.records.record_files import RecordFields
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.base import MODEL_INPUTS, Task, input_fields

ASSETS = "assets.extra"
ORIGIN_FILE = "origin.json"  # checkpoint and settings of the export
EXAMPLES = "examples"  # Estimators name the signature after it: "examples:serving_default"


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
        own_assets = {**contents, ORIGIN_FILE: origin}
        for name, value in own_assets.items():
            files.write_json(directory / name, value)
        exported = Path(
            _estimator(task, str(directory))
            .export_saved_model(
                str(directory),
                lambda: _receiver(task),
                assets_extra={**assets, **{name: str(directory / name) for name in own_assets}},
                checkpoint_path=checkpoint,
            )
            .decode()
        )
        # A server takes the largest number, and clocks may be set back.
        newest = max((int(path.name) for path in _versions(parent)), default=0)
        path = exported.rename(parent / str(max(int(exported.name), newest + 1)))
    logging.info("exported %s to %s", checkpoint, path)
    return str(path)


def _estimator(task: Task, directory: str) -> estimators.Estimator:
    """Estimator that predicts; published checkpoints have no global step to restore."""

    def model_fn(
        features: Mapping[str, tf.Tensor],
        labels: tf.Tensor | None,
        mode: str,
        params: Mapping[str, Any],
    ) -> estimators.EstimatorSpec:
        predictions = build_predictions(task, PORTABLE, features)
        scaffold = tf.train.Scaffold(
            saver=tf.train.Saver(tf.trainable_variables()),
            ready_for_local_init_op=tf.constant([], tf.string),  # no uninitialized variables
            local_init_op=tf.group(
                tf.train.Scaffold.default_local_init_op(),
                tf.train.get_or_create_global_step().initializer,
            ),
        )
        return estimators.EstimatorSpec(mode, predictions=predictions, scaffold=scaffold)

    config = estimators.RunConfig(
        model_dir=directory, session_config=session_config(task.settings, PORTABLE, None)
    )
    return estimators.Estimator(model_fn, config=config)


def _receiver(task: Task) -> estimators.ServingInputReceiver:
    """Make the inputs of a task's exported model."""
    if not task.serves_records:
        return ids_or_examples(MODEL_INPUTS)
    return records(input_fields(task))


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

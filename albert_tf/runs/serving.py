"""Exported models: the inputs of a SavedModel, and the files that it carries beside the graph.

A SavedModel of this project holds in `assets.extra/` all that is needed to make ids of text: the
config, the vocabulary, and the settings that it was trained with.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import tensorflow.compat.v1 as tf

from albert_tf import files
from albert_tf.errors import InputError
from albert_tf.records import datasets
from albert_tf.records.record_files import RecordFields
from albert_tf.runs import model_files

ASSETS = "assets.extra"
SETTINGS_FILE = "settings.json"
EXAMPLES = "examples"  # Estimators make the name of the signature of it: "examples:serving_default"


def ids_or_examples(names: Sequence[str]) -> tf.estimator.export.ServingInputReceiver:
    """The inputs of an exported model that takes ids or serialized `tf.train.Example`s.

    Args:
      names: names of the ids that the model reads.

    Returns:
      The receiver of two signatures: int32 tensors [batch, length] by name; or "input", strings
      [batch], of which each holds lists of any length under these names, shorter ones being padded
      with 0 to the longest.
    """
    serialized = tf.placeholder(tf.string, [None], "serialized_example")
    any_length = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    parsed = tf.io.parse_example(serialized, dict.fromkeys(names, any_length))
    features = {
        name: tf.placeholder_with_default(tf.cast(parsed[name], tf.int32), [None, None], name)
        for name in names
    }
    return tf.estimator.export.ServingInputReceiver(
        features, features, {EXAMPLES: {"input": serialized}}
    )


def records(fields: RecordFields) -> tf.estimator.export.ServingInputReceiver:
    """Inputs of an exported model that takes records.

    Args:
      fields: the fields of a record that the model reads.

    Returns:
      The receiver of one signature: "input", strings [batch], serialized `tf.train.Example`s.
    """
    serialized = tf.placeholder(tf.string, [None], "serialized_example")
    features = datasets.parse_examples(serialized, fields)
    return tf.estimator.export.ServingInputReceiver(features, serialized)


def export(
    estimator: tf.estimator.Estimator,
    export_dir: str,
    receiver: Callable[[], tf.estimator.export.ServingInputReceiver],
    checkpoint: str,
    assets: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str:
    """Export a checkpoint as a SavedModel with all that belongs to it.

    Args:
      estimator: the Estimator.
      export_dir: directory in which a new one is made for the model, named by the time.
      receiver: makes the inputs.
      checkpoint: prefix of the checkpoint.
      assets: paths of files to copy to `assets.extra/`, by the names that they get there.
      settings: what text goes through on its way to the model; JSON values by name.

    Returns:
      Path of the SavedModel.
    """
    with tempfile.TemporaryDirectory() as directory:
        settings_file = Path(directory) / SETTINGS_FILE
        files.write_json(settings_file, dict(settings))
        path = estimator.export_saved_model(
            export_dir,
            receiver,
            assets_extra={**assets, SETTINGS_FILE: str(settings_file)},
            checkpoint_path=checkpoint,
        )
    return path.decode()


def find_saved_model(directory: str) -> str | None:
    """The SavedModel that a directory is, or the latest of those exported to it, if any."""
    exported = [Path(directory)]
    if Path(directory).is_dir():
        exported += sorted((p for p in Path(directory).iterdir() if p.name.isdigit()), reverse=True)
    return next((str(path) for path in exported if (path / "saved_model.pb").is_file()), None)


def settings_of(saved_model: str) -> dict[str, Any]:
    """The settings that a SavedModel was exported with.

    Raises:
      InputError: if it has none.
    """
    path = Path(saved_model) / ASSETS / SETTINGS_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot read the settings of the model: export it again with --export_dir"
        ) from error


def assets_of_model(
    albert_config_file: str, spm_model_file: str | None, vocab_file: str | None
) -> dict[str, str]:
    """The files of a model that go into `assets.extra/`, by their names there."""
    files = {model_files.CONFIG_FILE: albert_config_file}
    if spm_model_file:
        files[model_files.SPM_MODEL_FILE] = spm_model_file
    elif vocab_file:
        files[model_files.VOCAB_FILE] = vocab_file
    return files

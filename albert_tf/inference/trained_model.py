"""Questions to a trained model without a run: the model's files, and what the user types."""

from __future__ import annotations

import logging as python_logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

import tokenization
from albert_tf.cli.settings import settings_of
from albert_tf.export import serving
from albert_tf.graph.model import build_encoder, encoder_shapes, model_inputs
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints, evaluations, model_folder
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT, ModelFiles
from albert_tf.run_dir.run_dir import find_checkpoint
from albert_tf.tasks.base import Task
from modeling import AlbertConfig

# From the model's inputs, by name, to the outputs of its head, [B, ...] by name. The inputs are
# int32 [B, S], or serialized examples [B] for an exported model that takes records.
Scorer = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]

_EXPORT_AGAIN = "export the model again with --export_dir"


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint or an exported model, with what it needs to read text.

    Attributes:
      path: prefix of the checkpoint, or path of the exported model.
      is_exported: whether it is an exported model.
      config: config of the model.
      tokenizer: tokenizer with a SentencePiece model.
      found_settings: settings stored with the model, and thresholds that an evaluation has found to
        be best for a checkpoint, by name.
      settings: these, and over them the settings that the user gave, as the settings class.
    """

    path: str
    is_exported: bool
    config: AlbertConfig
    tokenizer: tokenization.FullTokenizer
    found_settings: Mapping[str, Any]
    settings: Any


def load(
    path: str,
    settings_class: type,
    albert_config_file: str | None = None,
    spm_model_file: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> TrainedModel:
    """Find the files of a model, and read all but the weights.

    Args:
      path: path of a SavedModel or its parent directory, or of a checkpoint or its directory.
      settings_class: dataclass of the settings that are stored with a model or given.
      albert_config_file: config of the model; by default the one next to the checkpoint.
      spm_model_file: SentencePiece model; by default the one next to the checkpoint.
      given: settings that override those of an exported model, by name.

    Raises:
      InputError: if files are missing or do not belong together.
    """
    saved_model = serving.find_saved_model(path)
    if saved_model:
        beside = str(Path(saved_model) / serving.ASSETS / BEST_CHECKPOINT)
        found = model_folder.read_settings(Path(beside).parent, settings_class, _EXPORT_AGAIN)
    else:
        beside = find_checkpoint(path)
        found = evaluations.read_thresholds(beside)
        found.update(model_folder.read_settings(Path(beside).parent, settings_class))
    config_file, spm_model_file = model_folder.beside_checkpoint(
        beside, albert_config_file, spm_model_file
    )
    config = AlbertConfig.from_json_file(config_file)
    settings = {**found, **(given or {})}
    longest = settings.get("max_seq_length", 0)
    if longest > config.max_position_embeddings:
        raise InputError(
            f"--max_seq_length is {longest}, but the model of {config_file} reads at most "
            f"{config.max_position_embeddings} tokens (max_position_embeddings): lower it"
        )
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=spm_model_file)
    model_folder.check_vocabulary(spm_model_file, tokenizer, config_file, config)
    known = {name: settings[name] for name in settings_of(settings_class) if name in settings}
    found_or_given = settings_class(**known)
    path = saved_model or beside
    return TrainedModel(path, bool(saved_model), config, tokenizer, found, found_or_given)


def find_model(directory: str | Path) -> ModelFiles:
    """Find the files of a model in its directory.

    Raises:
      InputError: if a file is missing.
    """
    config, vocabulary, spm_model = model_folder.needed_files(directory)
    return ModelFiles(config, vocabulary, spm_model, find_checkpoint(str(directory)))


def check_model(model: ModelFiles) -> None:
    """Check that the files of a model belong together and that its checkpoint is intact.

    Raises:
      InputError: if files do not belong together, or the checkpoint is damaged.
    """
    config = AlbertConfig.from_json_file(model.albert_config_file)
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=model.spm_model_file)
    model_folder.check_vocabulary(model.spm_model_file, tokenizer, model.albert_config_file, config)
    if tokenization.load_vocab(model.vocab_file) != tokenizer.vocab:
        raise InputError(
            f"{model.vocab_file}: the pieces differ from those of {model.spm_model_file}; give the "
            "two that belong together"
        )
    checkpoints.check_fits(model.checkpoint, encoder_shapes(config), all_needed=True)
    for name in checkpoints.shapes_in(model.checkpoint):
        checkpoints.read_values(model.checkpoint, [name])  # one at a time, to save memory


def saved_model_scorer(path: str) -> Scorer:
    """Load an exported model; the log does not tell that an Estimator's has no fingerprint."""

    def is_other(record: python_logging.LogRecord) -> bool:
        # "Fingerprint not found.", and that the metric of path and fingerprint is not logged.
        return not record.getMessage().endswith("Saved model loading will continue.")

    logger = logging.get_absl_logger()
    logger.addFilter(is_other)
    try:
        model = tf.saved_model.load_v2(path)
    finally:
        logger.removeFilter(is_other)

    def scores(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(values) for name, values in inputs.items()}
        outputs = model.signatures["serving_default"](**tensors)
        return {name: values.numpy() for name, values in outputs.items()}

    return scores


def checkpoint_scorer(task: Task, checkpoint: str) -> Scorer:
    """Build the model of a task, and restore a checkpoint.

    Raises:
      InputError: if the checkpoint is damaged, or lacks variables of the model.
    """
    with tf.Graph().as_default():
        inputs = model_inputs()
        outputs = task.outputs(build_encoder(task, inputs, is_training=False), inputs)
        variables = tf.trainable_variables()
        shapes = {variable.op.name: variable.shape.as_list() for variable in variables}
        checkpoints.check_fits(checkpoint, shapes, all_needed=True)
        session = tf.Session()
        with checkpoints.named_if_damaged(checkpoint):
            tf.train.Saver(variables).restore(session, checkpoint)

    def scores(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return session.run(outputs, {inputs[name]: value for name, value in values.items()})

    return scores


def padded_rows(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, np.ndarray]:
    """Pad input ids and segment ids to the longest row: int32 [B, S] by name of the input."""
    length = max(len(input_ids) for input_ids, _ in rows)
    padded = [tokenization.padded_inputs(*row, length) for row in rows]
    return {name: np.array([row[name] for row in padded], np.int32) for name in padded[0]}


def check_text(flag: str, value: str) -> None:
    """Check that the value of a flag is text; its bytes on a command line may be anything.

    Raises:
      InputError: if it is not UTF-8.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"--{flag} is not UTF-8: {error}; correct its encoding") from error


def read_text(path: str) -> str:
    """Read a text file.

    Args:
      path: path of the file; "-" for standard input.

    Raises:
      InputError: if the file cannot be read, is not UTF-8, or has no text.
    """
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the text: {error.strerror}; correct the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the text is not UTF-8: {error}; convert the file") from error
    if not text.strip():
        raise InputError(f"{path}: the file has no text; give another")
    return text

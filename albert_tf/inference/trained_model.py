"""Questions to a trained model without a run: the model's files, and what the user types."""

from __future__ import annotations

import inspect
import logging as python_logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

import tokenization
from albert_tf.export import serving
from albert_tf.graph.model import encoder_shapes
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints, evaluations, model_folder
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT, ModelFiles
from albert_tf.run_dir.run_dir import find_checkpoint
from modeling import AlbertConfig

_EXPORT_AGAIN = "export the model again with --export_dir"


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint or an exported model, with what it needs to read text.

    Attributes:
      config: config of the model.
      tokenizer: tokenizer with a SentencePiece model.
      checkpoint: prefix of the checkpoint; None for an exported model.
      saved_model: path of the exported model; None for a checkpoint.
      found_settings: settings stored with the model, and numbers that an evaluation has found to
        be best for a checkpoint, by name.
      settings: these, and over them the settings that the user gave.
    """

    config: AlbertConfig
    tokenizer: tokenization.FullTokenizer
    checkpoint: str | None
    saved_model: str | None
    found_settings: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The settings that are keyword-only arguments of a function, by name."""
        parameters = inspect.signature(function).parameters.values()
        names = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY]
        return {name: self.settings[name] for name in names if name in self.settings}


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
      settings_class: dataclass that declares the settings stored with a model.
      albert_config_file: config of the model; by default the one next to the checkpoint.
      spm_model_file: SentencePiece model; by default the one next to the checkpoint.
      given: settings that override those of an exported model, by name.

    Raises:
      InputError: if files are missing or do not belong together.
    """
    saved_model = serving.find_saved_model(path)
    checkpoint: str | None = None
    remedy: str | None = None
    found: dict[str, Any] = {}
    if saved_model:
        beside, remedy = (
            str(Path(saved_model) / serving.ASSETS / BEST_CHECKPOINT),
            _EXPORT_AGAIN,
        )
    else:
        beside = checkpoint = find_checkpoint(path)
        found = evaluations.read_thresholds(checkpoint)
    folder = Path(beside).parent
    found = {**found, **model_folder.read_settings(folder, settings_class, remedy)}
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
    return TrainedModel(config, tokenizer, checkpoint, saved_model, found, settings)


def find_model(directory: str | Path) -> ModelFiles:
    """Find the files of a model in its folder.

    Raises:
      InputError: if a file is missing.
    """
    config, vocabulary, spm_model = model_folder.needed_files(directory)
    checkpoint = find_checkpoint(str(directory))
    return ModelFiles(config, vocabulary, spm_model, checkpoint)


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


def load_saved_model(path: str) -> Any:
    """Load an exported model; the log does not tell that an Estimator's has no fingerprint."""

    def is_other(record: python_logging.LogRecord) -> bool:
        # "Fingerprint not found.", and that the metric of path and fingerprint is not logged.
        return not record.getMessage().endswith("Saved model loading will continue.")

    logger = logging.get_absl_logger()
    logger.addFilter(is_other)
    try:
        return tf.saved_model.load_v2(path)
    finally:
        logger.removeFilter(is_other)


def restored_session(checkpoint: str) -> tf.Session:
    """Open a session on the default graph, with the variables of a checkpoint.

    Raises:
      InputError: if the checkpoint is damaged, or lacks variables of the graph.
    """
    variables = tf.trainable_variables()
    shapes = {variable.op.name: variable.shape.as_list() for variable in variables}
    checkpoints.check_fits(checkpoint, shapes, all_needed=True)
    session = tf.Session()
    with checkpoints.named_if_damaged(checkpoint):
        tf.train.Saver(variables).restore(session, checkpoint)
    return session


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

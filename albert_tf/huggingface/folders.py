"""Lossless conversion of checkpoints to and from directories of transformers.

A directory in the format of transformers holds `config.json`, `model.safetensors`, `spiece.model`
and, if the package `tokenizers` is installed, `tokenizer.json`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Sequence

from absl import logging

import tokenization
from albert_tf.graph.model import encoder_shapes
from albert_tf.huggingface import configs, model_card, weights
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints, model_folder
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT, ModelFiles
from modeling import AlbertConfig

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
SPM_MODEL_FILE = "spiece.model"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"


def write_huggingface(
    directory: str,
    config_file: str,
    spm_model_file: str,
    checkpoint: str,
    do_lower_case: bool = True,
    labels: Sequence[str] = (),
    is_multiple_choice: bool = False,
) -> str:
    """Convert a checkpoint to a directory for transformers.

    Example:

      model = "albert_base_v2"
      write_huggingface(
          "albert_base_v2_hf",
          config_file=f"{model}/albert_config.json",
          spm_model_file=f"{model}/30k-clean.model",
          checkpoint=f"{model}/model.ckpt-best",
      )  # "AlbertForPreTraining"

    Args:
      directory: path of the new directory.
      config_file: path of the model's config.
      spm_model_file: path of the SentencePiece model.
      checkpoint: prefix of the checkpoint, with any head.
      do_lower_case: whether the tokenizer lower-cases its text.
      labels: names of a classifier's labels, in the order of its outputs.
      is_multiple_choice: whether the head scores options, as in RACE. Its variables are those of a
        regression.

    Returns:
      Name of the matching class of transformers, such as "AlbertForQuestionAnswering".

    Raises:
      InputError: if the files do not match each other, or `directory` already exists.
    """
    config = AlbertConfig.from_json_file(config_file)
    configs.check_groups(config)
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=spm_model_file)
    model_folder.check_vocabulary(spm_model_file, tokenizer, config_file, config)
    checkpoints.check_fits(checkpoint, encoder_shapes(config), all_needed=True)
    values = checkpoints.read_values(checkpoint, checkpoints.model_shapes_in(checkpoint))
    tensors = weights.to_tensors(values, config, checkpoint)
    if is_multiple_choice and len(tensors.get(weights.CLASSIFIER[0].theirs, ())) != 1:
        raise InputError(
            f"{checkpoint}: no head of multiple choice: output_weights must have one row; give a "
            "checkpoint of run_race.py, or another --task_name"
        )
    their_config = configs.their_config(config, tensors, tokenizer, labels, is_multiple_choice)
    (architecture,) = their_config["architectures"]
    tokenizer_json = _tokenizer_json(spm_model_file, do_lower_case)
    tokenizer_config = configs.tokenizer_config(
        tokenizer, do_lower_case, config.max_position_embeddings, is_fast=tokenizer_json is not None
    )
    num_parameters = sum(value.size for value in values.values())
    name = Path(directory).name
    card = model_card.model_card(name, architecture, checkpoint, num_parameters, labels)
    with files.atomic_directory(directory) as temporary:
        files.write_json(temporary / CONFIG_FILE, their_config, indent=2)
        weights.write_tensors(temporary / WEIGHTS_FILE, tensors)
        shutil.copyfile(spm_model_file, temporary / SPM_MODEL_FILE)
        if tokenizer_json:
            files.write_text(temporary / TOKENIZER_FILE, tokenizer_json)
        files.write_json(temporary / TOKENIZER_CONFIG_FILE, tokenizer_config, indent=2)
        files.write_text(temporary / model_card.NAME, card)
    return architecture


def _tokenizer_json(spm_model_file: str, do_lower_case: bool) -> str | None:
    """Contents of `tokenizer.json`; None, with a warning, if it cannot be written."""
    try:
        from albert_tf.huggingface import fast_tokenizer  # imports the package tokenizers
    except ImportError as error:
        reason = f"{error}; pip install -r requirements-convert.txt and convert again"
    else:
        tokenizer = fast_tokenizer.from_sentencepiece(spm_model_file, do_lower_case)
        if tokenizer is not None:
            return tokenizer.to_str()
        reason = f"{spm_model_file} is neither a unigram nor a BPE model"
    logging.warning(
        "%s is left out: %s. Without this file transformers needs sentencepiece and protobuf, and "
        "splits some words differently",
        TOKENIZER_FILE,
        reason,
    )
    return None


def read_huggingface(huggingface_dir: str, directory: str) -> ModelFiles:
    """Convert a directory of transformers to a model directory, laid out like the published models.

    Example:

      model = read_huggingface("albert_base_v2_hf", "albert_base_v2_copy")
      print(model.checkpoint)  # albert_base_v2_copy/model.ckpt-best

    Args:
      huggingface_dir: path of the directory with `config.json`, `model.safetensors` and
        `spiece.model`.
      directory: path of the new directory.

    Returns:
      Paths of the model's files.

    Raises:
      InputError: if a file is missing, the model is not a supported ALBERT, or `directory` already
        exists.
    """
    source = Path(huggingface_dir)
    config = configs.read_their_config(source / CONFIG_FILE)
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=str(source / SPM_MODEL_FILE))
    assert tokenizer.sp_model is not None
    model_folder.check_vocabulary(
        str(source / SPM_MODEL_FILE), tokenizer, str(source / CONFIG_FILE), config
    )
    weights_file = source / WEIGHTS_FILE
    values = weights.to_values(weights.read_tensors(weights_file), config, str(weights_file))
    with files.atomic_directory(directory) as temporary:
        checkpoints.write_values(str(temporary / BEST_CHECKPOINT), values)
        files.write_text(temporary / model_folder.CONFIG_FILE, config.to_json_string())
        shutil.copyfile(source / SPM_MODEL_FILE, temporary / model_folder.SPM_MODEL_FILE)
        vocabulary = model_folder.vocabulary_text(tokenizer.sp_model)
        files.write_text(temporary / model_folder.VOCAB_FILE, vocabulary)
    checkpoint = str(Path(directory) / BEST_CHECKPOINT)
    config_file, vocabulary, spm_model = model_folder.needed_files(directory)
    return ModelFiles(config_file, vocabulary, spm_model, checkpoint)

"""Files of a model: config, vocabulary, SentencePiece model and checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import sentencepiece
import tensorflow.compat.v1 as tf

import tokenization
from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError
from albert_tf.nn.config import AlbertConfig
from albert_tf.run_dir import checkpoints, model_folder
from albert_tf.run_dir.model_folder import (
    CONFIG_FILE,
    SETTINGS_FILE,
    SETTINGS_FORMAT,
    SPM_MODEL_FILE,
    VOCAB_FILE,
    ModelFiles,
    named_files,
)
from albert_tf.tasks.options import TextSettings
from modeling import AlbertModel


def find_model(directory: str | Path) -> ModelFiles:
    """Find the files of a model in its folder.

    Raises:
      InputError: if a file is missing.
    """
    config, vocabulary, spm_model = model_folder.needed_files(directory)
    checkpoint = checkpoints.find_checkpoint(str(directory))
    return ModelFiles(config, vocabulary, spm_model, checkpoint)


def beside_checkpoint(
    checkpoint: str, albert_config_file: str | None, spm_model_file: str | None
) -> tuple[str, str]:
    """Find the config and the SentencePiece model of a checkpoint.

    Args:
      checkpoint: prefix of the checkpoint.
      albert_config_file: path of the config; by default the one next to the checkpoint.
      spm_model_file: path of the SentencePiece model; by default the one next to the checkpoint.

    Returns:
      Paths of the config and of the SentencePiece model.

    Raises:
      InputError: if a file does not exist.
    """
    paths = {
        "albert_config_file": albert_config_file or Path(checkpoint).with_name(CONFIG_FILE),
        "spm_model_file": spm_model_file or Path(checkpoint).with_name(SPM_MODEL_FILE),
    }
    for flag, path in paths.items():
        if not Path(path).is_file():
            raise InputError(f"{path}: the file is missing; give --{flag}")
    return str(paths["albert_config_file"]), str(paths["spm_model_file"])


def load_tokenizer(
    settings: TextSettings, needed_pieces: Sequence[str] = ("[CLS]", "[SEP]")
) -> tokenization.FullTokenizer:
    """Load the tokenizer named by settings.

    Args:
      settings: settings with the files and the case of the tokenizer.
      needed_pieces: pieces required in the vocabulary.

    Raises:
      InputError: if the vocabulary is missing, or lacks a required piece.
    """
    tokenizer = tokenization.FullTokenizer(
        settings.vocab_file, settings.do_lower_case, settings.spm_model_file
    )
    _check_pieces(settings.vocabulary, tokenizer, needed_pieces)
    return tokenizer


def _check_pieces(
    vocabulary: str | None, tokenizer: tokenization.FullTokenizer, needed_pieces: Sequence[str]
) -> None:
    if not tokenizer.sp_model:
        needed_pieces = [*needed_pieces, tokenization.UNKNOWN_TOKEN]
    missing = [piece for piece in needed_pieces if piece not in tokenizer.vocab]
    if missing:
        raise InputError(
            f"{vocabulary}: the vocabulary has no {', '.join(missing)}; give the one that comes "
            "with the model"
        )


def check_vocabulary(
    vocabulary: str | None,
    tokenizer: tokenization.FullTokenizer,
    config_file: str | None,
    config: AlbertConfig | None,
) -> None:
    """Check that a vocabulary has the special pieces of a model and the size in its config.

    Args:
      vocabulary: path of the SentencePiece model or vocabulary.
      tokenizer: tokenizer with that vocabulary.
      config_file: path of the model's config.
      config: config of the model; None if it could not be read.

    Raises:
      InputError: if the vocabulary does not belong to the model.
    """
    _check_pieces(vocabulary, tokenizer, ("[CLS]", "[SEP]"))
    if config and len(tokenizer.vocab) != config.vocab_size:
        raise InputError(
            f"{vocabulary}: the vocabulary has {len(tokenizer.vocab)} pieces, but {config_file} "
            f"has vocab_size {config.vocab_size}; give the two that belong together"
        )


def vocabulary_text(sp_model: sentencepiece.SentencePieceProcessor) -> str:
    """Pieces of a SentencePiece model with their scores, one per line."""
    pieces = range(sp_model.get_piece_size())
    return "".join(f"{sp_model.id_to_piece(i)}\t{sp_model.get_score(i):g}\n" for i in pieces)


def write_folder(
    directory: str,
    albert_config_file: str,
    tokenizer: tokenization.FullTokenizer | None,
    spm_model_file: str | None,
    vocab_file: str | None,
    settings: Mapping[str, Any],
) -> None:
    """Make a directory with checkpoints the folder of a model.

    Files that have the right content stay as they are.

    Args:
      directory: an existing directory.
      albert_config_file: path of the model's config.
      tokenizer: tokenizer of the model; None without a vocabulary.
      spm_model_file: path of the SentencePiece model, if any.
      vocab_file: path of the vocabulary, for a model without a SentencePiece model.
      settings: settings of the text and the task, JSON values by name.
    """
    paths = named_files(albert_config_file, spm_model_file, vocab_file)
    contents = {name: Path(path).read_bytes() for name, path in paths.items()}
    if tokenizer and tokenizer.sp_model:
        contents[VOCAB_FILE] = vocabulary_text(tokenizer.sp_model).encode()
    contents[SETTINGS_FILE] = json_files.encoded(json_files.versioned(SETTINGS_FORMAT, settings))
    for name, content in contents.items():
        path = Path(directory) / name
        if not path.is_file() or path.read_bytes() != content:
            with files.atomic_file(path) as temporary:
                temporary.write_bytes(content)


def check_model(model: ModelFiles) -> None:
    """Check that the files of a model belong together and that its checkpoint is intact.

    Raises:
      InputError: if files do not belong together, or the checkpoint is damaged.
    """
    config = AlbertConfig.from_json_file(model.albert_config_file)
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=model.spm_model_file)
    check_vocabulary(model.spm_model_file, tokenizer, model.albert_config_file, config)
    if tokenization.load_vocab(model.vocab_file) != tokenizer.vocab:
        raise InputError(
            f"{model.vocab_file}: the pieces differ from those of {model.spm_model_file}; give the "
            "two that belong together"
        )
    checkpoints.check_fits(model.checkpoint, encoder_shapes(config), all_needed=True)
    for name in checkpoints.shapes_in(model.checkpoint):
        checkpoints.read_values(model.checkpoint, [name])  # one at a time, to save memory


def encoder_shapes(config: AlbertConfig) -> dict[str, list[int]]:
    """Shapes of the encoder's variables, by name."""
    with tf.Graph().as_default():
        AlbertModel(config, False, tf.placeholder(tf.int32, [None, None]))
        return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}

"""Directory of a model: config, vocabulary, settings and artifacts, from which flags get defaults.

The output directory of a training is such a directory, and so is that of a published model, which
has no settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import sentencepiece

import tokenization
from albert_tf.cli.settings import settings_of
from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError

if TYPE_CHECKING:
    from albert_tf.nn.config import AlbertConfig  # imports TensorFlow, which `--help` does without

BEST_CHECKPOINT = "model.ckpt-best"
CONFIG_FILE = "albert_config.json"
SPM_MODEL_FILE = "30k-clean.model"
VOCAB_FILE = "30k-clean.vocab"
SETTINGS_FILE = "settings.json"
_FORMAT = 1  # of the settings and of artifacts

_FLAGS = {
    "albert_config_file": CONFIG_FILE,
    "spm_model_file": SPM_MODEL_FILE,
    "vocab_file": VOCAB_FILE,
}
_CHECKPOINTS = "model.ckpt-*.index"
_TEXT_SETTINGS = ("do_lower_case",)  # of the model, whatever it is trained for next


@dataclass(frozen=True)
class ModelFiles:
    """Paths of the files of a model.

    Attributes:
      albert_config_file: path of the JSON config.
      vocab_file: path of the vocabulary: one piece and its score per line.
      spm_model_file: path of the SentencePiece model.
      checkpoint: prefix of the checkpoint.
    """

    albert_config_file: str
    vocab_file: str
    spm_model_file: str
    checkpoint: str

    def as_flags(self) -> list[str]:
        """Flags for a script to start from the model."""
        return [
            f"--albert_config_file={self.albert_config_file}",
            f"--vocab_file={self.vocab_file}",
            f"--spm_model_file={self.spm_model_file}",
            f"--init_checkpoint={self.checkpoint}",
        ]


def needed_files(directory: str | Path) -> list[str]:
    """Paths of config, vocabulary and SentencePiece model in the directory of a model.

    Raises:
      InputError: if a file is missing.
    """
    paths = [Path(directory) / name for name in (CONFIG_FILE, VOCAB_FILE, SPM_MODEL_FILE)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{directory}: {', '.join(missing)} is missing; give the directory of a complete model"
        )
    return [str(path) for path in paths]


def named_files(
    albert_config_file: str, spm_model_file: str | None, vocab_file: str | None
) -> dict[str, str]:
    """Paths of a model's files, by their names in its directory."""
    paths = {CONFIG_FILE: albert_config_file}
    if spm_model_file:
        paths[SPM_MODEL_FILE] = spm_model_file
    elif vocab_file:
        paths[VOCAB_FILE] = vocab_file
    return paths


def defaults(settings_class: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the flags that are not given, from the directory of the model that flags name.

    That is `output_dir` if it has a model, and else the directory of `init_checkpoint`. Training
    takes its files and the case of its text from there; prediction takes all settings.

    Args:
      settings_class: dataclass of the script's settings.
      given: values of the flags that are given, by name.

    Returns:
      Values by name, for fields of `settings_class`.

    Raises:
      InputError: if the settings in the directory are damaged.
    """
    settings = settings_of(settings_class)
    values = {**{name: setting.default for name, setting in settings.items()}, **given}
    directory = _directory_of(values)
    if directory is None:
        return {}
    found = {**_files_in(directory, given), **read_settings(directory, settings_class)}
    if values.get("do_train"):
        found = {name: found[name] for name in found if name in _FLAGS or name in _TEXT_SETTINGS}
    return {name: found[name] for name in found if name in values and name not in given}


def has_checkpoints(directory: str | Path | None) -> bool:
    """Whether a directory has checkpoints of a training run, complete or not."""
    return any(Path(directory).glob(_CHECKPOINTS)) if directory else False


def _directory_of(values: Mapping[str, Any]) -> Path | None:
    """Folder of the model to start from or to predict with; None if there is none."""
    output_dir, checkpoint = (values.get(name) for name in ("output_dir", "init_checkpoint"))
    if output_dir and has_checkpoints(output_dir) and _is_model(output_dir):
        return Path(output_dir)
    if checkpoint:
        directory = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
        return directory if _is_model(directory) else None
    return None


def _is_model(directory: str | Path) -> bool:
    return (Path(directory) / CONFIG_FILE).is_file()


def _files_in(directory: Path, given: Mapping[str, Any]) -> dict[str, str]:
    """Paths of the files in a directory, by flag; without vocabularies if one is given."""
    flags = _FLAGS
    if given.get("spm_model_file") or given.get("vocab_file"):
        flags = {"albert_config_file": CONFIG_FILE}
    paths = {flag: directory / name for flag, name in flags.items()}
    return {flag: str(path) for flag, path in paths.items() if path.is_file()}


def read_settings(
    directory: str | Path, settings_class: type, remedy: str | None = None
) -> dict[str, Any]:
    """Read the settings of a model, and check them like flags.

    Args:
      directory: directory of the model.
      settings_class: dataclass that declares the settings; others, and paths, are ignored.
      remedy: remedy for damaged settings, which must not be missing; None if they may be.

    Returns:
      Values by name.

    Raises:
      InputError: if the settings are missing but needed, not a JSON object, or out of bounds.
    """
    path = Path(directory) / SETTINGS_FILE
    if remedy is None and not path.exists():
        return {}
    content = json_files.read(
        path, "the model's settings", remedy or "remove it, and give the settings as flags", _FORMAT
    )
    known = {
        name: setting
        for name, setting in settings_of(settings_class).items()
        if name in content and not setting.declaration.path
    }
    for name, setting in known.items():
        value = content.values[name]
        if not setting.allows(value):
            raise content.error(f"{name} is {json_files.shown(value)}, not {setting.valid_values}")
    return {name: content.values[name] for name in known}


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
    vocab_file: str | None,
    spm_model_file: str | None,
    do_lower_case: bool,
    needed_pieces: Sequence[str] = ("[CLS]", "[SEP]"),
) -> tokenization.FullTokenizer:
    """Load a tokenizer.

    Args:
      vocab_file: path of the vocabulary.
      spm_model_file: path of the SentencePiece model, which comes before the vocabulary.
      do_lower_case: whether to lower-case text.
      needed_pieces: pieces required in the vocabulary.

    Raises:
      InputError: if the vocabulary is missing, or lacks a required piece.
    """
    tokenizer = tokenization.FullTokenizer(vocab_file, do_lower_case, spm_model_file)
    _check_pieces(spm_model_file or vocab_file, tokenizer, needed_pieces)
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


def write(
    directory: str | Path,
    paths: Mapping[str, str],
    tokenizer: tokenization.FullTokenizer | None,
    settings: Mapping[str, Any],
    artifacts: Mapping[str, Mapping[str, Any]],
) -> None:
    """Put the files of a model beside its checkpoints, so that the directory is complete.

    Files that have the right content stay as they are.

    Args:
      directory: an existing directory.
      paths: paths of config and vocabulary, by their names; see `named_files`.
      tokenizer: tokenizer of the model; None without a vocabulary.
      settings: settings of the text and the task, JSON values by name.
      artifacts: further JSON objects to keep with the model, by file name.
    """
    contents = {name: Path(path).read_bytes() for name, path in paths.items()}
    if tokenizer and tokenizer.sp_model:
        contents[VOCAB_FILE] = vocabulary_text(tokenizer.sp_model).encode()
    for name, value in json_contents(settings, artifacts).items():
        contents[name] = json_files.encoded(value)
    for name, content in contents.items():
        files.update(Path(directory) / name, content)


def json_contents(
    settings: Mapping[str, Any], artifacts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """JSON values of the files with the settings and the artifacts of a model, by name."""
    values = {SETTINGS_FILE: settings, **artifacts}
    return {name: json_files.versioned(_FORMAT, value) for name, value in values.items()}


def read_artifacts(directory: str | Path, names: Sequence[str]) -> dict[str, json_files.JsonObject]:
    """Read the JSON files that a task keeps with its model.

    Args:
      directory: directory of a checkpoint, or of the extra files of an exported model.
      names: names of the files.

    Returns:
      JSON objects by file name, as far as the files are there.

    Raises:
      InputError: if a file is not JSON with an object, or of another format.
    """
    remedy = "copy the file again from the directory of the training"
    artifacts = {}
    for name in names:
        path = Path(directory) / name
        if path.exists():
            artifacts[name] = json_files.read(path, "the file kept with the model", remedy, _FORMAT)
    return artifacts

"""The folder of a model: its files and settings, which flags that are not given come from.

The output directory of a training run is such a folder, and so is that of a published model, which
has no settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from albert_tf.cli.settings import settings_of
from albert_tf.io import json_files
from albert_tf.io.errors import InputError

BEST_CHECKPOINT = "model.ckpt-best"
CONFIG_FILE = "albert_config.json"
SPM_MODEL_FILE = "30k-clean.model"
VOCAB_FILE = "30k-clean.vocab"
SETTINGS_FILE = "settings.json"
SETTINGS_FORMAT = 1

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
    """Paths of config, vocabulary and SentencePiece model in the folder of a model.

    Raises:
      InputError: if a file is missing.
    """
    paths = [Path(directory) / name for name in (CONFIG_FILE, VOCAB_FILE, SPM_MODEL_FILE)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{directory}: {', '.join(missing)} is missing; give the folder of a complete model"
        )
    return [str(path) for path in paths]


def named_files(
    albert_config_file: str, spm_model_file: str | None, vocab_file: str | None
) -> dict[str, str]:
    """Paths of a model's files, by their names in its folder."""
    paths = {CONFIG_FILE: albert_config_file}
    if spm_model_file:
        paths[SPM_MODEL_FILE] = spm_model_file
    elif vocab_file:
        paths[VOCAB_FILE] = vocab_file
    return paths


def defaults(settings_class: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the flags that are not given, from the folder of the model that flags name.

    That is `output_dir` if it is the folder of a model, and else the folder of `init_checkpoint`.
    Training takes its files and the case of its text from there; prediction takes all settings.

    Args:
      settings_class: dataclass of the script's settings.
      given: values of the flags that are given, by name.

    Returns:
      Values by name, for fields of `settings_class`.

    Raises:
      InputError: if the settings in the folder are damaged.
    """
    settings = settings_of(settings_class)
    values = {**{name: setting.default for name, setting in settings.items()}, **given}
    folder = _folder_of(values)
    if folder is None:
        return {}
    found = {**_files_in(folder, given), **read_settings(folder, settings_class)}
    if values.get("do_train"):
        found = {name: found[name] for name in found if name in _FLAGS or name in _TEXT_SETTINGS}
    return {name: found[name] for name in found if name in values and name not in given}


def has_checkpoints(directory: str | None) -> bool:
    """Whether a directory has checkpoints of a training run, complete or not."""
    return any(Path(directory).glob(_CHECKPOINTS)) if directory else False


def _folder_of(values: Mapping[str, Any]) -> Path | None:
    """Folder of the model to start from or to predict with; None if there is none."""
    output_dir, checkpoint = (values.get(name) for name in ("output_dir", "init_checkpoint"))
    if output_dir and has_checkpoints(output_dir) and _is_folder(output_dir):
        return Path(output_dir)
    if checkpoint:
        folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
        return folder if _is_folder(folder) else None
    return None


def _is_folder(directory: str | Path) -> bool:
    return (Path(directory) / CONFIG_FILE).is_file()


def _files_in(folder: Path, given: Mapping[str, Any]) -> dict[str, str]:
    """Paths of the files in a folder, by flag; without vocabularies if one is given."""
    flags = _FLAGS
    if given.get("spm_model_file") or given.get("vocab_file"):
        flags = {"albert_config_file": CONFIG_FILE}
    paths = {flag: folder / name for flag, name in flags.items()}
    return {flag: str(path) for flag, path in paths.items() if path.is_file()}


def read_settings(
    folder: str | Path, settings_class: type, remedy: str | None = None
) -> dict[str, Any]:
    """Read the settings of a model, and check them like flags.

    Args:
      folder: folder of the model.
      settings_class: dataclass that declares the settings; others, and paths, are ignored.
      remedy: remedy for damaged settings, which must not be missing; None if they may be.

    Returns:
      Values by name.

    Raises:
      InputError: if the settings are missing but needed, not a JSON object, or out of bounds.
    """
    path = Path(folder) / SETTINGS_FILE
    if remedy is None and not path.exists():
        return {}
    content = json_files.read(
        path, "the model's settings", remedy or "remove it, and give the settings as flags"
    )
    content.check_format(SETTINGS_FORMAT)
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

"""Converts models between TensorFlow checkpoints and the format of Hugging Face's transformers.

--huggingface_dir is converted to a TensorFlow checkpoint, --init_checkpoint to a directory for
transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional

from absl import logging

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.cli.paths import CHECKPOINT_PATH
from albert_tf.cli.settings import path_setting, setting
from albert_tf.io.errors import InputError
from albert_tf.run_dir import model_folder
from albert_tf.tasks.custom.labels import LABELS_FILE, read_labels
from albert_tf.tasks.custom.settings import TASK_NAME as CUSTOM
from albert_tf.tasks.glue.data import find_task

_RACE = "race"


@dataclass(frozen=True)
class Settings:
    """The model to convert, and the output folder."""

    huggingface_dir: Optional[str] = path_setting(
        "Directory of a transformers model to convert.", must_exist=True
    )
    init_checkpoint: Optional[str] = path_setting(
        "Checkpoint to convert: a prefix, one of its files, or a directory (model.ckpt-best in it, "
        "or else the latest).",
        kind=CHECKPOINT_PATH,
        must_exist=True,
    )
    albert_config_file: Optional[str] = path_setting(
        "Config of the checkpoint. Default: albert_config.json next to the checkpoint.",
        must_exist=True,
    )
    spm_model_file: Optional[str] = path_setting(
        "SentencePiece model. Default: 30k-clean.model next to the checkpoint.", must_exist=True
    )
    do_lower_case: bool = setting(True, "Whether the tokenizer of transformers lower-cases text.")
    task_name: Optional[str] = setting(
        None,
        "GLUE task of a classifier, for the names of its labels in config.json; race for a model "
        "of run_race.py. Labels of own data are in the model's folder.",
    )
    output_dir: Optional[str] = path_setting("Folder to create.", kind=CHECKPOINT_PATH)

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the flags that are not given, from the folder of the checkpoint."""
        return model_folder.defaults(cls, {**given, "output_dir": None})


def main(settings: Settings) -> None:
    """Convert the model, and print how to load the result."""
    if bool(settings.huggingface_dir) == bool(settings.init_checkpoint):
        raise InputError(
            "give either --huggingface_dir, to make a TensorFlow checkpoint, or --init_checkpoint, "
            "to make a folder for transformers"
        )
    if not settings.output_dir:
        raise InputError("--output_dir is missing: give a folder to create")
    load_tensorflow()
    if settings.huggingface_dir:
        from albert_tf.huggingface import folders

        model = folders.read_huggingface(settings.huggingface_dir, settings.output_dir)
        print("\n".join(model.as_flags()))
    elif settings.init_checkpoint:
        _to_huggingface(settings, settings.init_checkpoint, settings.output_dir)


def _labels(task_name: str | None, folder: Path) -> tuple[str, ...]:
    """Labels of a GLUE task, or else the labels that are kept with a model of custom data."""
    if task_name and task_name.lower() not in (_RACE, CUSTOM):
        return find_task(task_name).labels
    labels = read_labels(model_folder.read_artifacts(folder, [LABELS_FILE]))
    return labels.names if labels else ()


def _to_huggingface(settings: Settings, init_checkpoint: str, output_dir: str) -> None:
    from albert_tf.huggingface import folders
    from albert_tf.run_dir.run_dir import find_checkpoint

    checkpoint = find_checkpoint(init_checkpoint)
    config_file, spm_model_file = model_folder.beside_checkpoint(
        checkpoint, settings.albert_config_file, settings.spm_model_file
    )
    architecture = folders.write_huggingface(
        output_dir,
        config_file,
        spm_model_file,
        checkpoint,
        settings.do_lower_case,
        labels=_labels(settings.task_name, Path(checkpoint).parent),
        is_multiple_choice=(settings.task_name or "").lower() == _RACE,
    )
    logging.info("converted %s to %s", checkpoint, output_dir)
    print(f'transformers.{architecture}.from_pretrained("{output_dir}")')


if __name__ == "__main__":
    launch(main, Settings)

"""Settings of `run_race.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_tf.classification.settings import ClassificationSettings
from albert_tf.race.data import LEVELS
from albert_tf.runs.settings import (
    EVALUATION,
    FILES,
    HIDDEN,
    LONGEST_SEQUENCE,
    TEXT,
    TRAINING,
    TextSettings,
    path_setting,
    setting,
)


@dataclass(frozen=True)
class ChoiceSettings(TextSettings):
    """Vocabulary, and maximum lengths of the text and of a question with an option."""

    HELP_GROUPS: ClassVar = {TEXT: ("max_qa_length",)}

    max_qa_length: int = setting(
        128,
        "Maximum length of question and option together, in pieces; of longer ones the last "
        "pieces are kept.",
        lower=1,
        upper=LONGEST_SEQUENCE,
    )


@dataclass(frozen=True)
class RaceSettings(ChoiceSettings, ClassificationSettings):
    """Articles, record files and length of training."""

    WITHOUT_INFLUENCE: ClassVar = (
        "data_dir",
        "task_name",
        "train_file",
        "eval_file",
        "predict_file",
    )
    HELP_GROUPS: ClassVar = {
        HIDDEN: ("task_name",),
        FILES: ("data_dir", "high_only", "middle_only"),
        TRAINING: ("train_file", "dropout_prob"),
        EVALUATION: ("eval_file", "predict_file"),
    }

    data_dir: str | None = path_setting("Folder RACE, or its parent folder.")
    task_name: str = setting(
        "race", "Accepted so that existing commands run.", choices=("race", "RACE")
    )
    train_file: str | None = path_setting(
        "Record file of the training set, made if missing. Default: race_train.tf_record in "
        "cached_dir."
    )
    eval_file: str | None = path_setting(
        "Record file of the dev set, made if missing. Default: race_eval.tf_record in cached_dir."
    )
    predict_file: str | None = path_setting(
        "Record file of the test set, made if missing. Default: race_predict.tf_record in "
        "cached_dir."
    )
    high_only: bool = setting(False, "Whether to use the questions for high schools only.")
    middle_only: bool = setting(False, "Whether to use the questions for middle schools only.")
    dropout_prob: float = setting(
        0.1, "Dropout of the head, in training.", upper=1, excludes_upper=True
    )
    do_train: bool = True
    do_eval: bool = True
    learning_rate: float = 1e-5
    train_step: int = 12000
    warmup_step: int = 1000
    save_checkpoints_steps: int = 100

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels of the questions to use: some of `LEVELS`."""
        if self.high_only or self.middle_only:
            return ("high",) if self.high_only else ("middle",)
        return LEVELS

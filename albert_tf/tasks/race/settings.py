"""Settings of `run_race.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.settings import (
    LONGEST_SEQUENCE,
    Group,
    path_setting,
    setting,
    text_setting,
    training_setting,
)
from albert_tf.tasks.classification.settings import ClassificationSettings
from albert_tf.tasks.options import TextSettings
from albert_tf.tasks.race.data import LEVELS


@dataclass(frozen=True)
class ChoiceSettings(TextSettings):
    """Vocabulary, and maximum lengths of the text and of a question with an option."""

    max_qa_length: int = text_setting(
        128,
        "Maximum length of question and option together, in tokens; the last tokens of longer ones "
        "are kept.",
        lower=1,
        upper=LONGEST_SEQUENCE,
    )


@dataclass(frozen=True)
class RaceSettings(ChoiceSettings, ClassificationSettings):
    """Articles, record files and length of training."""

    task_name: str = setting(
        "race",
        "Accepted for existing commands; without effect.",
        choices=("race", "RACE"),
        group=Group.HIDDEN,
        affects_training=False,
        affects_records=True,
    )
    data_dir: Optional[str] = path_setting(
        "Directory RACE, or its parent directory.", must_exist=True
    )
    high_only: bool = setting(
        False, "Whether to use the questions for high schools only.", group=Group.FILES
    )
    middle_only: bool = setting(
        False, "Whether to use the questions for middle schools only.", group=Group.FILES
    )
    train_file: Optional[str] = path_setting(
        "Record file of the training set, written if missing. Default: race_train.tf_record in "
        "cached_dir.",
        group=Group.TRAINING,
    )
    dropout_prob: float = training_setting(
        0.1, "Dropout of the head, in training.", upper=1, excludes_upper=True
    )
    eval_file: Optional[str] = path_setting(
        "Record file of the dev set, written if missing. Default: race_eval.tf_record in "
        "cached_dir.",
        group=Group.EVALUATION,
    )
    predict_file: Optional[str] = path_setting(
        "Record file of the test set, written if missing. Default: race_predict.tf_record in "
        "cached_dir.",
        group=Group.EVALUATION,
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

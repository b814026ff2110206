"""Settings of the tasks that predict a label or a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.settings import LARGEST_BATCH, Group, path_setting, setting
from albert_tf.tasks.options import RunSettings

_LARGEST_THRESHOLD = 1e30  # well within float32


@dataclass(frozen=True)
class ClassificationSettings(RunSettings):
    """Splits to work on, length of training, and export."""

    cached_dir: Optional[str] = path_setting("Directory of the record files. Default: output_dir.")
    num_train_epochs: Optional[float] = setting(
        None,
        "Number of training epochs; replaces train_step.",
        upper=1_000_000,
        excludes_lower=True,
        group=Group.TRAINING,
    )
    train_step: int = setting(1000, "Number of training steps.", lower=1, group=Group.TRAINING)
    warmup_proportion: Optional[float] = setting(
        None,
        "Fraction of the steps used to warm up the learning rate; replaces warmup_step.",
        upper=1,
        group=Group.TRAINING,
    )
    warmup_step: int = setting(
        0, "Number of warm-up steps of the learning rate.", group=Group.TRAINING
    )
    optimizer: str = setting("adamw", "Optimizer.", choices=("adamw", "lamb"), group=Group.TRAINING)
    do_eval: bool = setting(
        False,
        "Whether to evaluate the checkpoints on the dev set.",
        group=Group.EVALUATION,
        affects_training=False,
    )
    do_predict: bool = setting(
        False, "Whether to predict the test set.", group=Group.EVALUATION, affects_training=False
    )
    eval_batch_size: int = setting(
        8,
        "Rows in an evaluation batch.",
        lower=1,
        upper=LARGEST_BATCH,
        group=Group.EVALUATION,
        affects_training=False,
    )
    predict_batch_size: int = setting(
        8,
        "Rows in a prediction batch.",
        lower=1,
        upper=LARGEST_BATCH,
        group=Group.EVALUATION,
        affects_training=False,
    )
    threshold_to_export: Optional[float] = setting(
        None,
        "Decision threshold for the exported model to return with its outputs.",
        lower=-_LARGEST_THRESHOLD,
        upper=_LARGEST_THRESHOLD,
        group=Group.EVALUATION,
        affects_training=False,
    )

    @property
    def wanted_splits(self) -> list[str]:
        """Splits to work on: some of "train", "dev" and "test"."""
        splits = {"train": self.do_train, "dev": self.do_eval, "test": self.do_predict}
        return [split for split, is_wanted in splits.items() if is_wanted]

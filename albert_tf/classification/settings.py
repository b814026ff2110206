"""Settings of the tasks that predict a label or a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_tf.runs.settings import (
    EVALUATION,
    FILES,
    LARGEST_BATCH,
    TRAINING,
    RunSettings,
    path_setting,
    setting,
)

_LARGEST_THRESHOLD = 1e30  # well within float32


@dataclass(frozen=True)
class ClassificationSettings(RunSettings):
    """Splits to work on, length of training, and export."""

    WITHOUT_INFLUENCE: ClassVar = (
        "cached_dir",
        "do_eval",
        "do_predict",
        "eval_batch_size",
        "predict_batch_size",
        "threshold_to_export",
    )
    HELP_GROUPS: ClassVar = {
        FILES: ("cached_dir",),
        TRAINING: (
            "num_train_epochs",
            "train_step",
            "warmup_proportion",
            "warmup_step",
            "optimizer",
        ),
        EVALUATION: (
            "do_eval",
            "do_predict",
            "eval_batch_size",
            "predict_batch_size",
            "threshold_to_export",
        ),
    }

    cached_dir: str | None = path_setting("Directory of the record files. Default: output_dir.")
    do_eval: bool = setting(False, "Whether to evaluate the checkpoints on the dev set.")
    do_predict: bool = setting(False, "Whether to predict the test set.")
    eval_batch_size: int = setting(8, "Rows in an evaluation batch.", lower=1, upper=LARGEST_BATCH)
    predict_batch_size: int = setting(
        8, "Rows in a prediction batch.", lower=1, upper=LARGEST_BATCH
    )
    train_step: int = setting(1000, "Number of training steps.", lower=1)
    num_train_epochs: float | None = setting(
        None,
        "Number of training epochs; replaces train_step.",
        upper=1_000_000,
        excludes_lower=True,
    )
    warmup_step: int = setting(0, "Number of warm-up steps of the learning rate.")
    warmup_proportion: float | None = setting(
        None,
        "Fraction of the steps used to warm up the learning rate; replaces warmup_step.",
        upper=1,
    )
    optimizer: str = setting("adamw", "Optimizer.", choices=("adamw", "lamb"))
    threshold_to_export: float | None = setting(
        None,
        "Decision threshold for the exported model to return with its outputs.",
        lower=-_LARGEST_THRESHOLD,
        upper=_LARGEST_THRESHOLD,
    )

    @property
    def wanted_splits(self) -> list[str]:
        """Splits to work on: some of "train", "dev" and "test"."""
        splits = {"train": self.do_train, "dev": self.do_eval, "test": self.do_predict}
        return [split for split, is_wanted in splits.items() if is_wanted]

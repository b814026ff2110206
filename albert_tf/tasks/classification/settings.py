"""Settings of the tasks that predict a label or a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.settings import LARGEST_BATCH, evaluation_setting, path_setting, training_setting
from albert_tf.tasks.options import RunSettings

_LARGEST_THRESHOLD = 1e30  # well within float32


@dataclass(frozen=True)
class ClassificationSettings(RunSettings):
    """Splits to work on, length of training, and export."""

    cached_dir: Optional[str] = path_setting("Directory of the record files. Default: output_dir.")
    num_train_epochs: Optional[float] = training_setting(
        None,
        "Number of training epochs; replaces train_step.",
        upper=1_000_000,
        excludes_lower=True,
    )
    train_step: int = training_setting(1000, "Number of training steps.", lower=1)
    warmup_proportion: Optional[float] = training_setting(
        None,
        "Fraction of the steps used to warm up the learning rate; replaces warmup_step.",
        upper=1,
    )
    warmup_step: int = training_setting(0, "Number of warm-up steps of the learning rate.")
    optimizer: str = training_setting("adamw", "Optimizer.", choices=("adamw", "lamb"))
    do_eval: bool = evaluation_setting(False, "Whether to evaluate the checkpoints on the dev set.")
    do_predict: bool = evaluation_setting(False, "Whether to predict the test set.")
    eval_batch_size: int = evaluation_setting(
        8, "Rows in an evaluation batch.", lower=1, upper=LARGEST_BATCH
    )
    predict_batch_size: int = evaluation_setting(
        8, "Rows in a prediction batch.", lower=1, upper=LARGEST_BATCH
    )
    threshold_to_export: Optional[float] = evaluation_setting(
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

"""The settings of classifiers and regressions, from which their scripts make flags."""

from __future__ import annotations

from dataclasses import dataclass

from albert_tf.glue.data import TASKS
from albert_tf.runs.settings import RunSettings, setting


@dataclass(frozen=True)
class ClassifierSettings(RunSettings):
    """The task, its files, and the length of training."""

    data_dir: str | None = setting(
        None, "Folder that holds the tasks' folders (MRPC/, ...), or the task's own."
    )
    task_name: str | None = setting(None, f"Task: {', '.join(TASKS)}.")
    cached_dir: str | None = setting(None, "Directory of the record files. Default: output_dir.")
    do_eval: bool = setting(False, "Whether to evaluate the checkpoints on the dev set.")
    do_predict: bool = setting(False, "Whether to predict the test set.")
    eval_batch_size: int = setting(8, "Rows in a batch of evaluation.", lower=1)
    predict_batch_size: int = setting(8, "Rows in a batch of prediction.", lower=1)
    train_step: int = setting(1000, "Steps of training.", lower=1)
    warmup_step: int = setting(0, "Steps in which the learning rate rises.", lower=0)
    optimizer: str = setting("adamw", "Optimizer.", choices=("adamw", "lamb"))
    threshold_to_export: float | None = setting(
        None, "Threshold that the exported model gives out with its scores."
    )

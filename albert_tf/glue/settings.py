"""Settings of `run_classifier.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_tf.glue.data import TASKS
from albert_tf.runs.settings import LARGEST_BATCH, RunSettings, path_setting, setting

_LARGEST_THRESHOLD = 1e30  # well within float32


@dataclass(frozen=True)
class ClassifierSettings(RunSettings):
    """Task, files and length of training."""

    WITHOUT_INFLUENCE: ClassVar = (
        "data_dir",
        "cached_dir",
        "do_eval",
        "do_predict",
        "eval_batch_size",
        "predict_batch_size",
        "threshold_to_export",
    )

    data_dir: str | None = path_setting("Folder of the task's data, or its parent folder.")
    task_name: str | None = setting(None, f"Name of the task: {', '.join(TASKS)}.")
    cached_dir: str | None = path_setting("Directory of the record files. Default: output_dir.")
    do_eval: bool = setting(False, "Whether to evaluate the checkpoints on the dev set.")
    do_predict: bool = setting(False, "Whether to predict the test set.")
    eval_batch_size: int = setting(8, "Rows in an evaluation batch.", lower=1, upper=LARGEST_BATCH)
    predict_batch_size: int = setting(
        8, "Rows in a prediction batch.", lower=1, upper=LARGEST_BATCH
    )
    train_step: int = setting(1000, "Number of training steps.", lower=1)
    warmup_step: int = setting(0, "Number of warm-up steps of the learning rate.")
    optimizer: str = setting("adamw", "Optimizer.", choices=("adamw", "lamb"))
    threshold_to_export: float | None = setting(
        None,
        "Decision threshold for the exported model to return with its outputs.",
        lower=-_LARGEST_THRESHOLD,
        upper=_LARGEST_THRESHOLD,
    )

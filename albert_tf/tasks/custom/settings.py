"""Settings of tasks on custom data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.settings import (
    Group,
    evaluation_setting,
    path_setting,
    setting,
    training_setting,
)
from albert_tf.io.tables import FORMATS
from albert_tf.tasks.classification.metrics import METRICS
from albert_tf.tasks.classification.settings import ClassificationSettings

TASK_NAME = "custom"


@dataclass(frozen=True)
class CustomSettings(ClassificationSettings):
    """Files, their columns, and how to use them."""

    train_file: Optional[str] = path_setting(
        "Custom data to train on: CSV, TSV or JSON Lines.", must_exist=("do_train",)
    )
    dev_file: Optional[str] = path_setting(
        "Custom data to evaluate the checkpoints on.", must_exist=("do_eval",)
    )
    test_file: Optional[str] = path_setting(
        "Custom data to predict; labels are not needed.", must_exist=("do_predict",)
    )
    file_format: Optional[str] = setting(
        None,
        "Format of custom data. Default: by the names of the files.",
        choices=FORMATS,
        group=Group.FILES,
        affects_training=False,
    )
    text_column: Optional[str] = setting(
        None,
        "Column of the text, or of the first of two. Default: found in the header.",
        group=Group.FILES,
    )
    second_text_column: Optional[str] = setting(
        None, "Column of the second text of a pair.", group=Group.FILES
    )
    label_column: Optional[str] = setting(
        None, "Column of the label or score. Default: found in the header.", group=Group.FILES
    )
    regression: bool = training_setting(
        False, "Whether the labels of custom data are scores (numbers)."
    )
    dev_share: float = training_setting(
        0.0,
        "Share of the training file to evaluate on, instead of a dev file: the same rows each "
        "time, with labels in proportion.",
        upper=0.9,
    )
    class_weights: str = training_setting(
        "none",
        "Weights of the labels in the loss; balanced gives each label the same share of it.",
        choices=("none", "balanced"),
    )
    metric: Optional[str] = evaluation_setting(
        None,
        "Metric that chooses the best checkpoint on custom data. Default: accuracy, or pearson for "
        "a regression. f1 is the F1 of the second of two labels.",
        choices=tuple(METRICS),
        affects_predictions=True,
    )
    all_probabilities: bool = evaluation_setting(
        False,
        "Whether predictions for custom data include the probabilities of all labels.",
        affects_predictions=True,
    )

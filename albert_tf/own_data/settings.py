"""Settings of tasks on users' own data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_tf.classification.metrics import METRICS
from albert_tf.classification.settings import ClassificationSettings
from albert_tf.runs.settings import EVALUATION, FILES, TRAINING, path_setting, setting
from albert_tf.tables import FORMATS

TASK_NAME = "custom"


@dataclass(frozen=True)
class OwnDataSettings(ClassificationSettings):
    """Files, their columns, and what to make of them."""

    WITHOUT_INFLUENCE: ClassVar = (
        "train_file",
        "dev_file",
        "test_file",
        "file_format",
        "metric",
        "all_probabilities",
    )

    HELP_GROUPS: ClassVar = {
        FILES: (
            "train_file",
            "dev_file",
            "test_file",
            "file_format",
            "text_column",
            "second_text_column",
            "label_column",
        ),
        TRAINING: ("regression", "dev_share", "class_weights"),
        EVALUATION: ("metric", "all_probabilities"),
    }

    train_file: str | None = path_setting("Own rows to train on: CSV, TSV or JSON Lines.")
    dev_file: str | None = path_setting("Own rows to evaluate the checkpoints on.")
    test_file: str | None = path_setting("Own rows to predict; labels are not needed.")
    file_format: str | None = setting(
        None, "Format of own files. Default: by their names.", choices=FORMATS
    )
    text_column: str | None = setting(
        None, "Column of the text, or of the first of two. Default: found in the header."
    )
    second_text_column: str | None = setting(None, "Column of the second text of a pair.")
    label_column: str | None = setting(
        None, "Column of the label or score. Default: found in the header."
    )
    regression: bool = setting(False, "Whether the labels of own files are scores: numbers.")
    dev_share: float = setting(
        0.0,
        "Share of the training file to evaluate on, in place of a dev file: the same rows each "
        "time, with labels in proportion.",
        upper=0.9,
    )
    metric: str | None = setting(
        None,
        "Metric that chooses the best checkpoint on own data. Default: accuracy, or pearson for a "
        "regression. f1 is that of the second of two labels.",
        choices=tuple(METRICS),
    )
    class_weights: str = setting(
        "none",
        "Weights of the labels in the loss; balanced gives each label the same share of it.",
        choices=("none", "balanced"),
    )
    all_probabilities: bool = setting(
        False, "Whether predictions of own rows have the probabilities of all labels."
    )

    @property
    def own_files(self) -> dict[str, str]:
        """Paths of the files that are given, by the names of their flags."""
        names = ("train_file", "dev_file", "test_file")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

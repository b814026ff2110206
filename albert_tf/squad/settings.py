"""Settings of the SQuAD scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_tf.runs.settings import (
    EVALUATION,
    FILES,
    LARGEST_BATCH,
    TEXT,
    TRAINING,
    RunSettings,
    TextSettings,
    path_setting,
    setting,
)


@dataclass(frozen=True)
class AnswerSettings(TextSettings):
    """Windows of a text, and number and length of the answers."""

    WITHOUT_INFLUENCE: ClassVar = ("predict_batch_size", "n_best_size", "max_answer_length")
    HELP_GROUPS: ClassVar = {
        TEXT: ("doc_stride", "max_query_length"),
        EVALUATION: ("predict_batch_size", "n_best_size", "max_answer_length"),
    }

    doc_stride: int = setting(
        128, "Distance between the starts of consecutive windows, in pieces.", lower=1
    )
    max_query_length: int = setting(
        64, "Maximum length of a question, in pieces; longer ones are truncated.", lower=1
    )
    predict_batch_size: int = setting(
        8, "Windows in a prediction batch.", lower=1, upper=LARGEST_BATCH
    )
    n_best_size: int = setting(20, "Number of answers to keep per question.", lower=1)
    max_answer_length: int = setting(30, "Maximum length of an answer, in pieces.", lower=1)


@dataclass(frozen=True)
class SquadSettings(AnswerSettings, RunSettings):
    """Question files, feature files and length of training."""

    WITHOUT_INFLUENCE: ClassVar = (
        "do_predict",
        "train_file",
        "predict_file",
        "train_feature_file",
        "predict_feature_file",
        "predict_feature_left_file",
    )
    HELP_GROUPS: ClassVar = {
        FILES: ("train_file", "predict_file"),
        TRAINING: ("num_train_epochs", "train_steps", "warmup_proportion", "train_feature_file"),
        EVALUATION: ("do_predict", "predict_feature_file", "predict_feature_left_file"),
    }

    scale_learning_rate: bool = False
    do_predict: bool = setting(True, "Whether to predict and evaluate.")
    train_file: str | None = path_setting("SQuAD v1.1 JSON to train on, such as train-v1.1.json.")
    predict_file: str | None = path_setting("SQuAD v1.1 JSON to predict, such as dev-v1.1.json.")
    train_feature_file: str | None = path_setting(
        "TFRecord file of the training features. Default: in output_dir."
    )
    predict_feature_file: str | None = path_setting(
        "TFRecord file of the prediction features. Default: in output_dir."
    )
    predict_feature_left_file: str | None = path_setting(
        "TFRecord file of the windows of the prediction features. Default: in output_dir."
    )
    num_train_epochs: float = setting(
        2.0, "Number of training epochs.", upper=1_000_000, excludes_lower=True
    )
    train_steps: int = setting(
        -1, "Number of training steps; if positive, it replaces num_train_epochs.", lower=-1
    )
    warmup_proportion: float = setting(
        0.1, "Fraction of the steps used to warm up the learning rate.", upper=1
    )

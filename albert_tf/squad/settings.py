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

_LARGEST_SCORE = 1e30  # well within float32
_LONGEST_LIST = 1000


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
class NullAnswerSettings(AnswerSettings):
    """Answers that may be "no answer", as in SQuAD v2.0."""

    WITHOUT_INFLUENCE: ClassVar = ("null_score_diff_threshold",)

    null_score_diff_threshold: float | None = setting(
        None,
        "Score (logit) from which on a question has no answer. Default: that of the best F1, found "
        "when the model is evaluated.",
        lower=-_LARGEST_SCORE,
        upper=_LARGEST_SCORE,
    )


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
    train_file: str | None = path_setting("SQuAD JSON to train on, such as train-v1.1.json.")
    predict_file: str | None = path_setting("SQuAD JSON to predict, such as dev-v1.1.json.")
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


@dataclass(frozen=True)
class SquadV2Settings(NullAnswerSettings, SquadSettings):
    """Settings of SQuAD v2.0 beside those of v1.1."""

    WITHOUT_INFLUENCE: ClassVar = ("start_n_top", "end_n_top")

    start_n_top: int = setting(
        5, "Number of best starts to combine with ends.", lower=1, upper=_LONGEST_LIST
    )
    end_n_top: int = setting(5, "Number of best ends for each start.", lower=1, upper=_LONGEST_LIST)
    dropout_prob: float = setting(
        0.1,
        "Dropout in the part of the head that says whether there is an answer, in training.",
        upper=1,
        excludes_upper=True,
    )

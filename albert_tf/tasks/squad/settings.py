"""Settings of the SQuAD scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from albert_tf.cli.settings import LARGEST_BATCH, Group, path_setting, setting
from albert_tf.tasks.options import RunSettings, TextSettings

_LARGEST_SCORE = 1e30  # well within float32
_LONGEST_LIST = 1000


def _answer_setting(default: Any, help: str, **bounds: float) -> Any:
    """Declare a setting that only predictions depend on."""
    return setting(
        default,
        help,
        group=Group.EVALUATION,
        affects_training=False,
        affects_predictions=True,
        **bounds,
    )


@dataclass(frozen=True)
class AnswerSettings(TextSettings):
    """Windows of a text, and number and length of the answers."""

    max_seq_length: int = 384
    doc_stride: int = setting(
        128,
        "Distance between the starts of consecutive windows, in tokens.",
        lower=1,
        group=Group.TEXT,
        affects_records=True,
    )
    max_query_length: int = setting(
        64,
        "Maximum length of a question, in tokens; longer ones are truncated.",
        lower=1,
        group=Group.TEXT,
        affects_records=True,
    )
    predict_batch_size: int = setting(
        8,
        "Windows in a prediction batch.",
        lower=1,
        upper=LARGEST_BATCH,
        group=Group.EVALUATION,
        affects_training=False,
    )
    n_best_size: int = _answer_setting(20, "Number of answers to keep per question.", lower=1)
    max_answer_length: int = _answer_setting(30, "Maximum length of an answer, in tokens.", lower=1)


@dataclass(frozen=True)
class NullAnswerSettings(AnswerSettings):
    """Answers that may be "no answer", as in SQuAD v2.0."""

    null_score_diff_threshold: Optional[float] = _answer_setting(
        None,
        "Threshold of the score (a logit): if it is reached, the question has no answer. Default: "
        "the threshold with the best F1, found when the model is evaluated.",
        lower=-_LARGEST_SCORE,
        upper=_LARGEST_SCORE,
    )


@dataclass(frozen=True)
class SquadSettings(AnswerSettings, RunSettings):
    """Question files, feature files and length of training."""

    train_file: Optional[str] = path_setting(
        "SQuAD JSON to train on, such as train-v1.1.json.", must_exist=("do_train",)
    )
    predict_file: Optional[str] = path_setting(
        "SQuAD JSON to predict, such as dev-v1.1.json.", must_exist=("do_predict",)
    )
    num_train_epochs: float = setting(
        2.0,
        "Number of training epochs.",
        upper=1_000_000,
        excludes_lower=True,
        group=Group.TRAINING,
    )
    train_steps: int = setting(
        -1,
        "Number of training steps; if positive, it replaces num_train_epochs.",
        lower=-1,
        group=Group.TRAINING,
    )
    warmup_proportion: float = setting(
        0.1,
        "Fraction of the steps used to warm up the learning rate.",
        upper=1,
        group=Group.TRAINING,
    )
    train_feature_file: Optional[str] = path_setting(
        "TFRecord file of the training features. Default: a file in output_dir.",
        group=Group.TRAINING,
    )
    do_predict: bool = setting(
        True, "Whether to predict and evaluate.", group=Group.EVALUATION, affects_training=False
    )
    predict_feature_file: Optional[str] = path_setting(
        "TFRecord file of the prediction features. Default: a file in output_dir.",
        group=Group.EVALUATION,
    )
    predict_feature_left_file: Optional[str] = path_setting(
        "TFRecord file of the windows of the prediction features. Default: in output_dir.",
        group=Group.EVALUATION,
    )
    scale_learning_rate: bool = False


@dataclass(frozen=True)
class SquadV2Settings(NullAnswerSettings, SquadSettings):
    """Settings of SQuAD v2.0 in addition to the settings of v1.1."""

    start_n_top: int = _answer_setting(
        5, "Number of best starts to combine with ends.", lower=1, upper=_LONGEST_LIST
    )
    end_n_top: int = _answer_setting(
        5, "Number of best ends for each start.", lower=1, upper=_LONGEST_LIST
    )
    dropout_prob: float = setting(
        0.1,
        "Dropout, in training, in the part of the head that predicts whether there is an answer.",
        group=Group.TRAINING,
        upper=1,
        excludes_upper=True,
    )

"""Settings of the SQuAD scripts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.settings import (
    LARGEST_BATCH,
    Group,
    evaluation_setting,
    path_setting,
    text_setting,
    training_setting,
)
from albert_tf.tasks.options import RunSettings, TextSettings

_LARGEST_SCORE = 1e30  # well within float32
_LONGEST_LIST = 1000


# Only predictions depend on such a setting.
_answer_setting = functools.partial(evaluation_setting, affects_predictions=True)


@dataclass(frozen=True)
class AnswerSettings(TextSettings):
    """Windows of a text, and number and length of the answers."""

    max_seq_length: int = 384
    doc_stride: int = text_setting(
        128, "Distance between the starts of consecutive windows, in tokens.", lower=1
    )
    max_query_length: int = text_setting(
        64, "Maximum length of a question, in tokens; longer ones are truncated.", lower=1
    )
    predict_batch_size: int = evaluation_setting(
        8, "Windows in a prediction batch.", lower=1, upper=LARGEST_BATCH
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
    num_train_epochs: float = training_setting(
        2.0, "Number of training epochs.", upper=1_000_000, excludes_lower=True
    )
    train_steps: int = training_setting(
        -1, "Number of training steps; if positive, it replaces num_train_epochs.", lower=-1
    )
    warmup_proportion: float = training_setting(
        0.1, "Fraction of the steps used to warm up the learning rate.", upper=1
    )
    train_feature_file: Optional[str] = path_setting(
        "TFRecord file of the training features. Default: a file in output_dir.",
        group=Group.TRAINING,
    )
    do_predict: bool = evaluation_setting(True, "Whether to predict and evaluate.")
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
    dropout_prob: float = training_setting(
        0.1,
        "Dropout, in training, in the part of the head that predicts whether there is an answer.",
        upper=1,
        excludes_upper=True,
    )

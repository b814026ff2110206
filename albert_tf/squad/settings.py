"""The settings of SQuAD, from which its scripts make flags."""

from __future__ import annotations

from dataclasses import dataclass

from albert_tf.runs.settings import RunSettings, TextSettings, setting


@dataclass(frozen=True)
class AnswerSettings(TextSettings):
    """Windows that questions and texts are cut into, and the answers kept."""

    doc_stride: int = setting(128, "Pieces from the start of one window to the next.", lower=1)
    max_query_length: int = setting(
        64, "Longest question, in pieces; longer ones are cut.", lower=1
    )
    predict_batch_size: int = setting(8, "Windows in a batch of prediction.", lower=1)
    n_best_size: int = setting(20, "Answers to keep for each question.", lower=1)
    max_answer_length: int = setting(30, "Longest answer, in pieces.", lower=1)


@dataclass(frozen=True)
class SquadSettings(AnswerSettings, RunSettings):
    """Questions to train on and to predict, and the length of training."""

    do_predict: bool = setting(True, "Whether to predict, and evaluate the predictions.")
    train_file: str | None = setting(None, "SQuAD JSON to train on: train-v1.1.json.")
    predict_file: str | None = setting(None, "SQuAD JSON to predict: dev-v1.1.json.")
    train_feature_file: str | None = setting(
        None, "TFRecord file of the training features. Default: in output_dir."
    )
    predict_feature_file: str | None = setting(
        None, "TFRecord file of the features to predict. Default: in output_dir."
    )
    predict_feature_left_file: str | None = setting(
        None, "TFRecord file of what answers need beside the features. Default: in output_dir."
    )
    num_train_epochs: float = setting(2.0, "Epochs of training.")
    train_steps: int = setting(-1, "Steps of training, in place of num_train_epochs.")
    warmup_proportion: float = setting(0.1, "Share of the steps in which the learning rate rises.")

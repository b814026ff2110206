"""Base of the tasks that predict a label or a score from the encoder's pooled output."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.records.record_files import RecordFields
from albert_tf.records.splits import DEV, TEST, TRAIN, Record, RecordSplit, Split
from albert_tf.report.blocks import Section
from albert_tf.tasks.base import Evaluation, Problems, Schedule, Task, sequence_fields
from albert_tf.tasks.classification import report
from albert_tf.tasks.classification.features import make_record
from albert_tf.tasks.classification.head import example_losses, head_outputs
from albert_tf.tasks.classification.metrics import Metric, compute_metrics, warn_of_one_label
from albert_tf.tasks.classification.settings import ClassificationSettings
from modeling import AlbertModel
from tokenization import FullTokenizer

KINDS = {TRAIN: "train", DEV: "eval", TEST: "predict"}  # of flags and files, as in the original


class ClassificationTask(Task):
    """Prediction of one label or score for each example.

    A task reads its splits, and names its labels and metrics. Its examples have the attributes
    `texts`, one or two texts, and `label`, the index of a label or a score.

    Attributes:
      sequences: number of sequences in a record, if more than one is read for each example.
    """

    kind = "classification"
    serves_records = True
    settings: ClassificationSettings
    tokenizer: FullTokenizer
    sequences: ClassVar[tuple[int, ...]] = ()

    @property
    @abc.abstractmethod
    def labels(self) -> Sequence[str]:
        """Labels in the order of the model's outputs; empty for a regression."""

    @property
    @abc.abstractmethod
    def metrics(self) -> Sequence[Metric]:
        """Metrics of the task; the first ranks the checkpoints."""

    @property
    def output_dropout(self) -> float:
        """Dropout of the pooled output in training."""
        return 0.1

    @property
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""
        settings = self.settings
        return Schedule(
            steps=settings.train_step if settings.num_train_epochs is None else None,
            epochs=settings.num_train_epochs or 0.0,
            warmup_steps=settings.warmup_step if settings.warmup_proportion is None else None,
            warmup_proportion=settings.warmup_proportion or 0.0,
            optimizer=settings.optimizer,
        )

    def fields(self, split: Split | RecordSplit) -> RecordFields:
        """Fields of the records of a split."""
        return {
            **sequence_fields(*self.sequences, self.settings.max_seq_length),
            "label_ids": tf.io.FixedLenFeature([], tf.int64 if self.labels else tf.float32),
            "is_real_example": tf.io.FixedLenFeature([], tf.int64),
        }

    def records(self, split: Split, examples: Mapping[int, Any]) -> Iterator[Record]:
        """Yield the records of some examples, in order."""
        settings = self.settings
        for example in examples.values():
            record = make_record(
                example.texts,
                example.label,
                self.tokenizer,
                settings.max_seq_length,
                settings.do_lower_case,
            )
            yield Record(record)

    def logits(self, pooled_output: tf.Tensor) -> tf.Tensor:
        """Build the logits.

        Args:
          pooled_output: float tensor [B, D].

        Returns:
          Float tensor [B, labels]; [B, 1] for a regression.
        """
        return modeling.output_layer(pooled_output, len(self.labels) or 1)

    def example_weights(self, labels: tf.Tensor) -> tf.Tensor | None:
        """Weights of the examples in the loss, with a mean of 1 over the training set.

        Args:
          labels: labels of the examples, tensor [B].

        Returns:
          Float tensor [B]; None for equal weights.
        """
        return None

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build the head and its loss for training."""
        pooled_output = encoder.get_pooled_output()
        if not self.settings.deterministic_run:
            pooled_output = modeling.dropout(pooled_output, self.output_dropout)
        logits = head_outputs(self.logits(pooled_output))["logits"]
        losses = example_losses(logits, features["label_ids"])
        weights = self.example_weights(features["label_ids"])
        return tf.reduce_mean(losses if weights is None else weights * losses)

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build the head for prediction; see `head_outputs`."""
        outputs = head_outputs(self.logits(encoder.get_pooled_output()))
        is_exported = "label_ids" not in features
        if is_exported and self.settings.threshold_to_export is not None:
            outputs["threshold"] = tf.constant(self.settings.threshold_to_export)
        return outputs

    def true_labels(self, split: Split) -> np.ndarray:
        """Labels or scores of the examples of a split, array [examples]."""
        return np.array([example.label for example in split.examples])

    def evaluate(
        self,
        split: Split,
        predictions: Sequence[dict[str, Any]],
        thresholds: Mapping[str, float],
    ) -> Evaluation:
        """Compute the metrics of a dev split, or write the predictions of a test split.

        The names of the metrics end in the split's `suffix`.
        """
        if split.name == TEST:
            return Evaluation({}, self.prediction_files(split, predictions))
        labels = self.true_labels(split)
        predicted = np.array([prediction["predictions"] for prediction in predictions])
        if self.labels:
            warn_of_one_label(labels, predicted, self.labels)
        values = self.metrics_of(split, labels, predicted)
        return Evaluation(
            {name + split.suffix: value for name, value in values.items()},
            self.result_files(labels, predicted),
            sections=lambda: self._sections(split, labels.tolist(), predictions),
        )

    def metrics_of(
        self, split: Split, labels: np.ndarray, predicted: np.ndarray
    ) -> dict[str, float]:
        """Compute the metrics of a split, by name.

        Args:
          split: the split.
          labels: true labels or scores, array [examples].
          predicted: predicted ones, array [examples].
        """
        return compute_metrics(self.metrics, labels, predicted)

    def result_files(self, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
        """Contents of further files about a dev split, by name; see `metrics_of`."""
        return {}

    @abc.abstractmethod
    def prediction_files(
        self, split: Split, predictions: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Contents of the files with the predictions of a test split, by name."""

    def texts_of(self, example: Any) -> list[tuple[str, str]]:
        """Names and texts of an example, for the report page; the first is its title."""
        texts = example.texts
        names = [f"Text {number}" for number in range(1, len(texts) + 1)]
        return list(zip(names if len(texts) > 1 else ["Text"], texts))

    def passages(self, split: Split) -> list[str]:
        """Text of each example that it shares with others, for the report page; empty for none."""
        return []

    def _sections(
        self, split: Split, truths: Sequence[Any], predictions: Sequence[dict[str, Any]]
    ) -> list[Section]:
        """Sections of the report page: errors by label and each example, or scores."""
        texts = [self.texts_of(example) for example in split.examples]
        name = f" ({split.suffix.strip('_')})" if split.suffix else ""
        if self.labels:
            passages = self.passages(split)
            return report.label_sections(self.labels, texts, truths, predictions, name, passages)
        return report.score_sections(texts, truths, predictions, name)


def check_settings(settings: ClassificationSettings, problems: Problems) -> None:
    """Collect problems with the settings that all of these tasks share."""
    if not settings.wanted_splits and not settings.exports:
        problems.add("nothing to do: give --do_train, --do_eval or --do_predict")
    if settings.cached_dir:
        with problems.collected():
            files.check_directory(f"--cached_dir {settings.cached_dir}", settings.cached_dir)


def check_room(max_seq_length: int, num_texts: int) -> None:
    """Check that an input has room for text besides the special tokens.

    Args:
      max_seq_length: maximum length of an input, in tokens.
      num_texts: number of texts in an input.

    Raises:
      InputError: if it has not.
    """
    special_tokens = 1 + num_texts
    if max_seq_length <= special_tokens:
        raise InputError(
            f"--max_seq_length {max_seq_length} leaves no room for text after {special_tokens} "
            "special tokens: raise it"
        )

"""Base of the tasks that predict a label or a score from the encoder's pooled output."""

from __future__ import annotations

import abc
import collections
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from albert_tf.cli.problems import Problems
from albert_tf.export import serving
from albert_tf.graph import estimators
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.records.record_files import RecordFields
from albert_tf.report.blocks import Section
from albert_tf.tasks.base import DataSet, Evaluation, Record, RecordFiles, Schedule, Task
from albert_tf.tasks.classification import report
from albert_tf.tasks.classification.features import make_feature
from albert_tf.tasks.classification.head import example_losses, head_outputs
from albert_tf.tasks.classification.metrics import Metric, compute_metrics, warn_of_one_label
from albert_tf.tasks.classification.settings import ClassificationSettings
from modeling import AlbertModel


class ClassificationTask(Task):
    """Prediction of one label or score for each example.

    A task reads its data sets, and names its labels and metrics. Its examples have the attributes
    `texts`, one or two texts, and `label`, the index of a label or a score.
    """

    settings: ClassificationSettings

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

    def check_settings(self, problems: Problems) -> None:
        """Collect problems with the settings that all of these tasks share."""
        settings = self.settings
        if not settings.wanted_splits and not settings.exports:
            problems.add("nothing to do: give --do_train, --do_eval or --do_predict")
        with problems.collected():
            if settings.cached_dir:
                files.check_writable("cached_dir", settings.cached_dir)

    def check_room(self, num_texts: int) -> None:
        """Check that `max_seq_length` has room for text beside the special tokens.

        Args:
          num_texts: number of texts in an input.

        Raises:
          InputError: if it has not.
        """
        special_tokens = 1 + num_texts
        if self.settings.max_seq_length <= special_tokens:
            raise InputError(
                f"--max_seq_length {self.settings.max_seq_length} leaves no room for text after "
                f"{special_tokens} special tokens: raise it"
            )

    @property
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""
        settings = self.settings
        by_epochs = settings.num_train_epochs is not None
        by_proportion = settings.warmup_proportion is not None
        return Schedule(
            steps=None if by_epochs else settings.train_step,
            epochs=settings.num_train_epochs or 0.0,
            warmup_steps=None if by_proportion else settings.warmup_step,
            warmup_proportion=settings.warmup_proportion or 0.0,
            optimizer=settings.optimizer,
        )

    def fields(self, data_set: DataSet | RecordFiles) -> RecordFields:
        """Fields of the records of a data set."""
        return {
            **self.sequence_fields,
            "label_ids": tf.io.FixedLenFeature([], tf.int64 if self.labels else tf.float32),
            "is_real_example": tf.io.FixedLenFeature([], tf.int64),
        }

    def records(self, data_set: DataSet, examples: Mapping[int, Any]) -> Iterator[Record]:
        """Yield the records of a chunk of examples, in order."""
        settings = self.settings
        for example in examples.values():
            feature = make_feature(
                example.texts,
                example.label,
                self.needed_tokenizer,
                settings.max_seq_length,
                settings.do_lower_case,
            )
            values = feature.record(settings.max_seq_length)
            yield Record(values, length=feature.whole_length)

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

    def true_labels(self, data_set: DataSet) -> np.ndarray:
        """Labels or scores of the examples [examples]."""
        return np.array([example.label for example in data_set.examples])

    def evaluate(self, data_set: DataSet, answers: Sequence[dict[str, Any]]) -> Evaluation:
        """Compute the task's metrics, with the data set's `part` as suffix of their names."""
        labels = self.true_labels(data_set)
        predictions = np.array([answer["predictions"] for answer in answers])
        if self.labels:
            warn_of_one_label(labels, predictions, self.labels)
        values = compute_metrics(self.metrics, labels, predictions)
        return Evaluation({name + data_set.part: value for name, value in values.items()})

    def texts_of(self, example: Any) -> list[tuple[str, str]]:
        """Names and texts of an example, for the report page; the first is its title."""
        texts = example.texts
        names = [f"Text {number}" for number in range(1, len(texts) + 1)]
        return list(zip(names if len(texts) > 1 else ["Text"], texts))

    def passages(self, data_set: DataSet) -> list[str]:
        """Text of each example that it shares with others, for the report page; empty for none."""
        return []

    def report_sections(
        self, data_set: DataSet, answers: Sequence[dict[str, Any]]
    ) -> list[Section]:
        """Sections of the report page: errors by label and each example, or scores."""
        texts = [self.texts_of(example) for example in data_set.examples]
        truths = self.true_labels(data_set).tolist()
        name = f" ({data_set.part.strip('_')})" if data_set.part else ""
        if self.labels:
            passages = self.passages(data_set)
            return report.label_sections(self.labels, texts, truths, answers, name, passages)
        return report.score_sections(texts, truths, answers, name)

    def label_counts(self, data_set: DataSet) -> dict[str, int]:
        """Number of examples with each label, for the report page; empty for a regression."""
        counts = collections.Counter(self.true_labels(data_set).tolist())
        return {label: counts[index] for index, label in enumerate(self.labels)}

    def serving_input_receiver(self) -> estimators.ServingInputReceiver:
        """Make the inputs of an exported model: serialized `tf.train.Example`s, like records."""
        return serving.records(self.sequence_fields)

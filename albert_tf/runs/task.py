"""A task: what a script brings to a run.

A task knows its domain. It reads and checks its inputs, turns examples into records, builds its
head on an encoder, and turns the head's outputs into answers and metrics. The run knows the rest:
record files, ranks, devices, checkpoints, results, export.
"""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.nn.config import AlbertConfig
from albert_tf.records.record_files import RecordFields, RecordValues
from albert_tf.runs import serving
from albert_tf.runs.problems import Problems
from albert_tf.runs.settings import RunSettings
from modeling import AlbertModel
from tokenization import FullTokenizer

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")


@dataclass
class DataSet:
    """Examples of the task, which the run converts to records.

    Attributes:
      record_name: file name of the records.
      inputs: paths of the files that the examples come from, by the names that messages give them.
      examples: the examples, in the order of their file.
      batch_size: number of records in a batch of prediction.
      record_file: path of the record file, if the user has given one.
      record_dir: directory of the record file; the run's output directory if not given.
      companion_name: file name of what answers need beside the records; none if they need nothing.
      companion_file: path of that file, if the user has given one.
      predicted_names: names of the files that tell the answers to a test set.
      part: what tells the metrics of several evaluation sets apart, behind their names.
    """

    record_name: str
    inputs: Mapping[str, str]
    examples: Sequence[Any]
    batch_size: int = 0
    record_file: str | None = None
    record_dir: str | None = None
    companion_name: str | None = None
    companion_file: str | None = None
    predicted_names: tuple[str, ...] = ()
    part: str = ""


@dataclass
class RecordFiles:
    """Record files that the user gives instead of examples.

    Attributes:
      flag: name of the flag that gives them.
      paths: paths of the files.
      batch_size: number of records in a batch of prediction.
      max_records: most records to predict on; None for all.
      id_fields: fields whose values are ids of pieces, to be checked against the vocabulary's size.
    """

    flag: str
    paths: list[str]
    batch_size: int = 0
    max_records: int | None = None
    id_fields: tuple[str, ...] = ("input_ids",)


@dataclass(frozen=True)
class Record:
    """A record of an example, and what its answer needs beside what the model gives.

    Attributes:
      values: the record's values by field.
      companion: JSON value for the data set's companion file.
    """

    values: RecordValues
    companion: Any = None


@dataclass(frozen=True)
class Prediction:
    """Outputs of the head for one record.

    Attributes:
      number: number of the record among those of the examples, from 0.
      outputs: arrays by name, without the batch axis.
      companion: what the record's companion file holds for it.
    """

    number: int
    outputs: Mapping[str, np.ndarray]
    companion: Any = None


@dataclass(frozen=True)
class Evaluation:
    """The answers of a checkpoint, judged.

    Attributes:
      metrics: metrics by name; the first chooses the best checkpoint, more is better. Empty if
        there is nothing to compare with.
      files: contents of the files to keep if this is the best checkpoint, by file name: text, or
        values to write as JSON.
    """

    metrics: Mapping[str, float]
    files: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """Length of training, and course of the learning rate.

    Attributes:
      steps: steps of training; with None `epochs` counts.
      epochs: passes over the training examples.
      warmup_steps: steps of warm-up; with None `warmup_proportion` counts.
      warmup_proportion: share of the steps in which the learning rate rises.
      is_divided: whether `steps` and `warmup_steps` are divided by the number of cards.
      optimizer: "adamw" or "lamb".
      poly_power: power of the polynomial decay of the learning rate.
      start_warmup_step: global step at which warm-up starts.
    """

    steps: int | None = None
    epochs: float = 0.0
    warmup_steps: int | None = None
    warmup_proportion: float = 0.0
    is_divided: bool = False
    optimizer: str = "adamw"
    poly_power: float = 1.0
    start_warmup_step: int = 0

    def resolve(self, num_examples: int, batch_size: int, num_cards: int) -> Schedule:
        """The same schedule with its `steps` and `warmup_steps` in steps of this run.

        Args:
          num_examples: number of training examples.
          batch_size: examples in a step, per card.
          num_cards: number of cards.
        """
        divisor = num_cards if self.is_divided else 1
        if self.steps is None:
            steps = int(num_examples / (batch_size * num_cards) * self.epochs)
        else:
            steps = self.steps // divisor
        if self.warmup_steps is None:
            warmup_steps = int(steps * self.warmup_proportion)
        else:
            warmup_steps = self.warmup_steps // divisor
        return dataclasses.replace(self, steps=steps, warmup_steps=warmup_steps)


class Task(abc.ABC):
    """Base class of tasks.

    Attributes:
      settings: settings of the run and of the task.
      config: config of the model; None if it could not be read.
      tokenizer: the tokenizer; None if it could not be read, or is not needed.
      train_set: what to train on; None without training.
      eval_sets: what to evaluate checkpoints on.
      test_sets: what to predict with the final checkpoint, without judging it.
    """

    expects_checkpoint = True  # whether training from random weights deserves a warning
    shares_group_0 = False  # whether groups that a checkpoint lacks start from its group 0
    counts_records = False  # whether `records` depends on the numbers of its records

    def __init__(
        self,
        settings: RunSettings,
        config: AlbertConfig | None,
        tokenizer: FullTokenizer | None,
    ):
        """Make the task; `read_inputs` completes it."""
        self.settings = settings
        self.config = config
        self.tokenizer = tokenizer
        self.train_set: DataSet | RecordFiles | None = None
        self.eval_sets: list[DataSet | RecordFiles] = []
        self.test_sets: list[DataSet] = []

    @classmethod
    def needs_tokenizer(cls, settings: RunSettings) -> bool:
        """Whether the task needs a vocabulary."""
        return True

    @property
    def has_head(self) -> bool:
        """Whether the inputs tell enough to build the head."""
        return True

    @abc.abstractmethod
    def read_inputs(self, problems: Problems) -> None:
        """Read the data sets, and collect what is wrong with them and with the task's settings."""

    @property
    @abc.abstractmethod
    def schedule(self) -> Schedule:
        """Length of training, and course of the learning rate."""

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings that records depend on beside the inputs; JSON values by name."""
        return {
            "max_seq_length": self.settings.max_seq_length,
            "do_lower_case": self.settings.do_lower_case,
        }

    @property
    def answer_settings(self) -> dict[str, Any]:
        """Further settings that answers depend on; JSON values by name."""
        return {}

    @property
    def exported_settings(self) -> dict[str, Any]:
        """Settings that an exported model carries for its users; JSON values by name."""
        return {**self.feature_settings, **self.answer_settings}

    @property
    def sequence_fields(self) -> RecordFields:
        """Fields of the encoder's inputs."""
        sequence = tf.io.FixedLenFeature([self.settings.max_seq_length], tf.int64)
        return dict.fromkeys(MODEL_INPUTS, sequence)

    @abc.abstractmethod
    def fields(self, data_set: DataSet | RecordFiles) -> RecordFields:
        """Fields of the records of a data set."""

    def records(
        self, data_set: DataSet, examples: Sequence[Any], first_number: int
    ) -> Iterator[Record]:
        """Yield the records of examples, in order.

        Args:
          data_set: the data set.
          examples: its examples, or a contiguous shard of them.
          first_number: number of the first record in the data set, if `counts_records`.
        """
        raise NotImplementedError

    def prepare(self, numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Change the features of a batch while it is read.

        Args:
          numbers: int64 tensor [B], unique numbers of the records in the run.
          features: tensors [B, ...] by field.
        """
        return features

    def denominators(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Denominators of the loss, if it is not a plain mean over the examples.

        The run computes them over the whole batch, of all micro-batches and cards, and `loss` gets
        them among its features, so that the mean of the micro-batches' losses is the batch's loss.

        Args:
          features: tensors [B, ...] by field.

        Returns:
          Scalar float tensors by name.
        """
        return {}

    @abc.abstractmethod
    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build the head and its loss for training.

        Args:
          encoder: the encoder on the batch.
          features: int32 and float32 tensors [B, ...] by field, and `denominators`.

        Returns:
          Scalar float tensor, the mean over the batch.
        """

    @abc.abstractmethod
    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build the head for prediction.

        Args:
          encoder: the encoder on the batch.
          features: tensors [B, ...] by field; in an exported model those of the encoder alone.

        Returns:
          Tensors [B, ...] by name.
        """

    def answers(self, examples: Sequence[Any], predictions: Iterable[Prediction]) -> list[Any]:
        """Turn outputs into an answer for each example: a JSON value, in the order of the examples.

        By default the answer is the outputs of the example's only record, by name.

        Args:
          examples: the examples; for `RecordFiles` a range of the records' numbers.
          predictions: outputs for their records, in any order.
        """
        answers = {
            prediction.number: {name: x.tolist() for name, x in prediction.outputs.items()}
            for prediction in predictions
        }
        return [answers[number] for number in sorted(answers)]

    @abc.abstractmethod
    def evaluate(self, data_set: DataSet | RecordFiles, answers: Sequence[Any]) -> Evaluation:
        """Compare the answers to all examples of a data set with the truth."""

    def predicted_files(self, data_set: DataSet, answers: Sequence[Any]) -> dict[str, str]:
        """Texts of the files that tell the answers to a test set, by `predicted_names`."""
        return {}

    def serving_input_receiver(self) -> tf.estimator.export.ServingInputReceiver:
        """Inputs of an exported model: ids [batch, length], or serialized examples."""
        return serving.ids_or_examples(MODEL_INPUTS)

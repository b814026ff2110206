"""Interface between a run and its task.

A task reads and checks its inputs, converts examples to records, builds its head on an encoder,
and converts the head's outputs to answers and metrics. The run takes care of the rest: record
files, processes, devices, checkpoints, results and export.

The run cuts the examples of a data set into chunks, which worker processes convert by `records`.
What the records hold must follow from the examples and the settings alone. A task may say where not
to cut (`belong_together`), and have its records counted (`counter`).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.cli.problems import Problems
from albert_tf.export import serving
from albert_tf.graph import estimators
from albert_tf.io.json_files import JsonObject
from albert_tf.nn.config import AlbertConfig
from albert_tf.records.record_files import RecordFields, RecordValues
from albert_tf.report.blocks import Section
from albert_tf.tasks.options import RunSettings
from modeling import AlbertModel
from tokenization import FullTokenizer

# `DataSet` or `RecordFiles`: a task gets back the kind that it has made in `read_inputs`.
OwnDataSet = Any

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")


@dataclass
class DataSet:
    """Examples of a task, to be converted to records by the run.

    Attributes:
      record_name: file name of the record file.
      inputs: paths of the source files, by the names to use in messages.
      examples: examples in the order of their file.
      batch_size: number of records in a prediction batch.
      record_file: path of the record file, if given by the user.
      record_dir: directory of the record file that several runs may share; by default `directory`.
      directory: directory of files that are not given otherwise; None for the output directory.
      companion_name: file name of the companion file, with the data that answers need in addition
        to the model's outputs; None if they need none.
      companion_file: path of the companion file, if given by the user.
      predicted_names: names of the prediction files of a test set.
      part: suffix of the metrics' names, to distinguish several evaluation sets.
      max_examples: number of examples that `limit` has left; None if it has left all.
    """

    record_name: str
    inputs: Mapping[str, str]
    examples: Sequence[Any]
    batch_size: int = 0
    record_file: str | None = None
    record_dir: str | None = None
    directory: str | None = None
    companion_name: str | None = None
    companion_file: str | None = None
    predicted_names: tuple[str, ...] = ()
    part: str = ""
    max_examples: int | None = None

    def limit(self, most: int) -> None:
        """Keep at most so many examples, spread evenly, as files are often sorted."""
        total = len(self.examples)
        if most < total:
            kept = {i * total // most for i in range(most)}
            self.examples = [x for place, x in enumerate(self.examples) if place in kept]
            self.max_examples = most


@dataclass
class RecordFiles:
    """Record files given by the user instead of examples.

    Attributes:
      flag: name of the flag with the paths.
      paths: paths of the files.
      batch_size: number of records in a prediction batch.
      max_records: maximum number of records to use; None for all.
      id_fields: fields with ids of pieces, to be checked against the size of the vocabulary.
      directory: as in `DataSet`; nothing is written for record files.
    """

    flag: str
    paths: list[str]
    batch_size: int = 0
    max_records: int | None = None
    id_fields: tuple[str, ...] = ("input_ids",)
    directory: str | None = None

    def limit(self, most: int) -> None:
        """Keep at most so many records, the first."""
        self.max_records = most if self.max_records is None else min(most, self.max_records)


@dataclass(frozen=True)
class Record:
    """A record of an example, and its companion.

    Attributes:
      values: values of the record, by field.
      companion: JSON object for the companion file, with the data that the answer needs in addition
        to the model's outputs.
      length: length of the whole example in pieces, before it is cut or split, for the report page;
        None for further records of the same example.
    """

    values: RecordValues
    companion: Any = None
    length: int | None = None


@dataclass(frozen=True)
class Skipped:
    """An example that cannot be converted to records; the run counts and names these in the log.

    Attributes:
      name: name of the example, such as its id.
      reason: the reason, the same for all examples that share it.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Prediction:
    """Outputs of the head for one record.

    Attributes:
      number: index of the record in its shard, from 0.
      outputs: arrays by name, without the batch axis.
      companion: companion of the record; None if the data set has none.
    """

    number: int
    outputs: Mapping[str, np.ndarray]
    companion: JsonObject | None = None


@dataclass(frozen=True)
class Evaluation:
    """Metrics and result files of a checkpoint.

    Attributes:
      metrics: metrics by name, higher is better; the first ranks the checkpoints. Empty if the true
        answers are unknown.
      files: contents of the files to write if the checkpoint is the best, by file name: text, or
        values to write as JSON.
      calibration: numbers that the true answers have shown to be best for the checkpoint, by name.
        The run keeps them for predictions without true answers, and for the exported model.
    """

    metrics: Mapping[str, float]
    files: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """Length of training, optimizer and learning-rate schedule.

    Attributes:
      steps: number of training steps; if None, `epochs` applies.
      epochs: number of epochs.
      warmup_steps: number of warm-up steps; if None, `warmup_proportion` applies.
      warmup_proportion: fraction of the steps used for warm-up.
      is_divided: whether to divide `steps` and `warmup_steps` by the number of cards.
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

    def resolve(self, num_examples: int, batch_size: int, num_cards: int) -> ResolvedSchedule:
        """Schedule in steps of this run.

        Args:
          num_examples: number of training examples.
          batch_size: examples in a step, per card.
          num_cards: number of cards.
        """
        cards = num_cards if self.is_divided else 1
        if self.steps is None:
            steps = int(num_examples / (batch_size * num_cards) * self.epochs)
        else:
            steps = self.steps // cards
        if self.warmup_steps is None:
            warmup_steps = int(steps * self.warmup_proportion)
        else:
            warmup_steps = self.warmup_steps // cards
        resolved = {**vars(self), "steps": steps, "warmup_steps": warmup_steps}
        return ResolvedSchedule(**resolved)


@dataclass(frozen=True)
class ResolvedSchedule(Schedule):
    """Schedule whose `steps` and `warmup_steps` are those of a run."""

    steps: int = 0
    warmup_steps: int = 0


class Task(abc.ABC):
    """Base class of tasks.

    Attributes:
      fate_of_long_examples: participle that says what becomes of an example that is longer than
        `max_seq_length`, for the report page.
      settings: settings of the run and the task.
      config: config of the model; None if it could not be read.
      tokenizer: the tokenizer; None if it could not be read or is not needed.
      train_set: training set; None without training.
      eval_sets: sets to evaluate the checkpoints on.
      test_sets: sets to predict with the final checkpoint, without evaluation.
      calibration: numbers by name that an earlier `evaluate` has found for the same checkpoint; set
        by the run before it calls `evaluate`.
      expects_checkpoint: whether to warn when training starts from random weights.
      kept_names: names of the JSON files that the task keeps with its model.
      kept_before: JSON values of these files, by name, as far as they are with the checkpoint that
        the run resumes from or predicts with.
      kept_in: directory of that checkpoint; "" without one.
      counter: name of a whole-number field of the records that the run fills in, and the number of
        the data set's first record; the others count up from there. None for no such field.
      records_version: version of the conversion from examples to records. A new one has the files
        of earlier versions made again.
    """

    fate_of_long_examples = "cut"
    expects_checkpoint = True
    kept_names: tuple[str, ...] = ()
    counter: tuple[str, int] | None = None
    records_version = 1

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
        self.eval_sets: Sequence[DataSet | RecordFiles] = []
        self.test_sets: Sequence[DataSet] = []
        self.calibration: Mapping[str, float] = {}
        self.kept_before: Mapping[str, Any] = {}
        self.kept_in = ""

    @classmethod
    def needs_tokenizer(cls, settings: Any) -> bool:
        """Whether the task needs a vocabulary, by settings of its class."""
        return True

    @property
    def title(self) -> str:
        """Name of the task for people; "" for the name of the class."""
        return ""

    @property
    def shares_group_0(self) -> bool:
        """Whether groups missing in the checkpoint start from its group 0."""
        return False

    @property
    def needed_config(self) -> AlbertConfig:
        """Config of the model, where the run cannot do without it."""
        assert self.config is not None
        return self.config

    @property
    def needed_tokenizer(self) -> FullTokenizer:
        """The tokenizer, where the run cannot do without it."""
        assert self.tokenizer is not None
        return self.tokenizer

    @property
    def has_head(self) -> bool:
        """Whether the inputs are known well enough to build the head."""
        return True

    @abc.abstractmethod
    def read_inputs(self, problems: Problems) -> None:
        """Read the data sets, and collect problems with them and with the task's settings."""

    @property
    @abc.abstractmethod
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings that the records depend on; JSON values by name."""
        return {
            "max_seq_length": self.settings.max_seq_length,
            "do_lower_case": self.settings.do_lower_case,
        }

    @property
    def answer_settings(self) -> dict[str, Any]:
        """Further settings that the answers depend on; JSON values by name."""
        return {}

    @property
    def exported_settings(self) -> dict[str, Any]:
        """Settings to store with a model, for its later use; JSON values by name."""
        return {**self.feature_settings, **self.answer_settings}

    @property
    def kept(self) -> dict[str, Any]:
        """JSON values to keep with the model, in `output_dir` and in exports, by `kept_names`."""
        return {}

    @property
    def sequence_fields(self) -> RecordFields:
        """Fields of the encoder's inputs."""
        sequence = tf.io.FixedLenFeature([self.settings.max_seq_length], tf.int64)
        return dict.fromkeys(MODEL_INPUTS, sequence)

    @abc.abstractmethod
    def fields(self, data_set: DataSet | RecordFiles) -> RecordFields:
        """Fields of the records of a data set."""

    def records(self, data_set: DataSet, examples: Mapping[int, Any]) -> Iterator[Record | Skipped]:
        """Yield the records of a chunk of examples, in order.

        This runs in worker processes, without sessions or files of the run.

        Args:
          data_set: the whole data set.
          examples: consecutive examples, by their index in the shard, which `answers` gets whole.
        """
        raise NotImplementedError

    def belong_together(self, first: Any, second: Any) -> bool:
        """Whether to convert two consecutive examples in one chunk, as they share work."""
        return False

    def prepare(self, numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Transform the features of a batch in the input pipeline.

        Args:
          numbers: int64 tensor [B], numbers of the records, unique in the run.
          features: tensors [B, ...] by field.

        Returns:
          The transformed features.
        """
        return features

    def denominators(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Denominators of a loss that is not a plain mean over the examples.

        The run computes them for the whole batch, over all micro-batches and cards, and adds them
        to the features of `loss`. The mean of the micro-batches' losses is then the batch's loss.

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
          encoder: encoder on the batch.
          features: int32 and float32 tensors [B, ...] by field, and the `denominators` by name.

        Returns:
          Scalar float tensor, the mean over the batch.
        """

    @abc.abstractmethod
    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build the head for prediction.

        Args:
          encoder: encoder on the batch.
          features: tensors [B, ...] by field; in an exported model only the encoder's inputs.

        Returns:
          Tensors [B, ...] by name.
        """

    def answers(self, examples: Sequence[Any], predictions: Iterable[Prediction]) -> list[Any]:
        """Convert the outputs of the head to answers.

        By default, an example has one record, and its answer is the outputs by name.

        Args:
          examples: examples of a shard; for `RecordFiles` the range of the record indices.
          predictions: outputs for the records of the examples, in any order.

        Returns:
          One JSON value per example, in order.
        """
        answers = {
            prediction.number: {name: x.tolist() for name, x in prediction.outputs.items()}
            for prediction in predictions
        }
        return [answers[number] for number in sorted(answers)]

    @abc.abstractmethod
    def evaluate(self, data_set: OwnDataSet, answers: Sequence[Any]) -> Evaluation:
        """Compare the answers to all examples of a data set with the true answers."""

    def report_sections(self, data_set: OwnDataSet, answers: Sequence[Any]) -> list[Section]:
        """Sections of the report page about the answers to all examples of a data set.

        Returns:
          The sections in order; none if the true answers are unknown.
        """
        return []

    def label_counts(self, data_set: DataSet) -> dict[str, int]:
        """Number of examples with each label, for the report page; empty without labels."""
        return {}

    def predicted_files(
        self, data_set: DataSet, answers: Sequence[Any]
    ) -> Mapping[str, str | Iterable[str]]:
        """Contents of the prediction files of a test set, by the names in `predicted_names`.

        The content of a file is its text, or the parts of it, to be written one after the other.
        """
        return {}

    def serving_input_receiver(self) -> estimators.ServingInputReceiver:
        """Make the inputs of an exported model: ids [batch, length], or serialized examples."""
        return serving.ids_or_examples(MODEL_INPUTS)

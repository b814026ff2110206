"""Interface between a run and its task.

A task knows its domain: it reads its data, converts examples to records, builds its head on an
encoder, and makes predictions and metrics of the head's outputs. The run takes care of the rest:
record files, processes, devices, checkpoints, results and export.
"""

from __future__ import annotations

import abc
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    TypeVar,
)

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.devices import distributed
from albert_tf.io.errors import InputError, SharedInputError
from albert_tf.io.json_files import JsonObject
from albert_tf.nn.config import AlbertConfig
from albert_tf.records.record_files import RecordFields
from albert_tf.records.splits import DEV, Record, RecordSplit, Skipped, Split, Splits
from albert_tf.tasks.options import RunSettings
from modeling import AlbertModel
from tokenization import FullTokenizer

if TYPE_CHECKING:
    from albert_tf.report.blocks import Section

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")

Artifacts = Mapping[str, JsonObject]  # by file name
Result = TypeVar("Result")


class Problems:
    """The problems found by this process.

    Example:

      problems = Problems()
      with problems.collected():
          questions = read_squad(path)
      problems.raise_all()
    """

    def __init__(self, messages: Iterable[str] = ()):
        """Start with some problems."""
        self._messages = [*messages]

    def add(self, message: str) -> None:
        """Add a problem, unless it is already in the collection."""
        if message not in self._messages:
            self._messages.append(message)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Catch an `InputError` raised in the block, and add its problems."""
        try:
            yield
        except InputError as error:
            for message in error.args:
                self.add(message)

    def result(self, function: Callable[..., Result], *arguments: object) -> Result | None:
        """Call a function; if it raises an `InputError`, add its problems and return None."""
        with self.collected():
            return function(*arguments)
        return None

    def raise_all(self) -> None:
        """Raise the problems of all processes, if any, one per line.

        A problem that rank 0 has found as well is reported only once.

        Raises:
          SharedInputError: if any process has found a problem.
        """
        first, *others = distributed.gather(self._messages)
        messages = list(first)
        for rank, found in enumerate(others, 1):
            messages += [f"rank {rank}: {message}" for message in found if message not in first]
        if messages:
            raise SharedInputError(*messages)


@dataclass(frozen=True)
class RecordOutput:
    """Outputs of the head for one record.

    Attributes:
      number: index of the record in its shard, from 0.
      outputs: arrays by name, without the batch axis.
      companion: companion of the record; None if the split has none.
    """

    number: int
    outputs: Mapping[str, np.ndarray]
    companion: JsonObject | None = None


@dataclass(frozen=True)
class Evaluation:
    """Metrics and result files of a checkpoint on a split.

    Attributes:
      metrics: metrics by name, higher is better except for losses; the first ranks the checkpoints.
        Empty if the true answers are unknown.
      files: contents of the files to write if the checkpoint is the best, by file name: a text, its
        parts one after the other, or a value to write as JSON.
      thresholds: thresholds that the true answers have shown to be best, by name. The run keeps
        them for predictions without true answers, and for the exported model.
      sections: function that makes the sections of the report page.
    """

    metrics: Mapping[str, float]
    files: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    sections: Callable[[], Sequence[Section]] = tuple


@dataclass(frozen=True)
class Schedule:
    """Length of training, optimizer and learning-rate schedule.

    Attributes:
      steps: number of training steps; if None, `epochs` applies.
      epochs: number of epochs.
      warmup_steps: number of warm-up steps; if None, `warmup_proportion` applies.
      warmup_proportion: fraction of the steps used for warm-up.
      is_divided: whether to divide `steps` and `warmup_steps` by the number of devices.
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

    def resolve(self, num_examples: int, batch_size: int, num_devices: int) -> ResolvedSchedule:
        """Schedule in steps of this run.

        Args:
          num_examples: number of training examples.
          batch_size: examples in a step, per device.
          num_devices: number of devices.
        """
        divisor = num_devices if self.is_divided else 1
        if self.steps is None:
            steps = int(num_examples / (batch_size * num_devices) * self.epochs)
        else:
            steps = self.steps // divisor
        if self.warmup_steps is None:
            warmup_steps = int(steps * self.warmup_proportion)
        else:
            warmup_steps = self.warmup_steps // divisor
        resolved = {**vars(self), "steps": steps, "warmup_steps": warmup_steps}
        return ResolvedSchedule(**resolved)


@dataclass(frozen=True)
class ResolvedSchedule(Schedule):
    """Schedule with the `steps` and `warmup_steps` of a run."""

    steps: int = 0
    warmup_steps: int = 0


class Task(abc.ABC):
    """Base class of tasks.

    Attributes:
      kind: name of the head, by which a converter or an exported model is told what it is.
      title: name of the task for people.
      serves_records: whether an exported model takes records rather than ids of any length.
      settings: settings of the run and the task.
      config: config of the model.
      tokenizer: the tokenizer; None if the task needs none.
      splits: what `read` has returned.
    """

    kind: ClassVar[str]
    title: str
    serves_records: ClassVar[bool] = False

    def __init__(
        self,
        settings: RunSettings,
        config: AlbertConfig,
        tokenizer: FullTokenizer | None,
        splits: Splits,
    ):
        """Create the task, which does not change later."""
        self.settings = settings
        self.config = config
        self.tokenizer = tokenizer
        self.splits = splits

    @classmethod
    @abc.abstractmethod
    def read(cls, settings: Any, artifacts: Artifacts, problems: Problems) -> Splits:
        """Read the splits, and collect problems with them and with the task's settings.

        Args:
          settings: settings of the run and the task.
          artifacts: files that the task has kept with the model that the run starts from.
          problems: collection of problems.
        """

    @property
    @abc.abstractmethod
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""

    @abc.abstractmethod
    def fields(self, split: Split | RecordSplit) -> RecordFields:
        """Fields of the records of a split."""

    def records(self, split: Split, examples: Mapping[int, Any]) -> Iterator[Record | Skipped]:
        """Yield the records of some examples, in order.

        This runs in worker processes, without sessions or files of the run.

        Args:
          split: the whole split.
          examples: consecutive examples, by their index in the shard, which `predictions` gets
            whole.
        """
        raise NotImplementedError

    @abc.abstractmethod
    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build the head and its loss for training.

        Args:
          encoder: encoder on the batch.
          features: int32 and float32 tensors [B, ...] by field, and denominators by name; see
            `HasDenominators`.

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

    def predictions(self, examples: Sequence[Any], outputs: Iterable[RecordOutput]) -> list[Any]:
        """Turn the outputs of the head into predictions.

        By default, an example has one record, and its prediction is the outputs by name.

        Args:
          examples: examples of a shard; for a `RecordSplit` the range of the record indices.
          outputs: outputs for the records of the examples, in any order.

        Returns:
          One JSON value per example, in order.
        """
        found = {
            output.number: {name: x.tolist() for name, x in output.outputs.items()}
            for output in outputs
        }
        return [found[number] for number in sorted(found)]

    @abc.abstractmethod
    def evaluate(
        self, split: Any, predictions: Sequence[Any], thresholds: Mapping[str, float]
    ) -> Evaluation:
        """Compare the predictions for all examples of a split with the true answers.

        Args:
          split: one of `splits.dev` or `splits.test`.
          predictions: predictions for all examples, in order.
          thresholds: thresholds that an earlier evaluation has found for the same checkpoint.
        """


class HasArtifacts(abc.ABC):
    """Part of a task that keeps JSON files with its model, in `output_dir` and in exports.

    Attributes:
      artifact_names: names of the files.
    """

    artifact_names: ClassVar[tuple[str, ...]]

    @property
    @abc.abstractmethod
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """JSON objects by file name."""


def artifacts_of(task: Task) -> dict[str, dict[str, Any]]:
    """JSON objects that a task keeps with its model, by file name; empty for none."""
    return task.artifacts if isinstance(task, HasArtifacts) else {}


class HasDynamicFeatures(abc.ABC):
    """Part of a task that changes the features of each batch in the input pipeline."""

    @abc.abstractmethod
    def dynamic_features(
        self, numbers: tf.Tensor, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Transform the features of a batch.

        Args:
          numbers: int64 tensor [B], numbers of the records, unique in the run.
          features: tensors [B, ...] by field.
        """


class HasDenominators(abc.ABC):
    """Part of a task whose loss is not a plain mean over the examples."""

    @abc.abstractmethod
    def denominators(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Denominators of the loss.

        The run computes them for the whole batch, over all micro-batches and ranks, and adds them
        to the features of `loss`. The mean of the micro-batches' losses is then the batch's loss.

        Args:
          features: tensors [B, ...] by field.

        Returns:
          Scalar float tensors by name.
        """


def sequence_fields(*shape: int) -> RecordFields:
    """Fields of the encoder's inputs, each of a shape."""
    return dict.fromkeys(MODEL_INPUTS, tf.io.FixedLenFeature(shape, tf.int64))


def input_fields(task: Task) -> RecordFields:
    """Fields of the encoder's inputs in the records of a task."""
    fields = task.fields(Split(DEV, "", {}, ()))
    return {name: fields[name] for name in MODEL_INPUTS}

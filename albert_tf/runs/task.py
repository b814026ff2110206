"""A task: what a script brings to a run, and the two halves of its model function."""

from __future__ import annotations

import abc
import itertools
import time
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging
from tqdm import tqdm

import optimization
from albert_tf.devices import distributed, hpu
from albert_tf.errors import InputError
from albert_tf.records import datasets
from albert_tf.records import record_files as records
from albert_tf.records.static_batches import InputFn, static_input_fns, without_padding
from albert_tf.runs import checkpoints, serving
from albert_tf.runs.evaluation import Evaluation
from albert_tf.runs.hooks import ProgressHook
from albert_tf.runs.startup import Problems, RunSettings, Start
from modeling import AlbertModel

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")


class Task(abc.ABC):
    """What a script brings to a run: its inputs, its model and how the model is judged.

    Attributes:
      settings: the shared settings.
      start: what the run starts from.
      num_train_steps: the step at which training ends.
      metric: name of the figure by which the best checkpoint is chosen; more is better.
      expects_checkpoint: whether training from random weights deserves a warning.
      init_groups: number of groups that start from a checkpoint's group 0; 0 for its own groups.
    """

    metric: str
    num_train_steps = 0
    expects_checkpoint = True
    init_groups = 0

    def __init__(self, settings: RunSettings, start: Start):
        """Makes the task; `read_inputs` completes it."""
        self.settings = settings
        self.start = start

    @staticmethod
    def needs_tokenizer(own_settings: Any) -> bool:
        """Whether the task, with the script's own settings, needs a vocabulary."""
        return True

    @property
    def has_model(self) -> bool:
        """Whether enough is known to build the model."""
        return self.start.config is not None

    @abc.abstractmethod
    def read_inputs(self, problems: Problems) -> None:
        """Reads the inputs, and adds to `problems` what is wrong with them or with the flags."""

    @property
    @abc.abstractmethod
    def record_files(self) -> list[str]:
        """Paths of the record files that the run reads."""

    @property
    @abc.abstractmethod
    def evaluated_on(self) -> dict[str, Any] | None:
        """What results depend on beside the checkpoint, as JSON values; None for no evaluation."""

    @property
    @abc.abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What all processes must have read alike, as JSON values: digests by flag, and so on."""

    @abc.abstractmethod
    def model_fn(self, features, labels, mode, params) -> tf.estimator.EstimatorSpec:
        """The Estimator's model function, for training and prediction."""

    @abc.abstractmethod
    def train_input_fn(self, start_step: int) -> Callable[[], tf.data.Dataset]:
        """The Estimator's input function for training from `start_step` on, on this process's part
        of the examples; may first do the slow work of making record files."""

    @abc.abstractmethod
    def evaluate(self, estimator: tf.estimator.Estimator, checkpoint: str) -> Evaluation:
        """Predicts with a checkpoint, each process its part, and judges what all predict."""

    def predict(self, estimator: tf.estimator.Estimator, checkpoint: str) -> None:  # noqa: B027
        """Predicts, with the checkpoint that the run ends with, what cannot be judged; nothing if
        the task has no such data."""

    def serving_input_receiver(self) -> tf.estimator.export.ServingInputReceiver:
        """The inputs of an exported model: those of the model, [batch, length], or records."""
        return serving.ids_or_examples(MODEL_INPUTS)

    @property
    def exported_settings(self) -> dict[str, Any]:
        """How text becomes the inputs of an exported model."""
        return {
            "max_seq_length": self.settings.max_seq_length,
            "do_lower_case": self.settings.do_lower_case,
        }

    @property
    def sequence_features(self) -> records.FeatureSpec:
        """What the model reads of a record."""
        sequence = tf.io.FixedLenFeature([self.settings.max_seq_length], tf.int64)
        return dict.fromkeys(MODEL_INPUTS, sequence)

    def encoder(self, features: Mapping[str, tf.Tensor], is_training: bool) -> AlbertModel:
        """The encoder of the model inputs among the features that a graph reads.

        Raises:
          ValueError: on an HPU, if one of them has no static shape.
        """
        hpu.check_static_shapes(features)
        return AlbertModel(
            self.start.config,
            is_training,
            *(features[name] for name in MODEL_INPUTS),
            use_einsum=self.settings.use_einsum,
        )

    def digests(self, **inputs: str) -> dict[str, str]:
        """The digests of input files, given by name, and of the vocabulary."""
        flag = "spm_model_file" if self.settings.spm_model_file else "vocab_file"
        paths = {**inputs, flag: getattr(self.settings, flag)}
        return {name: records.digest(path) for name, path in paths.items()}

    def training_input_fn(
        self,
        paths: str | Sequence[str],
        num_records: int,
        feature_spec: records.FeatureSpec,
        start_step: int,
        prepare: datasets.Prepare | None = None,
        spans: Sequence[range] | None = None,
    ) -> Callable[[], tf.data.Dataset]:
        """The Estimator's input function that reads record files from `start_step` on.

        Raises:
          InputError: if there is no record.
        """
        if not num_records:
            raise InputError(
                f"{paths}: there is no example for this process to train on; start fewer processes"
            )
        batch_size = self.settings.train_batch_size
        return lambda: datasets.training_dataset(
            paths,
            num_records,
            feature_spec,
            batch_size,
            skip_records=start_step * batch_size,
            parallel=not self.settings.deterministic_run,
            prepare=prepare,
            parts=self.settings.gradient_accumulation_steps,
            spans=spans,
        )

    def prediction_input_fns(
        self, input_fn: InputFn, batch_size: int, lengths: Sequence[int]
    ) -> list[InputFn]:
        """What `predicted_batches` reads: an input function, on an HPU one for each length.

        The arguments are those of `static_input_fns`.
        """
        if not self.needs_static_shapes:
            return [input_fn]
        return static_input_fns(input_fn, batch_size, lengths)

    @property
    def needs_static_shapes(self) -> bool:
        """Whether the graphs are compiled anew for each shape."""
        return hpu.is_hpu()

    def train_spec(
        self,
        loss: tf.Tensor,
        num_warmup_steps: int,
        optimizer: str = "adamw",
        poly_power: float = 1.0,
        start_warmup_step: int = 0,
    ) -> tf.estimator.EstimatorSpec:
        """The training half of a model function.

        Args:
          loss: scalar float tensor: with --gradient_accumulation_steps or several processes that
            of a part of a batch, such that the mean over the parts is the loss of the batch.
          num_warmup_steps: length of the warm-up in steps.
          optimizer: "adamw" or "lamb".
          poly_power: power of the polynomial decay of the learning rate.
          start_warmup_step: the step at which the warm-up begins.
        """
        settings = self.settings
        if self.start.init_checkpoint and not checkpoints.latest_checkpoint(settings.output_dir):
            checkpoints.initialize_from(self.start.init_checkpoint, self.init_groups)
        train_op = optimization.create_optimizer(
            loss,
            settings.learning_rate * distributed.size(),
            self.num_train_steps,
            num_warmup_steps,
            use_tpu=False,
            optimizer=optimizer,
            poly_power=poly_power,
            start_warmup_step=start_warmup_step,
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            horovod_compression=settings.horovod_compression,
        )
        progress = ProgressHook(
            loss,
            tf.get_default_graph().get_tensor_by_name("learning_rate:0"),
            self.num_train_steps,
            settings.train_batch_size * distributed.size(),
            settings.output_dir if distributed.is_chief() else None,
            settings.save_summary_steps,
            settings.gradient_accumulation_steps,
        )
        return tf.estimator.EstimatorSpec(
            tf.estimator.ModeKeys.TRAIN,
            loss=loss,
            train_op=train_op,
            training_hooks=[
                *distributed.training_hooks(),
                *hpu.profiling_hooks(settings.synapse_logger_start),
                progress,
            ],
        )


def model_inputs() -> dict[str, tf.Tensor]:
    """Placeholders for the inputs of a model: a batch of any size and length."""
    return {name: tf.placeholder(tf.int32, [None, None], name) for name in MODEL_INPUTS}


def predicted_batches(
    estimator: tf.estimator.Estimator,
    checkpoint: str,
    input_fns: Sequence[InputFn],
    unit: str,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the predictions of a checkpoint batch by batch, and logs the speed at the end.

    All processes predict, each on its part; only rank 0 reads the checkpoint.

    Args:
      estimator: the Estimator.
      checkpoint: prefix of the checkpoint.
      input_fns: the Estimator's input functions for this process's part, by
        `Task.prediction_input_fns`.
      unit: what is predicted: "windows".
    """
    start_time, count = time.time(), 0
    own_checkpoint = checkpoint if distributed.is_chief() else None
    with tqdm(desc="predicting", unit=f" {unit}", disable=None) as bar:
        for batch in itertools.chain.from_iterable(
            estimator.predict(input_fn, checkpoint_path=own_checkpoint, yield_single_examples=False)
            for input_fn in input_fns
        ):
            batch = without_padding(batch)
            yield batch
            batch_size = len(next(iter(batch.values())))
            bar.update(batch_size)
            count += batch_size
    count = sum(distributed.gather(count))
    seconds = time.time() - start_time
    logging.info(
        "%s: %d %s predicted in %.1f s (%.1f %s/s)",
        *(checkpoint, count, unit, seconds, count / seconds, unit),
    )


def predicted_arrays(
    estimator: tf.estimator.Estimator,
    checkpoint: str,
    input_fns: Sequence[InputFn],
    unit: str,
) -> dict[str, np.ndarray]:
    """What all processes predict with a checkpoint: arrays [examples, ...] by name, in the order of
    the ranks. The arguments are those of `predicted_batches`."""
    batches = list(predicted_batches(estimator, checkpoint, input_fns, unit))
    names = batches[0] if batches else ()
    return distributed.gather_arrays(
        {name: np.concatenate([batch[name] for batch in batches]) for name in names}
    )


def prediction_spec(predictions: Mapping[str, tf.Tensor]) -> tf.estimator.EstimatorSpec:
    """The prediction half of a model function.

    Only the model's variables are restored: published checkpoints have no global step.
    """
    variables = tf.trainable_variables()
    scaffold = tf.train.Scaffold(
        saver=tf.train.Saver(variables),
        ready_for_local_init_op=tf.constant([], tf.string),  # nothing is left uninitialized
        local_init_op=tf.group(
            tf.train.Scaffold.default_local_init_op(),
            tf.train.get_or_create_global_step().initializer,
        ),
    )
    return tf.estimator.EstimatorSpec(
        tf.estimator.ModeKeys.PREDICT,
        predictions=dict(predictions),
        scaffold=scaffold,
        prediction_hooks=distributed.session_hooks(),
    )

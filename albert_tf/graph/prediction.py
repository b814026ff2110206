"""Prediction: outputs of a checkpoint for the records of a data set, and answers from them."""

from __future__ import annotations

import itertools
import time
from typing import Any, Dict, Iterable, Iterator, Mapping, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging
from tqdm import tqdm

from albert_tf.cli import signals
from albert_tf.devices import bfloat16, distributed, reductions
from albert_tf.graph.model import build_predictions, session_config
from albert_tf.io.errors import InputError
from albert_tf.records import static_batches
from albert_tf.run.context import Setup
from albert_tf.run.shards import IS_REAL, NUMBER, ExampleShard, FileShard, InputFn
from albert_tf.run_dir import checkpoint_files, checkpoints
from albert_tf.tasks.base import Prediction

# Names, types and shapes of the features of a batch.
Structure = Tuple[Tuple[str, str, str], ...]
# Outputs by name, and ops to fetch with them.
Fetches = Tuple[Dict[str, tf.Tensor], Sequence[tf.Operation]]


class Predictor:
    """Prediction graph of a run, whose session is kept from one checkpoint to the next."""

    def __init__(self, setup: Setup):
        """Make the object; the graph is built for the first data set."""
        self._setup = setup
        self._graph: _PredictionGraph | None = None

    def answers(self, checkpoint: str, shard: ExampleShard | FileShard) -> list[Any]:
        """Predict the answers to all examples of a data set, each process for its own shard.

        All processes must call this function; only rank 0 reads the checkpoint.

        Args:
          checkpoint: prefix of the checkpoint.
          shard: this process's shard of the data set.

        Returns:
          The answers to the examples of all shards, in order.

        Raises:
          InputError: if the checkpoint is damaged or has diverged, or the record file of a shard
            has other examples.
        """
        shard.prepare()
        batches = self._batches(checkpoint, shard)
        predictions = _predictions(checkpoint, batches, shard.companions())
        answers = self._setup.task.answers(shard.examples, predictions)
        shard.check_answers(answers)
        return list(itertools.chain.from_iterable(distributed.gather(answers)))

    def _batches(
        self, checkpoint: str, shard: ExampleShard | FileShard
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the outputs of each batch, and log the throughput at the end."""
        start_time, count = time.time(), 0
        self._graph = self._graph or _PredictionGraph(self._setup)
        with tqdm(desc="predicting", unit=" records", disable=None, leave=False) as bar:
            for batch in self._graph.batches(checkpoint, shard):
                signals.check()  # in the middle of training too
                batch = static_batches.without_fillers(batch)
                batch_size = len(batch[NUMBER])
                yield batch
                bar.update(batch_size)
                count += batch_size
        count = sum(distributed.gather(count))
        seconds = time.time() - start_time
        logging.info(
            "%s: predicted %d records in %.1f s (%.1f records/s)",
            checkpoint,
            count,
            seconds,
            count / seconds,
        )

    def close(self) -> None:
        """Free the memory of the session."""
        if self._graph:
            self._graph.close()
            self._graph = None


class _PredictionGraph:
    """Graph with the model's variables, and outputs for each structure of batches."""

    def __init__(self, setup: Setup):
        self._setup = setup
        self._graph = tf.Graph()
        self._session = tf.Session(graph=self._graph, config=session_config(setup, setup.device))
        self._restore: tf.train.SaverDef | None = None
        self._restored: str | None = None  # digest of the checkpoint
        # Iterator, and tensors to fetch, by the structure of the batches.
        self._outputs: dict[Structure, tuple[tf.data.Iterator, Fetches]] = {}
        # Ops that start a pass over the records, and tensors to fetch, by shard.
        self._passes: dict[ExampleShard | FileShard, list[tuple[tf.Operation, Fetches]]] = {}

    def batches(
        self, checkpoint: str, shard: ExampleShard | FileShard
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the outputs of a checkpoint for the batches of a shard."""
        if shard not in self._passes:
            with self._graph.as_default():
                datasets = [input_fn() for input_fn in _input_fns(self._setup, shard)]
                self._passes[shard] = [self._pass(dataset) for dataset in datasets]
        self._load(checkpoint)
        for start, fetches in self._passes[shard]:
            self._session.run(start)
            while True:
                try:
                    yield self._session.run(fetches)[0]
                except tf.errors.OutOfRangeError:
                    break

    def _pass(self, dataset: tf.data.Dataset) -> tuple[tf.Operation, Fetches]:
        """Op that starts a pass over a dataset, and tensors to fetch for each of its batches."""
        types, shapes = tf.data.get_output_types(dataset), tf.data.get_output_shapes(dataset)
        structure = tuple((name, str(types[name]), str(shapes[name])) for name in sorted(types))
        if structure not in self._outputs:
            iterator = tf.data.Iterator.from_structure(types, shapes)
            # All models in the graph have the same variables.
            with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
                outputs = build_predictions(
                    self._setup.task, self._setup.device, iterator.get_next()
                )
            self._outputs[structure] = iterator, (outputs, self._kept_in_float32(outputs))
        iterator, fetches = self._outputs[structure]
        return iterator.make_initializer(dataset), fetches

    def _kept_in_float32(self, outputs: Mapping[str, tf.Tensor]) -> Sequence[tf.Operation]:
        """Ops to fetch with the outputs, so that they are not converted to bfloat16."""
        if not (self._setup.bfloat16 and self._setup.device.rewrites_to_bfloat16):
            return ()
        hook = bfloat16.ConversionHook(self._setup.bfloat16)
        hook.begin()
        context = tf.train.SessionRunContext(tf.train.SessionRunArgs(outputs), self._session)
        return hook.before_run(context).fetches

    def _load(self, checkpoint: str) -> None:
        """Set the variables of all processes to a checkpoint, unless it is the last one loaded."""
        is_chief = distributed.is_chief()
        digest = distributed.broadcast(checkpoint_files.digest(checkpoint) if is_chief else None)
        if digest == self._restored:
            return
        if self._restore is None:
            with self._graph.as_default():
                variables = tf.trainable_variables()
                self._restore = tf.train.Saver(variables).saver_def
                self._broadcast = reductions.broadcast(variables)
                local = tf.train.Scaffold.default_local_init_op()
                self._session.run([local, tf.variables_initializer(variables)])
        if is_chief:
            with checkpoints.named_if_damaged(checkpoint):
                self._session.run(
                    self._restore.restore_op_name,
                    {self._restore.filename_tensor_name: checkpoint},
                )
        self._session.run(self._broadcast)
        self._restored = digest

    def close(self) -> None:
        self._session.close()


def _input_fns(setup: Setup, shard: ExampleShard | FileShard) -> list[InputFn]:
    """Functions that make the data sets to predict: one, or one per length if shapes are static."""
    full_length = [setup.settings.max_seq_length]
    lengths = setup.length_buckets if isinstance(shard, ExampleShard) else full_length

    def input_fn() -> tf.data.Dataset:
        return shard.prediction_dataset(lengths)

    if not setup.device.static_shapes:
        return [input_fn]
    return static_batches.static_input_fns(input_fn, shard.data_set.batch_size, lengths)


def _predictions(
    checkpoint: str, batches: Iterable[dict[str, np.ndarray]], companions: Iterator[Any]
) -> Iterator[Prediction]:
    """Yield the outputs of each record with its companion."""
    numbered = enumerate(companions)
    waiting: dict[int, Any] = {}  # companions read ahead of their records
    for batch in batches:
        _check_finite(checkpoint, batch)
        is_real = batch.pop(IS_REAL, None)
        for row, number in enumerate(batch.pop(NUMBER)):
            while number not in waiting:
                waiting.update([next(numbered)])
            companion = waiting.pop(number)
            if is_real is None or is_real[row]:
                outputs = {name: values[row] for name, values in batch.items()}
                yield Prediction(int(number), outputs, companion)


def _check_finite(checkpoint: str, batch: Mapping[str, np.ndarray]) -> None:
    for values in batch.values():
        if not np.isfinite(values).all():
            raise InputError(
                f"{checkpoint}: the predictions are not finite, as training has diverged; train "
                "again with a lower --learning_rate, in another --output_dir"
            )

"""Prediction: outputs of a checkpoint for the records of a split, and predictions from them."""

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
from albert_tf.devices.bfloat16 import ConversionConfig
from albert_tf.devices.device import Device
from albert_tf.graph.model import build_predictions, session_config
from albert_tf.io.errors import InputError
from albert_tf.records import datasets, static_batches
from albert_tf.records.shards import IS_REAL, NUMBER, ExampleShard, Shard
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.base import HasDynamicFeatures, RecordOutput, Task

# Names, types and shapes of the features of a batch.
Structure = Tuple[Tuple[str, str, str], ...]
# Outputs by name, and ops to fetch with them.
Fetches = Tuple[Dict[str, tf.Tensor], Sequence[tf.Operation]]


class Predictor:
    """Prediction graph of a run, whose session is kept from one checkpoint to the next."""

    def __init__(
        self,
        task: Task,
        on_device: Device,
        conversion: ConversionConfig | None = None,
        length_buckets: Sequence[int] = (),
    ):
        """Make the object; the graph is built for the first split.

        Args:
          task: the task.
          on_device: device of the graph.
          conversion: op types to run in bfloat16; None for none.
          length_buckets: lengths to pad to, ascending; none to sort the records by length.
        """
        self._task = task
        self._device = on_device
        self._conversion = conversion
        self._length_buckets = length_buckets
        self._graph: _PredictionGraph | None = None

    def predictions(self, checkpoint: str, shard: Shard) -> list[Any]:
        """Predict all examples of a split, each process its own shard.

        All processes must call this function; only rank 0 reads the checkpoint.

        Args:
          checkpoint: prefix of the checkpoint.
          shard: this process's shard of the split.

        Returns:
          The predictions for the examples of all shards, in order.

        Raises:
          InputError: if the checkpoint is damaged or has diverged, or the record file of a shard
            has other examples.
        """
        shard.prepare()
        batches = self._batches(checkpoint, shard)
        outputs = _record_outputs(checkpoint, batches, shard.companions())
        predictions = self._task.predictions(shard.examples, outputs)
        shard.check_predictions(predictions)
        return list(itertools.chain.from_iterable(distributed.gather(predictions)))

    def _batches(self, checkpoint: str, shard: Shard) -> Iterator[dict[str, np.ndarray]]:
        """Yield the outputs of each batch, and log the throughput at the end."""
        start_time, count = time.time(), 0
        self._graph = self._graph or _PredictionGraph(
            self._task, self._device, self._conversion, self._length_buckets
        )
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

    def __init__(
        self,
        task: Task,
        on_device: Device,
        conversion: ConversionConfig | None,
        length_buckets: Sequence[int],
    ):
        self._task = task
        self._device = on_device
        self._conversion = conversion if on_device.rewrites_to_bfloat16 else None
        self._length_buckets = length_buckets
        self._graph = tf.Graph()
        config = session_config(task.settings, on_device, conversion)
        self._session = tf.Session(graph=self._graph, config=config)
        self._restore: tf.train.SaverDef | None = None
        self._restored: str | None = None  # digest of the checkpoint
        # Iterator, and tensors to fetch, by the structure of the batches.
        self._outputs: dict[Structure, tuple[tf.data.Iterator, Fetches]] = {}
        # Ops that start a pass over the records, and tensors to fetch, by shard.
        self._passes: dict[Shard, list[tuple[tf.Operation, Fetches]]] = {}

    def batches(self, checkpoint: str, shard: Shard) -> Iterator[dict[str, np.ndarray]]:
        """Yield the outputs of a checkpoint for the batches of a shard."""
        if shard not in self._passes:
            with self._graph.as_default():
                self._passes[shard] = [self._pass(dataset) for dataset in self._datasets(shard)]
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
                outputs = build_predictions(self._task, self._device, iterator.get_next())
            self._outputs[structure] = iterator, (outputs, self._kept_in_float32(outputs))
        iterator, fetches = self._outputs[structure]
        return iterator.make_initializer(dataset), fetches

    def _kept_in_float32(self, outputs: Mapping[str, tf.Tensor]) -> Sequence[tf.Operation]:
        """Ops to fetch with the outputs, so that they are not converted to bfloat16."""
        if not self._conversion:
            return ()
        hook = bfloat16.ConversionHook(self._conversion)
        hook.begin()
        context = tf.train.SessionRunContext(tf.train.SessionRunArgs(outputs), self._session)
        return hook.before_run(context).fetches

    def _load(self, checkpoint: str) -> None:
        """Set the variables of all processes to a checkpoint, unless it is the last one loaded."""
        is_chief = distributed.is_chief()
        digest = distributed.broadcast(checkpoints.digest(checkpoint) if is_chief else None)
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

    def _datasets(self, shard: Shard) -> list[tf.data.Dataset]:
        """Datasets to predict: one, or one per length of static shapes."""
        full_length = [self._task.settings.max_seq_length]
        lengths = self._length_buckets if isinstance(shard, ExampleShard) else full_length
        dataset = shard.prediction_dataset(lengths, dynamic_features(self._task))
        if not self._device.static_shapes:
            return [dataset]
        size = shard.split.batch_size
        return [static_batches.of_length(dataset, size, length) for length in lengths]

    def close(self) -> None:
        self._session.close()


def dynamic_features(task: Task) -> datasets.Prepare | None:
    """Function that changes the features of each batch, if the task does so."""
    return task.dynamic_features if isinstance(task, HasDynamicFeatures) else None


def _record_outputs(
    checkpoint: str, batches: Iterable[dict[str, np.ndarray]], companions: Iterator[Any]
) -> Iterator[RecordOutput]:
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
                yield RecordOutput(int(number), outputs, companion)


def _check_finite(checkpoint: str, batch: Mapping[str, np.ndarray]) -> None:
    for values in batch.values():
        if not np.isfinite(values).all():
            raise InputError(
                f"{checkpoint}: the predictions are not finite, as training has diverged; train "
                "again with a lower --learning_rate, in another --output_dir"
            )

"""Prediction: outputs of a checkpoint for the records of a data set, and answers from them."""

from __future__ import annotations

import itertools
import time
from typing import Any, Iterator, Mapping

import numpy as np
from absl import logging
from tqdm import tqdm

from albert_tf import estimators
from albert_tf.devices import distributed
from albert_tf.errors import InputError
from albert_tf.records import static_batches
from albert_tf.runs import checkpoints
from albert_tf.runs.setup import Setup
from albert_tf.runs.shards import IS_REAL, NUMBER, ExampleShard, FileShard
from albert_tf.runs.task import Prediction


def predict_answers(
    setup: Setup,
    estimator: estimators.Estimator,
    checkpoint: str,
    shard: ExampleShard | FileShard,
) -> list[Any]:
    """Predict the answers to all examples of a data set, each process for its own shard.

    All processes must call this function; only rank 0 reads the checkpoint.

    Args:
      setup: setup of the run.
      estimator: Estimator of the run.
      checkpoint: prefix of the checkpoint.
      shard: this process's shard of the data set.

    Returns:
      The answers to the examples of all shards, in order.

    Raises:
      InputError: if the checkpoint is damaged or has diverged, or the record file of a shard has
        other examples.
    """
    shard.prepare()
    input_fns = _input_fns(setup, shard)
    batches = _batches(estimator, checkpoint, input_fns)
    predictions = _predictions(checkpoint, batches, shard.companions())
    with checkpoints.named_if_damaged(checkpoint):
        answers = setup.task.answers(shard.examples, predictions)
    shard.check_answers(answers)
    return list(itertools.chain.from_iterable(distributed.gather(answers)))


def _input_fns(setup, shard):
    """Input functions for the Estimator: one, or one per length if shapes are static."""
    lengths = setup.length_buckets if isinstance(shard, ExampleShard) else None
    lengths = lengths or [setup.settings.max_seq_length]

    def input_fn():
        return shard.prediction_dataset(lengths)

    if not setup.device.static_shapes:
        return [input_fn]
    return static_batches.static_input_fns(input_fn, shard.data_set.batch_size, lengths)


def _batches(estimator, checkpoint, input_fns) -> Iterator[dict[str, np.ndarray]]:
    """Yield the outputs of each batch, and log the throughput at the end."""
    start_time, count = time.time(), 0
    own_checkpoint = checkpoint if distributed.is_chief() else None
    with tqdm(desc="predicting", unit=" records", disable=None) as bar:
        for batch in itertools.chain.from_iterable(
            estimator.predict(input_fn, checkpoint_path=own_checkpoint, yield_single_examples=False)
            for input_fn in input_fns
        ):
            batch = static_batches.without_fillers(batch)
            batch_size = len(batch[NUMBER])
            yield batch
            bar.update(batch_size)
            count += batch_size
    count = sum(distributed.gather(count))
    seconds = time.time() - start_time
    logging.info(
        "%s: predicted %d records in %.1f s (%.1f records/s)",
        *(checkpoint, count, seconds, count / seconds),
    )


def _predictions(checkpoint, batches, companions: Iterator[Any]) -> Iterator[Prediction]:
    """Yield the outputs of each record with its companion."""
    companions = enumerate(companions)
    waiting = {}  # companions read ahead of their records
    for batch in batches:
        _check_finite(checkpoint, batch)
        is_real = batch.pop(IS_REAL, None)
        for row, number in enumerate(batch.pop(NUMBER)):
            while number not in waiting:
                waiting.update([next(companions)])
            companion = waiting.pop(number)
            if is_real is None or is_real[row]:
                outputs = {name: values[row] for name, values in batch.items()}
                yield Prediction(int(number), outputs, companion)


def _check_finite(checkpoint: str, batch: Mapping[str, np.ndarray]) -> None:
    for values in batch.values():
        if not np.isfinite(values).all():
            raise InputError(
                f"{checkpoint}: the predictions are not finite, as training has diverged; train "
                "again with a lower --learning_rate"
            )

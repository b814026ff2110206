"""Prediction: the outputs of a checkpoint for the records of a data set, and their answers."""

from __future__ import annotations

import itertools
import time
from typing import Any, Iterator, Mapping

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging
from tqdm import tqdm

from albert_tf.devices import distributed
from albert_tf.errors import InputError
from albert_tf.records import static_batches
from albert_tf.runs import checkpoints
from albert_tf.runs.setup import Setup
from albert_tf.runs.shards import IS_REAL, NUMBER, ExampleShard, FileShard
from albert_tf.runs.task import Prediction


def predict_answers(
    setup: Setup,
    estimator: tf.estimator.Estimator,
    checkpoint: str,
    shard: ExampleShard | FileShard,
) -> list[Any]:
    """Answers to all examples of a data set, in their order; each process predicts its shard.

    All processes must call this; only rank 0 reads the checkpoint.

    Args:
      setup: the run.
      estimator: its Estimator.
      checkpoint: prefix of the checkpoint.
      shard: this process's shard of the data set.
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
    """The Estimator's input functions; for static shapes one for each length."""
    lengths = setup.length_buckets if isinstance(shard, ExampleShard) else None
    lengths = lengths or [setup.settings.max_seq_length]

    def input_fn():
        return shard.prediction_dataset(lengths)

    if not setup.device.static_shapes:
        return [input_fn]
    return static_batches.static_input_fns(input_fn, shard.data_set.batch_size, lengths)


def _batches(estimator, checkpoint, input_fns) -> Iterator[dict[str, np.ndarray]]:
    """Yield the outputs of batches; log the speed at the end."""
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
        "%s: %d records predicted in %.1f s (%.1f records/s)",
        *(checkpoint, count, seconds, count / seconds),
    )


def _predictions(checkpoint, batches, companions: Iterator[Any]) -> Iterator[Prediction]:
    """Yield the outputs of each record with its companion."""
    companions = enumerate(companions)
    passed_over = {}  # companions of records that come later
    for batch in batches:
        _check_finite(checkpoint, batch)
        is_real = batch.pop(IS_REAL, None)
        for row, number in enumerate(batch.pop(NUMBER)):
            while number not in passed_over:
                passed_over.update([next(companions)])
            companion = passed_over.pop(number)
            if is_real is None or is_real[row]:
                outputs = {name: values[row] for name, values in batch.items()}
                yield Prediction(int(number), outputs, companion)


def _check_finite(checkpoint: str, batch: Mapping[str, np.ndarray]) -> None:
    for values in batch.values():
        if not np.isfinite(values).all():
            raise InputError(
                f"{checkpoint}: its predictions are not numbers, as its training has diverged; "
                "train anew with a lower --learning_rate"
            )

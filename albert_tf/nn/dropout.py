"""Dropout that a resumed run continues.

In a run, the masks depend on the run's seed, on the place in the graph and on the number of the
batch's first record, and on nothing else. So a resumed run drops what an undisturbed one would
have dropped, and no two batches, micro-batches or ranks have the same masks.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from typing import Iterator

import tensorflow.compat.v1 as tf

from albert_tf.devices import device

_MOST_PLACES = 1 << 20  # places with dropout in a graph


# Seeds of the dropout in a graph, int64 [2], one for each place.
_seeds: contextvars.ContextVar[Iterator[tf.Tensor] | None] = contextvars.ContextVar(
    "seeds", default=None
)


@contextlib.contextmanager
def seeded(seed: int, number: tf.Tensor | None) -> Iterator[None]:
    """Draw the masks of all dropout built in the block from a seed.

    Args:
      seed: seed of the run.
      number: scalar int64 tensor, number of the batch's first record, unique in the run; None to
        draw random masks.
    """
    places = itertools.count(seed * _MOST_PLACES)
    seeds = (tf.stack([tf.constant(place, tf.int64), number]) for place in places)
    token = _seeds.set(None if number is None else seeds)
    try:
        yield
    finally:
        _seeds.reset(token)


def dropout(input_tensor: tf.Tensor, dropout_prob: float | None) -> tf.Tensor:
    """Apply dropout.

    Args:
      input_tensor: float tensor of any shape.
      dropout_prob: probability of setting a value to 0; with None or 0, the input is returned
        unchanged.

    Returns:
      Tensor with the shape and dtype of `input_tensor`, remaining values scaled by
      1 / (1 - dropout_prob).
    """
    if not dropout_prob:
        return input_tensor
    seeds = _seeds.get()
    if seeds is None or not device.current().has_stateless_random:
        return tf.nn.dropout(input_tensor, rate=dropout_prob)
    return tf.nn.experimental.stateless_dropout(input_tensor, dropout_prob, next(seeds))

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


class _Seeds:
    """Seeds of the dropout in a graph, one for each place."""

    def __init__(self, seed: int, number: tf.Tensor):
        self._first = seed * _MOST_PLACES
        self._places = itertools.count()
        self._number = tf.cast(number, tf.int64)

    def next(self) -> tf.Tensor:
        """Seed of the next place, int64 [2]."""
        place = tf.constant(self._first + next(self._places), tf.int64)
        return tf.stack([place, self._number])


_seeds: contextvars.ContextVar[_Seeds | None] = contextvars.ContextVar("seeds", default=None)


@contextlib.contextmanager
def seeded(seed: int, number: tf.Tensor | None) -> Iterator[None]:
    """Draw the masks of all dropout built in the block from a seed.

    Args:
      seed: seed of the run.
      number: scalar int tensor, number of the batch's first record, unique in the run; None to draw
        random masks.
    """
    token = _seeds.set(None if number is None else _Seeds(seed, number))
    try:
        yield
    finally:
        _seeds.reset(token)


def dropout(input_tensor: tf.Tensor, rate: float) -> tf.Tensor:
    """Set random values to 0, and scale the others by 1 / (1 - rate).

    Args:
      input_tensor: float tensor.
      rate: probability of setting a value to 0.
    """
    seeds = _seeds.get()
    if seeds is None or not device.current().has_stateless_random:
        return tf.nn.dropout(input_tensor, rate=rate)
    return tf.nn.experimental.stateless_dropout(input_tensor, rate, seeds.next())

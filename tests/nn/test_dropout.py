"""Masks of dropout as a function of the seed and the number of the record."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.nn.dropout import dropout, seeded

pytestmark = pytest.mark.tensorflow

SIZE = 10_000


def masks(seed, *numbers):
    """Masks of two places in a graph, for batches that begin with given records."""
    with tf.Graph().as_default(), tf.Session() as session:
        number = tf.placeholder(tf.int64, [])
        with seeded(seed, number):
            places = [dropout(tf.ones([SIZE]), 0.25) for _ in range(2)]
        return [session.run(places, {number: value}) for value in numbers]


def test_a_batch_has_its_masks_in_any_session():
    first, second = masks(1, 8, 1 << 40)
    np.testing.assert_array_equal(masks(1, 1 << 40), [second])
    np.testing.assert_array_equal(masks(1, 8), [first])


def test_no_two_masks_are_alike():
    all_masks = np.concatenate([np.reshape(masks(seed, 8, 9), [4, SIZE]) for seed in (1, 2)])
    kept = all_masks > 0
    for row, mask in enumerate(kept):
        assert abs(mask.mean() - 0.75) < 0.02
        for other in kept[:row]:
            # Independent masks agree in 0.75 * 0.75 + 0.25 * 0.25 of the places.
            assert abs((mask == other).mean() - 0.625) < 0.03
    assert set(np.unique(all_masks)) == {0.0, np.float32(1 / 0.75)}


def test_without_a_seed_masks_are_random(graph):
    with tf.Session() as session:
        values = dropout(tf.ones([SIZE]), 0.25)
        assert (session.run(values) != session.run(values)).any()

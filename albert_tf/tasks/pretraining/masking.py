"""Dynamic masking: new n-grams of a record are masked each time it is read.

The masks follow the rules of `instances.py`, but in TensorFlow operations, so reading never
waits for Python. They depend only on the seed and on the number of the record in the run, so a
resumed run makes the same masks.
"""

from __future__ import annotations

from typing import Mapping

import tensorflow.compat.v1 as tf

from albert_tf.records.datasets import DEFAULT_SEED
from albert_tf.tasks.pretraining.instances import (
    KEPT_SHARE,
    MASKED_SHARE,
    Vocabulary,
    ngram_limits,
)
from tokenization import FullTokenizer

_LONGEST_NGRAM = 3  # words
_MASKED_LM_PROB = 0.15  # maximum fraction of masked pieces in a sequence
_ROUNDS = 3  # rounds of choosing n-grams, each until the next does not fit the budget


class Masker:
    """Dynamic masking of the features of records.

    `token_boundary` marks the words. The sequence is split into n-grams of 1 to 3 words, which are
    chosen in random order as long as they fit the budget.
    """

    def __init__(self, tokenizer: FullTokenizer, budget: int, seed: int = DEFAULT_SEED):
        """Create the masker.

        Args:
          tokenizer: tokenizer whose vocabulary has [CLS], [SEP] and [MASK].
          budget: maximum number of masked pieces in a sequence.
          seed: seed of the masks.
        """
        self._vocabulary = Vocabulary(tokenizer)
        self._budget = budget
        self._seed = seed
        self._limits = ngram_limits(_LONGEST_NGRAM)

    def mask_batch(
        self, numbers: tf.Tensor, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Mask the records of a batch, replacing their stored masks.

        Args:
          numbers: int64 tensor [B], numbers of the records in the run.
          features: features of `task.record_fields`, [B, ...], and `token_boundary`, [B, S].

        Returns:
          The features with new `input_ids` and `masked_lm_*`.
        """
        signature = {
            name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in features.items()
        }
        return tf.map_fn(
            lambda record: self.mask(*record), (numbers, features), fn_output_signature=signature
        )

    def mask(self, number: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Mask one record; like `mask_batch`, without the batch axis."""
        ids = _restored(features)
        length = ids.shape[0]
        draws = tf.random.stateless_uniform([4, length], seed=tf.stack([self._seed, number]))
        words = tf.cumsum(features["token_boundary"])
        may_be_masked = self._may_be_masked(ids, words, features["input_mask"])
        ngrams = self._ngrams(words, may_be_masked, draws[0])
        num_pieces = tf.cast(tf.reduce_sum(features["input_mask"]), tf.float32)
        budget = tf.maximum(1, tf.cast(tf.round(num_pieces * _MASKED_LM_PROB), tf.int32))
        sizes = tf.math.unsorted_segment_sum(tf.cast(may_be_masked, tf.int32), ngrams, length)
        chosen = _chosen(sizes, draws[1], tf.minimum(budget, self._budget))
        is_masked = tf.logical_and(tf.gather(chosen, ngrams), may_be_masked)

        positions = tf.cast(tf.where(is_masked)[:, 0], tf.int32)
        room = features["masked_lm_positions"].shape[0]
        padding = [[0, room - tf.size(positions)]]
        predictions = {
            "masked_lm_positions": tf.pad(positions, padding),
            "masked_lm_ids": tf.pad(tf.gather(ids, positions), padding),
            "masked_lm_weights": tf.pad(tf.ones_like(positions, tf.float32), padding),
        }
        for value in predictions.values():
            value.set_shape([room])
        replaced = tf.where(is_masked, self._replacements(ids, draws[2], draws[3]), ids)
        return {**features, **predictions, "input_ids": replaced}

    def _may_be_masked(self, ids: tf.Tensor, words: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        """Bool [S]: whether a piece belongs to a word without special tokens."""
        is_special = tf.gather(tf.constant(self._vocabulary.is_special), ids)
        is_special = tf.logical_or(is_special, tf.equal(input_mask, 0))
        num_special = tf.math.unsorted_segment_sum(
            tf.cast(is_special, tf.int32), words, ids.shape[0] + 1
        )
        return tf.equal(tf.gather(num_special, words), 0)

    def _ngrams(self, words: tf.Tensor, may_be_masked: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Number of each piece's n-gram, int32 [S]; n-grams do not cross special tokens."""
        sizes = 1 + sum(tf.cast(draws >= limit, tf.int32) for limit in self._limits)
        ends = tf.cumsum(sizes + tf.zeros_like(words))
        ngrams = tf.searchsorted(ends, words, side="right")
        is_break = tf.logical_not(may_be_masked)
        is_new = tf.not_equal(ngrams[1:], ngrams[:-1])
        is_new = tf.logical_or(is_new, tf.logical_or(is_break[1:], is_break[:-1]))
        return tf.cumsum(tf.pad(tf.cast(is_new, tf.int32), [[1, 0]]))

    def _replacements(self, ids: tf.Tensor, kinds: tf.Tensor, pieces: tf.Tensor) -> tf.Tensor:
        """Replacement of each piece in the input if it is masked, int32 [S]."""
        ordinary_ids = self._vocabulary.ordinary_ids
        numbers = tf.cast(pieces * len(ordinary_ids), tf.int32)
        random_ids = tf.gather(tf.constant(ordinary_ids, tf.int32), numbers)
        others = tf.where(kinds < MASKED_SHARE + KEPT_SHARE, ids, random_ids)
        masks = tf.fill(tf.shape(ids), self._vocabulary.mask_id)
        return tf.where(kinds < MASKED_SHARE, masks, others)


def _restored(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Ids [S] before the record was masked."""
    used = features["masked_lm_weights"] > 0
    positions = tf.boolean_mask(features["masked_lm_positions"], used)
    labels = tf.boolean_mask(features["masked_lm_ids"], used)
    return tf.tensor_scatter_nd_update(features["input_ids"], positions[:, tf.newaxis], labels)


def _chosen(sizes: tf.Tensor, draws: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """Choose the n-grams to mask: bool [S].

    Args:
      sizes: int32 [S], size of each n-gram in pieces; 0 if it may not be masked.
      draws: float [S], random numbers that determine the order of choice.
      budget: scalar, maximum number of pieces to mask.
    """
    order = tf.argsort(draws)
    sizes = tf.gather(sizes, order)
    chosen = tf.zeros_like(sizes, tf.bool)
    for _ in range(_ROUNDS):
        remaining = budget - tf.reduce_sum(tf.where(chosen, sizes, tf.zeros_like(sizes)))
        may_be_chosen = (sizes > 0) & (sizes <= remaining) & ~chosen
        total = tf.cumsum(tf.where(may_be_chosen, sizes, tf.zeros_like(sizes)))
        chosen |= may_be_chosen & (total <= remaining)
    return tf.scatter_nd(order[:, tf.newaxis], chosen, tf.shape(chosen))

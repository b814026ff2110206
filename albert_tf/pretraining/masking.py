"""Masking while records are read: each time a record comes, other n-grams of it are masked.

The same choices as in `pretraining_data.py`, in TensorFlow operations, so that reading never waits
for Python. They depend on the number of the record in the run alone: a resumed run makes the same.
"""

from __future__ import annotations

import itertools

import tensorflow.compat.v1 as tf

from albert_tf.pretraining.instances import KEPT_SHARE, MASKED_SHARE, InstanceSettings, Vocabulary
from tokenization import FullTokenizer

_SEED = 12345
_ROUNDS = 3  # in which n-grams are taken until the next does not fit into the budget


class Masker:
    """Dynamic masking of the features of records.

    Words are told by `token_boundary`. The sequence is cut into n-grams of 1 to `ngram` words; they
    are taken in random order as long as they fit into the budget.
    """

    def __init__(
        self, tokenizer: FullTokenizer, budget: int, ngram: int = 3, masked_lm_prob: float = 0.15
    ):
        """Make the masker.

        Args:
          tokenizer: its vocabulary has [CLS], [SEP] and [MASK].
          budget: most pieces of a sequence that are masked.
          ngram: most words that are masked together; n of them with a probability like 1/n.
          masked_lm_prob: largest share of the pieces of a sequence that is masked.
        """
        vocabulary = Vocabulary(tokenizer)
        self._mask_id = vocabulary.mask_id
        self._is_special = vocabulary.is_special
        self._ordinary_ids = vocabulary.ordinary_ids
        self._budget = budget
        self._masked_lm_prob = masked_lm_prob
        probabilities = InstanceSettings(0, 0, ngram=ngram).ngram_probabilities
        self._limits = list(itertools.accumulate(probabilities))[:-1]

    def mask_batch(
        self, numbers: tf.Tensor, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Mask the records of a batch anew.

        Args:
          numbers: int64 tensor [B], the numbers of the records in the run.
          features: those of `task.record_fields`, and `token_boundary`.

        Returns:
          The features with other `input_ids` and `masked_lm_*`.
        """
        signature = {
            name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in features.items()
        }
        return tf.map_fn(
            lambda record: self.mask(*record), (numbers, features), fn_output_signature=signature
        )

    def mask(self, number: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Mask a record: `mask_batch` without the first axis."""
        ids = _restored(features)
        length = ids.shape[0]
        draws = tf.random.stateless_uniform([4, length], seed=tf.stack([_SEED, number]))
        words = tf.cumsum(features["token_boundary"])
        may_be_masked = self._may_be_masked(ids, words, features["input_mask"])
        ngrams = self._ngrams(words, may_be_masked, draws[0])
        num_pieces = tf.cast(tf.reduce_sum(features["input_mask"]), tf.float32)
        budget = tf.maximum(1, tf.cast(tf.round(num_pieces * self._masked_lm_prob), tf.int32))
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

    def _may_be_masked(self, ids, words, input_mask):
        """Mask of the pieces of words without special pieces: bool [S]."""
        is_special = tf.gather(tf.constant(self._is_special), ids)
        is_special = tf.logical_or(is_special, tf.equal(input_mask, 0))
        num_special = tf.math.unsorted_segment_sum(
            tf.cast(is_special, tf.int32), words, ids.shape[0] + 1
        )
        return tf.equal(tf.gather(num_special, words), 0)

    def _ngrams(self, words, may_be_masked, draws):
        """The number of the n-gram of each piece, int32 [S]; none goes over a special piece."""
        sizes = 1 + sum(tf.cast(draws >= limit, tf.int32) for limit in self._limits)
        ends = tf.cumsum(sizes + tf.zeros_like(words))
        ngrams = tf.searchsorted(ends, words, side="right")
        is_break = tf.logical_not(may_be_masked)
        is_new = tf.not_equal(ngrams[1:], ngrams[:-1])
        is_new = tf.logical_or(is_new, tf.logical_or(is_break[1:], is_break[:-1]))
        return tf.cumsum(tf.pad(tf.cast(is_new, tf.int32), [[1, 0]]))

    def _replacements(self, ids, kinds, pieces):
        """Input piece in place of each piece, if it is masked: int32 [S]."""
        numbers = tf.cast(pieces * len(self._ordinary_ids), tf.int32)
        random_ids = tf.gather(tf.constant(self._ordinary_ids, tf.int32), numbers)
        others = tf.where(kinds < MASKED_SHARE + KEPT_SHARE, ids, random_ids)
        return tf.where(kinds < MASKED_SHARE, tf.fill(tf.shape(ids), self._mask_id), others)


def _restored(features):
    """The ids [S] with the pieces that stood there before the record was masked."""
    used = features["masked_lm_weights"] > 0
    positions = tf.boolean_mask(features["masked_lm_positions"], used)
    labels = tf.boolean_mask(features["masked_lm_ids"], used)
    return tf.tensor_scatter_nd_update(features["input_ids"], positions[:, tf.newaxis], labels)


def _chosen(sizes, draws, budget):
    """Choose the n-grams to mask, bool [S], by their sizes in pieces [S] (0: none) and draws."""
    order = tf.argsort(draws)
    sizes = tf.gather(sizes, order)
    chosen = tf.zeros_like(sizes, tf.bool)
    for _ in range(_ROUNDS):
        left = budget - tf.reduce_sum(tf.where(chosen, sizes, tf.zeros_like(sizes)))
        may_be_chosen = (sizes > 0) & (sizes <= left) & ~chosen
        total = tf.cumsum(tf.where(may_be_chosen, sizes, tf.zeros_like(sizes)))
        chosen |= may_be_chosen & (total <= left)
    return tf.scatter_nd(order[:, tf.newaxis], chosen, tf.shape(chosen))

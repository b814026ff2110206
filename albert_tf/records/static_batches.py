"""Batches with static shapes, for prediction on devices that compile each shape separately.

With dynamic shapes, one dataset has batches of several lengths, some of them incomplete. Here it is
read once per length. Incomplete batches are filled with copies of their last row, which are removed
from the predictions.
"""

from __future__ import annotations

from typing import Mapping

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.records.datasets import read_ahead, without_autograph

IS_FILLER = "is_filler"  # feature: 1 for a copy, else 0


@without_autograph
def of_length(dataset: tf.data.Dataset, batch_size: int, length: int) -> tf.data.Dataset:
    """Select the batches of one length, and fill them to the same size.

    Args:
      dataset: dataset of dictionaries with `input_ids` [up to batch_size, ..., length].
      batch_size: number of rows in every resulting batch.
      length: length of the batches.

    Returns:
      Dataset with the static shape [batch_size, ..., length] and the feature `IS_FILLER`, int32
      [batch_size].
    """

    def is_of_length(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.equal(tf.shape(features["input_ids"])[-1], length)

    def filled_up(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = tf.shape(features["input_ids"])[0]
        filled = {
            name: tf.concat([value, tf.repeat(value[-1:], batch_size - rows, axis=0)], axis=0)
            for name, value in features.items()
        }
        for name, value in filled.items():
            axes = features[name].shape[1:]
            value.set_shape([batch_size, *(length if axis is None else axis for axis in axes)])
        return {**filled, IS_FILLER: tf.cast(tf.range(batch_size) >= rows, tf.int32)}

    return read_ahead(dataset.filter(is_of_length).map(filled_up))


def without_fillers(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove the filler rows from the predictions of a batch, arrays [rows, ...]."""
    predictions = dict(predictions)
    is_filler = predictions.pop(IS_FILLER, None)
    if is_filler is None:
        return predictions
    return {name: values[is_filler == 0] for name, values in predictions.items()}

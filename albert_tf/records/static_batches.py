"""Batches of static shapes, for prediction on devices that compile a graph anew for each shape.

Where shapes are free, one data set has batches of several lengths, the last of them smaller. Here
it is read once for each length, and small batches are filled up with copies of their last row,
which are taken out of the predictions again.
"""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

IS_FILLER = "is_filler"  # feature that marks the copies

InputFn = Callable[[], tf.data.Dataset]


def static_input_fns(input_fn: InputFn, batch_size: int, lengths: Sequence[int]) -> list[InputFn]:
    """Split an Estimator's input function into one for each length.

    Args:
      input_fn: returns a data set of dictionaries with `input_ids` [up to batch_size, a length].
      batch_size: the number of rows that all batches get.
      lengths: the lengths of the batches.
    """
    return [lambda length=length: _of_length(input_fn(), batch_size, length) for length in lengths]


def _of_length(dataset, batch_size, length):
    """The batches of a length, all of the same size."""

    def is_of_length(features):
        return tf.equal(tf.shape(features["input_ids"])[1], length)

    def filled_up(features):
        rows = tf.shape(features["input_ids"])[0]
        filled = {
            name: tf.concat([value, tf.repeat(value[-1:], batch_size - rows, axis=0)], axis=0)
            for name, value in features.items()
        }
        for name, value in filled.items():
            axes = features[name].shape[1:]
            value.set_shape([batch_size, *(length if axis is None else axis for axis in axes)])
        return {**filled, IS_FILLER: tf.cast(tf.range(batch_size) >= rows, tf.int32)}

    dataset = dataset.filter(is_of_length).map(filled_up)
    return dataset.prefetch(tf.data.experimental.AUTOTUNE)


def without_fillers(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Predictions of a batch, arrays [rows, ...], without the rows that fill it up."""
    predictions = dict(predictions)
    is_filler = predictions.pop(IS_FILLER, None)
    if is_filler is None:
        return predictions
    return {name: values[is_filler == 0] for name, values in predictions.items()}

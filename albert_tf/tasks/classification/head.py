"""Outputs and losses of the head of a classification or a regression."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def head_outputs(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Build the outputs of a classifier or a regression.

    Args:
      logits: float tensor [B, labels]; [B, 1] for a regression.

    Returns:
      For a classifier: `logits` and `probabilities`, float [B, labels], and `predictions`, int [B],
      the index of the most probable label. For a regression: `logits` and `predictions`, float [B],
      both the score.
    """
    if logits.shape[-1] == 1:
        scores = tf.squeeze(logits, axis=-1)
        return {"logits": scores, "predictions": scores}
    return {
        "logits": logits,
        "probabilities": tf.nn.softmax(logits),
        "predictions": tf.argmax(logits, axis=-1, output_type=tf.int32),
    }


def example_losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, or its squared error for a regression.

    Args:
      logits: `logits` of `head_outputs`: float [B, labels], or [B] for a regression.
      labels: int tensor [B], or float tensor [B].

    Returns:
      Float tensor [B].
    """
    if logits.shape.ndims == 1:
        return tf.square(logits - labels)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)

"""Multi-head self-attention (Vaswani et al. 2017, section 3.2).

Dimensions: batch size B, sequence length S, number of heads N, head size H, hidden width D = N * H.
"""

from __future__ import annotations

import math
from typing import Sequence

import tensorflow.compat.v1 as tf

from albert_tf.devices.fusion import fused
from albert_tf.nn import gradients
from albert_tf.nn.config import AlbertConfig
from albert_tf.nn.dropout import dropout
from albert_tf.nn.layers import Dense, dense_weights
from albert_tf.nn.layout import Layout


def projection_weights(config: AlbertConfig) -> Dense:
    """Combined dense layer for query, key and value: kernel [D, 3 D] and bias [3 D].

    The weights of the query are scaled by 1 / sqrt(H), to save scaling the queries in every layer.
    """
    width = config.hidden_size
    with tf.variable_scope("attention_1"), tf.variable_scope("self"):
        query, key, value = (
            dense_weights(width, width, name, config) for name in ("query", "key", "value")
        )
        scale = 1.0 / math.sqrt(width // config.num_attention_heads)
        scaled_query = Dense(scale * query.kernel, scale * query.bias)
        kernels, biases = zip(scaled_query, key, value)
        return Dense(tf.concat(kernels, axis=1), tf.concat(biases, axis=0))


def self_attention(
    hidden: tf.Tensor,
    layout: Layout,
    mask_scores: Sequence[tf.Tensor],
    projection: Dense,
    config: AlbertConfig,
    use_einsum: bool = False,
) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    """Apply multi-head self-attention.

    Args:
      hidden: float tensor [..., D].
      layout: layout of `hidden`.
      mask_scores: the layout's `mask_scores`.
      projection: result of `projection_weights`.
      config: config of the model.
      use_einsum: whether to compute the projection with `tf.einsum`.

    Returns:
      Float tensor with the shape of `hidden`, and the weights of the keys before dropout,
      [b, N, S, S] for each group of the layout.
    """
    projected = projection(hidden, use_einsum)
    groups = layout.split_heads(projected)
    contexts, weights = zip(
        *(
            attend(query, key, value, scores, config.attention_probs_dropout_prob)
            for (query, key, value), scores in zip(groups, mask_scores)
        )
    )
    return layout.join_heads(contexts), weights


def attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    mask_scores: tf.Tensor,
    dropout_prob: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Attend to all positions of the same sequence.

    Args:
      query: float tensor [B, N, S, H], scaled by 1 / sqrt(H).
      key: float tensor [B, N, S, H].
      value: float tensor [B, N, S, H].
      mask_scores: float tensor [B, 1, 1, S], added to the scores of the keys.
      dropout_prob: dropout of the attention weights; 0 for none.

    Returns:
      Float tensor [B, N, S, H], the weighted means of the values; and the weights [B, N, S, S]
      before dropout.
    """
    scores = tf.matmul(query, key, transpose_b=True) + mask_scores  # [B, N, S, S]
    weights = tf.nn.softmax(scores)
    if dropout_prob:
        return tf.matmul(dropout(weights, dropout_prob), value), weights
    context = tf.matmul(weights, value)
    context = gradients.override(
        _attention_gradient, context, query, key, value, mask_scores, weights, context
    )
    return context, weights


@gradients.ClosedForm
def _attention_gradient(
    upstream: tf.Tensor,
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    mask_scores: tf.Tensor,
    weights: tf.Tensor,
    context: tf.Tensor,
) -> tuple[tf.Tensor | None, ...]:
    # The gradient of the softmax needs the sum of weights * weights_gradient over the S keys. It
    # equals the sum of context * upstream over H (Dao et al. 2022, appendix B.2), which is cheaper.
    weights_gradient = tf.matmul(upstream, value, transpose_b=True)
    mean = tf.reduce_sum(upstream * context, axis=-1, keepdims=True)
    scores_gradient = _softmax_gradient(weights, weights_gradient, mean)
    return (
        tf.matmul(scores_gradient, key),
        tf.matmul(scores_gradient, query, transpose_a=True),
        tf.matmul(weights, upstream, transpose_a=True),
        tf.reduce_sum(scores_gradient, axis=[1, 2], keepdims=True),
        None,
        None,
    )


@fused
def _softmax_gradient(softmax: tf.Tensor, upstream: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    return softmax * (upstream - mean)

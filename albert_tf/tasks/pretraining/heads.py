"""Pre-training heads: masked language model and sentence order.

Lan et al. 2019 (https://arxiv.org/abs/1909.11942), section 3.1. Dimensions: B batch size, S
sequence length, P predictions per sequence, D hidden size, E embedding size, V vocabulary size.
"""

from __future__ import annotations

from typing import Mapping

import tensorflow.compat.v1 as tf

import modeling
from albert_tf.devices import device
from modeling import AlbertConfig, AlbertModel

# Names of features.
POSITIONS, IDS, WEIGHTS = "masked_lm_positions", "masked_lm_ids", "masked_lm_weights"
DENOMINATOR = "masked_lm_denominator"
ORDER = "next_sentence_labels"

_LOSS_EPSILON = 1e-5  # avoids division by 0 in a batch without predictions


def gather_indexes(sequence_tensor: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Gather the vectors at given positions of each sequence.

    Args:
      sequence_tensor: float tensor [B, S, D].
      positions: int tensor [B, P].

    Returns:
      Float tensor [B * P, D].
    """
    width = sequence_tensor.shape[-1]
    return tf.reshape(tf.gather(sequence_tensor, positions, axis=1, batch_dims=1), [-1, width])


def get_masked_lm_output(
    albert_config: AlbertConfig,
    input_tensor: tf.Tensor,
    output_weights: tf.Tensor,
    positions: tf.Tensor,
    label_ids: tf.Tensor,
    label_weights: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Build the masked-LM head and its loss at given positions.

    Args:
      albert_config: config of the model.
      input_tensor: float tensor [B, S, D], output of the encoder.
      output_weights: float tensor [V, E], word embedding table.
      positions: int tensor [B, P].
      label_ids: int tensor [B, P], ids of the pieces before masking.
      label_weights: float tensor [B, P], 0 for unused predictions.

    Returns:
      Float tensors: the loss (the weighted mean of the cross-entropies), scalar; the
      cross-entropies, [B * P]; the log-probabilities, [B * P, V].
    """
    logits = _masked_lm_logits(
        albert_config, gather_indexes(input_tensor, positions), output_weights
    )
    losses = _cross_entropies(logits, label_ids)
    weights = tf.reshape(label_weights, [-1])
    loss = tf.reduce_sum(weights * losses) / masked_lm_denominator(weights)
    return loss, losses, tf.nn.log_softmax(logits)


def _masked_lm_logits(
    config: AlbertConfig, hidden: tf.Tensor, output_weights: tf.Tensor
) -> tf.Tensor:
    """Logits of all pieces, [N, V], from outputs of the encoder, [N, D], and the table [V, E]."""
    with tf.variable_scope("cls/predictions"):
        with tf.variable_scope("transform"):
            hidden = modeling.dense_layer(hidden, config.embedding_size, "dense", config)
            activation = modeling.get_activation(config.hidden_act)
            if activation is not None:
                hidden = activation(hidden)
            hidden = modeling.layer_norm(hidden, "LayerNorm")
        bias = tf.get_variable(
            "output_bias", [output_weights.shape[0]], initializer=tf.zeros_initializer()
        )
    return tf.nn.bias_add(tf.matmul(hidden, output_weights, transpose_b=True), bias)


def _cross_entropies(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    labels = tf.reshape(labels, [-1])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def masked_lm_denominator(weights: tf.Tensor) -> tf.Tensor:
    """Denominator of the masked-LM loss, scalar, from weights of any shape."""
    return tf.reduce_sum(weights) + _LOSS_EPSILON


def get_sentence_order_output(
    albert_config: AlbertConfig, input_tensor: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Build the sentence-order head and its loss.

    Args:
      albert_config: config of the model.
      input_tensor: float tensor [B, D], pooled output of the encoder.
      labels: int tensor [B] or [B, 1]: 0 for segments in order, 1 for swapped segments.

    Returns:
      Float tensors: the loss (the mean of the cross-entropies), scalar; the cross-entropies, [B];
      the log-probabilities, [B, 2].
    """
    with tf.variable_scope("cls/seq_relationship"):
        logits = modeling.output_layer(input_tensor, 2, albert_config.initializer_range)
    losses = _cross_entropies(logits, labels)
    return tf.reduce_mean(losses), losses, tf.nn.log_softmax(logits)


def pretraining_loss(
    albert_config: AlbertConfig, model: AlbertModel, features: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Build both heads and the sum of their losses, without logits for unused predictions.

    Args:
      albert_config: config of the model.
      model: encoder on the batch.
      features: `masked_lm_positions`, `masked_lm_ids` and `masked_lm_weights`, [B, P];
        `masked_lm_denominator`, scalar, the denominator of the mean of the masked-LM losses, which
        makes the mean over the micro-batches equal the loss of the batch; and
        `next_sentence_labels`, int [B, 1].

    Returns:
      Scalar float tensor.
    """
    hidden = gather_indexes(model.get_sequence_output(), features[POSITIONS])
    label_ids, weights = (tf.reshape(features[name], [-1]) for name in (IDS, WEIGHTS))
    if not device.current().static_shapes:
        used = tf.where(weights > 0)[:, 0]
        hidden, label_ids, weights = (tf.gather(x, used) for x in (hidden, label_ids, weights))
    logits = _masked_lm_logits(albert_config, hidden, model.get_embedding_table())
    losses = _cross_entropies(logits, label_ids)
    masked_lm = tf.reduce_sum(weights * losses) / features[DENOMINATOR]
    sentence_order, _, _ = get_sentence_order_output(
        albert_config, model.get_pooled_output(), features[ORDER]
    )
    return masked_lm + sentence_order


def example_sums(
    albert_config: AlbertConfig,
    model: AlbertModel,
    features: Mapping[str, tf.Tensor],
    num_best: int = 0,
) -> dict[str, tf.Tensor]:
    """Build the terms of the metrics for each example.

    Args:
      albert_config: config of the model.
      model: encoder on the batch.
      features: features of the masked language model, [B, P], and `next_sentence_labels`, [B, 1].
      num_best: number of the most probable pieces to return for each prediction, N.

    Returns:
      Float tensors [B] by name. `masked_lm_*` are weighted sums over the predictions of an example,
      and `masked_lm_weights` the sum of the weights. `sentence_order_*` are the values of the
      example. With `num_best` also `best_ids`, int, and `best_log_probs`, float, [B, P, N].
    """
    labels, weights = features[IDS], features[WEIGHTS]
    _, losses, log_probs = get_masked_lm_output(
        albert_config,
        model.get_sequence_output(),
        model.get_embedding_table(),
        features[POSITIONS],
        labels,
        weights,
    )
    is_correct = _is_correct(log_probs, labels)
    order_labels = features[ORDER]
    _, order_losses, order_log_probs = get_sentence_order_output(
        albert_config, model.get_pooled_output(), order_labels
    )
    best = {}
    if num_best:
        values, ids = tf.math.top_k(log_probs, num_best)
        shape = [*modeling.get_shape_list(labels), num_best]
        best = {"best_ids": tf.reshape(ids, shape), "best_log_probs": tf.reshape(values, shape)}
    return {
        **best,
        "masked_lm_accuracy": _sums(is_correct, weights),
        "masked_lm_loss": _sums(losses, weights),
        "masked_lm_weights": tf.reduce_sum(weights, axis=-1),
        "sentence_order_accuracy": _is_correct(order_log_probs, order_labels),
        "sentence_order_loss": order_losses,
    }


def _is_correct(log_probs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Float [N]: 1 where the most probable class of [N, classes] is the label, else 0."""
    best = tf.argmax(log_probs, axis=-1, output_type=tf.int32)
    return tf.cast(tf.equal(best, tf.reshape(labels, [-1])), tf.float32)


def _sums(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Weighted sums [B] of values [B * P] over the predictions of each example."""
    return tf.reduce_sum(tf.reshape(values, tf.shape(weights)) * weights, axis=-1)


def log_probabilities(config: AlbertConfig, model: AlbertModel) -> dict[str, tf.Tensor]:
    """Build both heads for an exported model.

    Returns:
      Float tensors by name: `masked_lm_log_probs`, [B, S, V], at all positions, and
      `sentence_order_log_probs`, [B, 2].
    """
    sequence_output = model.get_sequence_output()
    batch_size, length, width = modeling.get_shape_list(sequence_output)
    hidden = tf.reshape(sequence_output, [-1, width])
    logits = _masked_lm_logits(config, hidden, model.get_embedding_table())
    no_labels = tf.zeros([batch_size], tf.int32)
    _, _, order = get_sentence_order_output(config, model.get_pooled_output(), no_labels)
    return {
        "masked_lm_log_probs": tf.reshape(
            tf.nn.log_softmax(logits), [batch_size, length, config.vocab_size]
        ),
        "sentence_order_log_probs": order,
    }

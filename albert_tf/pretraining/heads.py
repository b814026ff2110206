"""The heads of pre-training: masked language model and sentence order.

Lan et al. 2019 (https://arxiv.org/abs/1909.11942), section 3.1. Shapes: B batch, S sequence length,
P predictions of a sequence, D hidden width, E embedding width, V vocabulary.
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

_LOSS_EPSILON = 1e-5  # keeps a batch without predictions from dividing by 0


def gather_indexes(sequence_tensor: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Vectors at some positions of each sequence.

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
    """Build the masked language model: its loss, and its probabilities at given positions.

    Args:
      albert_config: the model's config.
      input_tensor: float tensor [B, S, D], the output of the encoder.
      output_weights: float tensor [V, E], the word embedding table.
      positions: int tensor [B, P].
      label_ids: int tensor [B, P], the pieces before masking.
      label_weights: float tensor [B, P], 0 where there is no prediction.

    Returns:
      The loss, scalar: the weighted mean; the cross-entropies, [B * P]; the logarithms of the
      probabilities, [B * P, V].
    """
    hidden = _transformed(albert_config, gather_indexes(input_tensor, positions))
    logits = _masked_lm_logits(hidden, output_weights)
    losses = _cross_entropies(logits, label_ids)
    loss = _weighted_mean(losses, label_weights)
    return loss, losses, tf.nn.log_softmax(logits)


def masked_lm_loss(
    albert_config: AlbertConfig,
    input_tensor: tf.Tensor,
    output_weights: tf.Tensor,
    features: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    """Build the loss of `get_masked_lm_output`, with logits only where there is a prediction.

    Args:
      albert_config: the model's config.
      input_tensor: float tensor [B, S, D], the output of the encoder.
      output_weights: float tensor [V, E], the word embedding table.
      features: `masked_lm_positions`, `masked_lm_ids` and `masked_lm_weights`, [B, P]. For a
        micro-batch also `masked_lm_denominator`, scalar: what the sum of its losses is divided by,
        so that the mean over the micro-batches is the loss of the batch.
    """
    hidden = _transformed(albert_config, gather_indexes(input_tensor, features[POSITIONS]))
    label_ids, weights = (tf.reshape(features[name], [-1]) for name in (IDS, WEIGHTS))
    if not device.current().static_shapes:
        used = tf.where(weights > 0)[:, 0]
        hidden, label_ids, weights = (tf.gather(x, used) for x in (hidden, label_ids, weights))
    losses = _cross_entropies(_masked_lm_logits(hidden, output_weights), label_ids)
    if DENOMINATOR in features:
        return tf.reduce_sum(weights * losses) / features[DENOMINATOR]
    return _weighted_mean(losses, weights)


def _transformed(config, hidden):
    """Map the encoder's vectors [N, D] to the space of the word embeddings: [N, E]."""
    with tf.variable_scope("cls/predictions/transform"):
        hidden = modeling.dense_layer(hidden, config.embedding_size, "dense", config)
        activation = modeling.get_activation(config.hidden_act)
        if activation is not None:
            hidden = activation(hidden)
        return modeling.layer_norm(hidden, "LayerNorm")


def _masked_lm_logits(hidden, output_weights):
    """Logits of all pieces, [N, V], from vectors [N, E] and the table [V, E]."""
    with tf.variable_scope("cls/predictions"):
        bias = tf.get_variable(
            "output_bias", [output_weights.shape[0]], initializer=tf.zeros_initializer()
        )
    return tf.nn.bias_add(tf.matmul(hidden, output_weights, transpose_b=True), bias)


def _cross_entropies(logits, labels):
    labels = tf.reshape(labels, [-1])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _weighted_mean(losses, weights):
    weights = tf.reshape(weights, [-1])
    return tf.reduce_sum(weights * losses) / masked_lm_denominator(weights)


def masked_lm_denominator(weights: tf.Tensor) -> tf.Tensor:
    """Denominator of the weighted mean of losses, scalar, from weights of any shape."""
    return tf.reduce_sum(weights) + _LOSS_EPSILON


def get_sentence_order_output(
    albert_config: AlbertConfig, input_tensor: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Build the sentence-order head: whether two segments are in order, label 0, or swapped, 1.

    Args:
      albert_config: the model's config.
      input_tensor: float tensor [B, D], the pooled output.
      labels: int tensor [B] or [B, 1].

    Returns:
      The loss, scalar: the mean; the cross-entropies, [B]; the logarithms of the probabilities,
      [B, 2].
    """
    with tf.variable_scope("cls/seq_relationship"):
        logits = modeling.output_layer(input_tensor, 2, albert_config.initializer_range)
    losses = _cross_entropies(logits, labels)
    return tf.reduce_mean(losses), losses, tf.nn.log_softmax(logits)


def pretraining_loss(
    albert_config: AlbertConfig, model: AlbertModel, features: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Sum of both losses, scalar, of the features of a batch or micro-batch."""
    masked_lm = masked_lm_loss(
        albert_config, model.get_sequence_output(), model.get_embedding_table(), features
    )
    sentence_order, _, _ = get_sentence_order_output(
        albert_config, model.get_pooled_output(), features[ORDER]
    )
    return masked_lm + sentence_order


def example_sums(
    albert_config: AlbertConfig, model: AlbertModel, features: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Sums over the predictions of each example, and the metrics of the order of its segments.

    Args:
      albert_config: the model's config.
      model: the encoder on the batch.
      features: those of the masked language model, [B, P], and `next_sentence_labels`, [B, 1].

    Returns:
      Float tensors [B] by name.
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
    is_right = _is_best(log_probs, labels)
    order_labels = features[ORDER]
    _, order_losses, order_log_probs = get_sentence_order_output(
        albert_config, model.get_pooled_output(), order_labels
    )
    return {
        "masked_lm_accuracy": _sums(is_right, weights),
        "masked_lm_loss": _sums(losses, weights),
        "masked_lm_weights": tf.reduce_sum(weights, axis=-1),
        "sentence_order_accuracy": _is_best(order_log_probs, order_labels),
        "sentence_order_loss": order_losses,
    }


def _is_best(log_probs, labels):
    """1 where the most probable [N, labels] is the label, else 0: float [N]."""
    best = tf.argmax(log_probs, axis=-1, output_type=tf.int32)
    return tf.cast(tf.equal(best, tf.reshape(labels, [-1])), tf.float32)


def _sums(values, weights):
    """The sums of values [B * P] over the predictions of each example: [B]."""
    return tf.reduce_sum(tf.reshape(values, tf.shape(weights)) * weights, axis=-1)


def log_probabilities(config: AlbertConfig, model: AlbertModel) -> dict[str, tf.Tensor]:
    """Log-probabilities of the pieces [B, S, V], and of the order of the segments [B, 2]."""
    sequence_output = model.get_sequence_output()
    batch_size, length, width = modeling.get_shape_list(sequence_output)
    hidden = _transformed(config, tf.reshape(sequence_output, [-1, width]))
    logits = _masked_lm_logits(hidden, model.get_embedding_table())
    no_labels = tf.zeros([batch_size], tf.int32)
    _, _, order = get_sentence_order_output(config, model.get_pooled_output(), no_labels)
    return {
        "masked_lm_log_probs": tf.reshape(
            tf.nn.log_softmax(logits), [batch_size, length, config.vocab_size]
        ),
        "sentence_order_log_probs": order,
    }

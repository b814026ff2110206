"""The heads of all tasks, with the names that the golden files give their outputs.

The SQuAD, classification and regression heads are the product's. That of pre-training stands here
until its script has it.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

import modeling
import run_classifier
import run_squad_v1


def squad(model, inputs):
    """Scores of start and end, and their loss."""
    start_logits, end_logits = run_squad_v1.span_logits(model.get_sequence_output())
    loss = run_squad_v1.span_loss(
        start_logits, end_logits, inputs["start_positions"], inputs["end_positions"]
    )
    return {"start_logits": start_logits, "end_logits": end_logits, "loss": loss}


def classifier(model, inputs):
    """Logits of two labels, and their cross-entropy."""
    logits = run_classifier.output_layer(model.get_pooled_output(), 2)
    return _with_losses(run_classifier.head_outputs(logits), inputs["label_ids"])


def regression(model, inputs):
    """One value, and its squared error."""
    score = run_classifier.output_layer(model.get_pooled_output(), 1)
    outputs = run_classifier.head_outputs(score)
    assert outputs.pop("predictions") is outputs["logits"]
    return _with_losses(outputs, inputs["label_values"])


def _with_losses(outputs, labels):
    example_losses = run_classifier.example_losses(outputs["logits"], labels)
    return {
        **outputs,
        "per_example_loss": example_losses,
        "loss": tf.reduce_mean(example_losses),
    }


def pretraining(model, inputs):
    """Masked language model and sentence order, and everything that the encoder gives."""
    layers = model.get_all_encoder_layers()
    masked = _masked_lm(model, inputs)
    order = _sentence_order(model, inputs["sentence_order_labels"])
    return {
        "word_embedding_output": model.get_word_embedding_output(),
        "embedding_output": model.get_embedding_output(),
        "sequence_output": model.get_sequence_output(),
        "pooled_output": model.get_pooled_output(),
        **{f"encoder_layer_{index}": layer for index, layer in enumerate(layers)},
        **masked,
        **order,
        "loss": masked["masked_lm_loss"] + order["sentence_order_loss"],
    }


def _masked_lm(model, inputs):
    table = model.get_embedding_table()
    vocab_size, embedding_size = table.shape.as_list()
    gathered = tf.gather(
        model.get_sequence_output(), inputs["masked_lm_positions"], axis=1, batch_dims=1
    )
    gathered = tf.reshape(gathered, [-1, gathered.shape[-1]])
    with tf.variable_scope("cls/predictions"):
        with tf.variable_scope("transform"):
            with tf.variable_scope("dense"):
                kernel = tf.get_variable("kernel", [gathered.shape[-1], embedding_size])
                bias = tf.get_variable("bias", [embedding_size])
                hidden = modeling.gelu(tf.matmul(gathered, kernel) + bias)
            hidden = modeling.layer_norm(hidden, "LayerNorm")
        output_bias = tf.get_variable("output_bias", [vocab_size])
    log_probs = tf.nn.log_softmax(tf.matmul(hidden, table, transpose_b=True) + output_bias)
    ids = tf.reshape(inputs["masked_lm_ids"], [-1])
    weights = tf.reshape(inputs["masked_lm_weights"], [-1])
    example_loss = -tf.gather(log_probs, ids, axis=1, batch_dims=1)
    loss = tf.reduce_sum(weights * example_loss) / (tf.reduce_sum(weights) + 1e-5)
    return {
        "masked_lm_loss": loss,
        "masked_lm_example_loss": example_loss,
        "masked_lm_log_probs": log_probs,
    }


def _sentence_order(model, labels):
    with tf.variable_scope("cls/seq_relationship"):
        logits = run_classifier.output_layer(model.get_pooled_output(), 2)
    log_probs = tf.nn.log_softmax(logits)
    example_loss = -tf.gather(log_probs, labels, axis=1, batch_dims=1)
    return {
        "sentence_order_loss": tf.reduce_mean(example_loss),
        "sentence_order_example_loss": example_loss,
        "sentence_order_log_probs": log_probs,
    }


HEADS = {
    "squad": squad,
    "classifier": classifier,
    "regression": regression,
    "pretraining": pretraining,
}

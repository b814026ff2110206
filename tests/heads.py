"""The heads of all tasks, with the names of their outputs in the golden files.

The heads are the project's own.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

import modeling
from albert_tf.tasks.classification.head import example_losses, head_outputs
from albert_tf.tasks.pretraining import heads as pretraining_heads
from albert_tf.tasks.race import task as race_task
from albert_tf.tasks.squad import v1, v2


def squad(config, model, inputs):
    """Build the span head: logits of start and end, and the loss."""
    start_logits, end_logits = v1.span_logits(model.get_sequence_output(), model.output_mask)
    loss = v1.span_loss(
        start_logits, end_logits, inputs["start_positions"], inputs["end_positions"]
    )
    return {"start_logits": start_logits, "end_logits": end_logits, "loss": loss}


def squad_v2(config, model, inputs):
    """Build the head of SQuAD v2.0: outputs of prediction, and in training those of each loss."""
    inputs = {name: tf.convert_to_tensor(values) for name, values in inputs.items()}
    head = v2.Head(config, model.get_sequence_output(), v2.answer_mask(inputs))
    names = ("start_positions", "end_positions", "is_impossible")
    starts, ends, is_impossible = (inputs[name] for name in names)
    end_logits = head.end_logits(starts[:, tf.newaxis])[:, 0]
    return {
        **head.losses(starts, ends, is_impossible),
        **head.outputs(start_n_top=5, end_n_top=5),
        "start_log_probs": tf.nn.log_softmax(head.start_logits),
        "end_log_probs": tf.nn.log_softmax(end_logits),
    }


def classifier(config, model, inputs):
    """Build the classifier head: logits of two labels, and the cross-entropy."""
    logits = modeling.output_layer(model.get_pooled_output(), 2)
    return _with_losses(head_outputs(logits), inputs["label_ids"])


def regression(config, model, inputs):
    """Build the regression head: one score, and the squared error."""
    score = modeling.output_layer(model.get_pooled_output(), 1)
    outputs = head_outputs(score)
    assert outputs.pop("predictions") is outputs["logits"]
    return _with_losses(outputs, inputs["label_values"])


def race(config, model, inputs):
    """Build the head of multiple choice: the four rows are the options, the third is correct."""
    logits = race_task.option_logits(model.get_pooled_output())
    return _with_losses(head_outputs(logits), tf.constant([2]))


def _with_losses(outputs, labels):
    losses = example_losses(outputs["logits"], labels)
    return {
        **outputs,
        "per_example_loss": losses,
        "loss": tf.reduce_mean(losses),
    }


def pretraining(config, model, inputs):
    """Build the pre-training heads; the outputs include all outputs of the encoder."""
    layers = model.get_all_encoder_layers()
    masked_lm = pretraining_heads.get_masked_lm_output(
        config,
        model.get_sequence_output(),
        model.get_embedding_table(),
        *(inputs[f"masked_lm_{name}"] for name in ("positions", "ids", "weights")),
    )
    order = pretraining_heads.get_sentence_order_output(
        config, model.get_pooled_output(), inputs["sentence_order_labels"]
    )
    denominator = pretraining_heads.masked_lm_denominator(inputs["masked_lm_weights"])
    features = {
        pretraining_heads.DENOMINATOR: denominator,
        **inputs,
        "next_sentence_labels": inputs["sentence_order_labels"],
    }
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        loss = pretraining_heads.pretraining_loss(config, model, features)
    outputs = ("loss", "example_loss", "log_probs")
    return {
        "word_embedding_output": model.get_word_embedding_output(),
        "embedding_output": model.get_embedding_output(),
        "sequence_output": model.get_sequence_output(),
        "pooled_output": model.get_pooled_output(),
        **{f"encoder_layer_{index}": layer for index, layer in enumerate(layers)},
        **{f"masked_lm_{name}": value for name, value in zip(outputs, masked_lm)},
        **{f"sentence_order_{name}": value for name, value in zip(outputs, order)},
        "loss": loss,
    }


# Those with golden trainings.
HEADS = {
    "squad": squad,
    "classifier": classifier,
    "regression": regression,
    "pretraining": pretraining,
}
ALL_HEADS = {**HEADS, "squad_v2": squad_v2, "race": race}

"""SQuAD v1.1: span head and loss, exact match and F1."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import tensorflow.compat.v1 as tf

import modeling
from albert_tf.records.splits import Split
from albert_tf.tasks.base import Evaluation
from albert_tf.tasks.squad import data, metrics, report
from albert_tf.tasks.squad.answers import SpanCollector
from albert_tf.tasks.squad.task import SquadTask
from modeling import AlbertModel

_PADDING_LOGIT = -10000.0


def span_logits(
    sequence_output: tf.Tensor, output_mask: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Build the span head: logits of each position as the start and the end of the answer.

    Args:
      sequence_output: float tensor [B, S, D], output of the encoder.
      output_mask: bool tensor [B, S], the encoder's `output_mask`. Positions whose output is not
        computed get the logit -10000.

    Returns:
      Start logits and end logits, float tensors [B, S].
    """
    batch_size, length, width = modeling.get_shape_list(sequence_output)
    with tf.variable_scope("cls/squad"):
        logits = modeling.output_layer(tf.reshape(sequence_output, [-1, width]), 2)
    logits = tf.reshape(logits, [batch_size, length, 2])
    if output_mask is not None:
        logits = tf.where_v2(output_mask[:, :, tf.newaxis], logits, _PADDING_LOGIT)
    start_logits, end_logits = tf.unstack(logits, axis=2)
    return start_logits, end_logits


def span_loss(
    start_logits: tf.Tensor,
    end_logits: tf.Tensor,
    start_positions: tf.Tensor,
    end_positions: tf.Tensor,
) -> tf.Tensor:
    """Mean of the cross-entropies of start and end positions (BERT, section 4.2).

    Args:
      start_logits: float tensor [B, S].
      end_logits: float tensor [B, S].
      start_positions: int tensor [B].
      end_positions: int tensor [B].

    Returns:
      Scalar float tensor.
    """
    start_loss = position_loss(start_logits, start_positions)
    end_loss = position_loss(end_logits, end_positions)
    return (start_loss + end_loss) / 2.0


def position_loss(logits: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of positions, int [B], with their logits, float [B, S]."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positions, logits=logits)
    )


class SquadV1Task(SquadTask):
    """SQuAD v1.1: prediction of the span of a paragraph that answers a question."""

    kind = "squad"
    title = "SQuAD v1.1"
    version = data.V1
    collector_class = SpanCollector

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build the head and its loss for training."""
        logits = span_logits(encoder.get_sequence_output(), encoder.output_mask)
        return span_loss(*logits, features["start_positions"], features["end_positions"])

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build the head for prediction: `start_log_prob` and `end_log_prob`, the logits [B, S]."""
        start_logits, end_logits = span_logits(encoder.get_sequence_output(), encoder.output_mask)
        return {"start_log_prob": start_logits, "end_log_prob": end_logits}

    def evaluate(
        self,
        split: Split,
        predictions: Sequence[dict[str, Any]],
        thresholds: Mapping[str, float],
    ) -> Evaluation:
        """Compute exact match and F1 of the best answers, if the true answers are known."""
        questions = split.examples
        n_best = {question.id: found["n_best"] for question, found in zip(questions, predictions)}
        answers = {question_id: entries[0]["text"] for question_id, entries in n_best.items()}
        files = {"predictions.json": answers, "nbest_predictions.json": n_best}
        if not any(question.answers for question in questions):
            return Evaluation({}, files)
        return Evaluation(
            metrics.squad_metrics(questions, answers),
            files,
            sections=lambda: report.sections(questions, predictions),
        )

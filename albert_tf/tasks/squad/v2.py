"""SQuAD v2.0: head and loss for questions that may have no answer, and the official metrics."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

import modeling
from albert_tf.nn.config import AlbertConfig
from albert_tf.nn.layers import dense_weights
from albert_tf.records.record_files import RecordFields
from albert_tf.records.splits import TRAIN, RecordSplit, Split
from albert_tf.tasks.base import Evaluation
from albert_tf.tasks.squad import data, metrics, report
from albert_tf.tasks.squad.answers import TopListCollector
from albert_tf.tasks.squad.settings import SquadV2Settings
from albert_tf.tasks.squad.task import SquadTask
from albert_tf.tasks.squad.v1 import position_loss
from modeling import AlbertModel

THRESHOLD = "null_score_diff_threshold"
DEFAULT_THRESHOLD = 0.0  # a probability of 1/2
ANSWERABILITY_KERNEL = "answer_class/dense_1/kernel"  # variable that v1.1 does not have
_MASKED_SCORE = -1e30


def answer_mask(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Find the positions where no answer may start or end: all but `[CLS]` and the paragraph.

    Args:
      features: int tensors [B, S] by name: `input_mask`, and `p_mask` or `segment_ids`. A batch may
        be padded further than the records, so `p_mask` may be 0 in the padding.

    Returns:
      Float tensor [B, S], 1 where no answer may start or end.
    """
    input_mask = features["input_mask"]
    if "p_mask" in features:
        possible = input_mask * (1 - features["p_mask"])
    else:
        places = tf.range(modeling.get_shape_list(input_mask)[1])[tf.newaxis]
        last = tf.reduce_sum(input_mask, axis=1, keepdims=True) - 1  # [SEP]
        in_window = input_mask * features["segment_ids"] * tf.cast(places < last, tf.int32)
        possible = tf.maximum(in_window, tf.cast(tf.equal(places, 0), tf.int32))
    return 1.0 - tf.cast(possible, tf.float32)


class Head:
    """Head that predicts the start, the end given the start, and whether there is an answer.

    It is the head of XLNet (Yang et al. 2019). Its variables have the original's names.

    Attributes:
      start_logits: float tensor [B, S], logit of each position as the start.
    """

    def __init__(self, config: AlbertConfig, hidden: tf.Tensor, p_mask: tf.Tensor):
        """Build the part for the start.

        Args:
          config: config of the model.
          hidden: float tensor [B, S, D], output of the encoder.
          p_mask: float tensor [B, S], 1 where no answer may start or end.
        """
        self._config = config
        self._hidden = hidden
        self._p_mask = p_mask
        with tf.variable_scope("start_logits", reuse=tf.AUTO_REUSE):
            logits = modeling.dense_layer(hidden, 1, "dense", config)
        self.start_logits = _masked(tf.squeeze(logits, axis=-1), p_mask)

    def end_logits(self, starts: tf.Tensor) -> tf.Tensor:
        """Logits of each position as the end, for each of K given starts.

        Args:
          starts: int tensor [B, K], positions of the starts.

        Returns:
          Float tensor [B, K, S].
        """
        hidden, config = self._hidden, self._config
        batch_size, length, width = modeling.get_shape_list(hidden)
        num_starts = modeling.get_shape_list(starts)[1]
        with tf.variable_scope("end_logits", reuse=tf.AUTO_REUSE):
            dense = dense_weights(2 * width, width, "dense_0", config)
            # The product with both vectors at once would be K times the work.
            of_ends = modeling.einsum_via_matmul(hidden, dense.kernel[:width], 1)
            at_starts = tf.gather(hidden, starts, axis=1, batch_dims=1)
            of_starts = modeling.einsum_via_matmul(at_starts, dense.kernel[width:], 1)
            both = of_ends[:, tf.newaxis] + of_starts[:, :, tf.newaxis]  # [B, K, S, D]
            both = tf.reshape(both, [batch_size, num_starts * length, width])
            both = modeling.layer_norm(tf.tanh(tf.nn.bias_add(both, dense.bias)), "LayerNorm")
            with tf.name_scope("dense_1"):
                logits = modeling.dense_layer(both, 1, "dense_1", config)
        logits = tf.reshape(logits, [batch_size, num_starts, length])
        return _masked(logits, self._p_mask[:, tf.newaxis])

    def answerability_logits(self, dropout_prob: float = 0.0) -> tf.Tensor:
        """Logits of "no answer", float tensor [B].

        Args:
          dropout_prob: dropout before the last layer.
        """
        hidden, config = self._hidden, self._config
        width = hidden.shape[-1]
        with tf.variable_scope("answer_class", reuse=tf.AUTO_REUSE):
            weights = tf.nn.softmax(self.start_logits)[:, tf.newaxis]  # [B, 1, S]
            at_start = tf.squeeze(tf.matmul(weights, hidden), axis=1)
            both = tf.concat([at_start, hidden[:, 0]], axis=-1)
            both = tf.tanh(modeling.dense_layer(both, width, "dense_0", config))
            both = modeling.dropout(both, dropout_prob)
            with tf.variable_scope("dense_1"):
                initializer = modeling.create_initializer(config.initializer_range)
                kernel = tf.get_variable("kernel", [width, 1], initializer=initializer)
            return tf.squeeze(tf.matmul(both, kernel), axis=-1)

    def losses(
        self,
        start_positions: tf.Tensor,
        end_positions: tf.Tensor,
        is_impossible: tf.Tensor,
        dropout_prob: float = 0.0,
    ) -> dict[str, tf.Tensor]:
        """Build the losses for training, each a mean over the batch.

        Args:
          start_positions: int tensor [B], 0 without an answer.
          end_positions: int tensor [B], 0 without an answer.
          is_impossible: int tensor [B], 1 for windows without an answer.
          dropout_prob: see `answerability_logits`.

        Returns:
          Scalar float tensors by name: `start_loss` and `end_loss`, cross-entropies of the
          positions, the end given the true start; `answer_loss`, the cross-entropy of
          `is_impossible`; and `loss`, half the sum of the three.
        """
        end_logits = tf.squeeze(self.end_logits(start_positions[:, tf.newaxis]), axis=1)
        answer_losses = tf.nn.sigmoid_cross_entropy_with_logits(
            labels=tf.cast(is_impossible, tf.float32),
            logits=self.answerability_logits(dropout_prob),
        )
        losses = {
            "start_loss": position_loss(self.start_logits, start_positions),
            "end_loss": position_loss(end_logits, end_positions),
            "answer_loss": tf.reduce_mean(answer_losses),
        }
        return {**losses, "loss": 0.5 * sum(losses.values())}

    def outputs(self, start_n_top: int, end_n_top: int) -> dict[str, tf.Tensor]:
        """Build the outputs for prediction.

        Args:
          start_n_top: number of best starts.
          end_n_top: number of best ends for each start.

        Returns:
          Tensors by name: log-probabilities and positions of the best starts,
          `start_top_log_probs` and `start_top_index` [B, start_n_top]; of the best ends for each,
          `end_top_log_probs` and `end_top_index` [B, start_n_top * end_n_top]; and `cls_logits`
          [B], the logits of "no answer". The lists are shorter in a batch of shorter sequences.
        """
        batch_size, length, _ = modeling.get_shape_list(self._hidden)
        starts = tf.nn.top_k(tf.nn.log_softmax(self.start_logits), _at_most(start_n_top, length))
        end_log_probs = tf.nn.log_softmax(self.end_logits(starts.indices))
        ends = tf.nn.top_k(end_log_probs, _at_most(end_n_top, length))
        return {
            "start_top_log_probs": starts.values,
            "start_top_index": starts.indices,
            "end_top_log_probs": tf.reshape(ends.values, [batch_size, -1]),
            "end_top_index": tf.reshape(ends.indices, [batch_size, -1]),
            "cls_logits": self.answerability_logits(),
        }


def _masked(logits: tf.Tensor, p_mask: tf.Tensor) -> tf.Tensor:
    return logits * (1.0 - p_mask) + _MASKED_SCORE * p_mask


def _at_most(count: int, length: int | tf.Tensor) -> int | tf.Tensor:
    """The smaller of a number and a length, which is a number or a tensor."""
    return min(count, length) if isinstance(length, int) else tf.minimum(count, length)


class SquadV2Task(SquadTask):
    """SQuAD v2.0: prediction of the answer to a question, or that there is none."""

    settings: SquadV2Settings
    kind = "squad_v2"
    title = "SQuAD v2.0"
    version = data.V2
    collector_class = TopListCollector

    def fields(self, split: Split | RecordSplit) -> RecordFields:
        """Fields of the records of a split."""
        fields = {**super().fields(split)}
        fields["p_mask"] = fields["input_mask"]
        if split.name == TRAIN:
            fields["is_impossible"] = fields["start_positions"]
        return fields

    def _head(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> Head:
        return Head(self.config, encoder.get_sequence_output(), answer_mask(features))

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build the head and its loss for training."""
        starts, ends = features["start_positions"], features["end_positions"]
        dropout_prob = 0.0 if self.settings.deterministic_run else self.settings.dropout_prob
        head = self._head(encoder, features)
        return head.losses(starts, ends, features["is_impossible"], dropout_prob)["loss"]

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build the head for prediction; see `Head.outputs`."""
        head = self._head(encoder, features)
        return head.outputs(self.settings.start_n_top, self.settings.end_n_top)

    def evaluate(
        self,
        split: Split,
        predictions: Sequence[dict[str, Any]],
        thresholds: Mapping[str, float],
    ) -> Evaluation:
        """Compute the official metrics if the true answers are known, and choose the answers.

        The threshold of the scores of "no answer" is the given one, or the one with the best F1.
        """
        questions = split.examples
        found = {question.id: answer for question, answer in zip(questions, predictions)}
        n_best = {name: answer["n_best"] for name, answer in found.items()}
        null_scores = {name: answer["null_score"] for name, answer in found.items()}
        spans = {name: entries[0]["text"] for name, entries in n_best.items()}
        is_known = all(question.is_impossible is not None for question in questions)
        if is_known:
            best = metrics.best_thresholds(questions, spans, null_scores)
            thresholds = {THRESHOLD: best["best_f1_thresh"]}
        threshold = self._threshold(thresholds)
        answers = {
            name: span if null_scores[name] < threshold else "" for name, span in spans.items()
        }
        files = {
            "predictions.json": answers,
            "nbest_predictions.json": n_best,
            "null_odds.json": null_scores,
        }
        if not is_known:
            return Evaluation({}, files, thresholds)
        values = {**best, **metrics.squad_v2_metrics(questions, answers), THRESHOLD: threshold}
        return Evaluation(
            values, files, thresholds, lambda: report.sections(questions, predictions, threshold)
        )

    def _threshold(self, found: Mapping[str, float]) -> float:
        """Score at or above which a question has no answer."""
        given = self.settings.null_score_diff_threshold
        if given is None and THRESHOLD not in found:
            logging.warning(
                "no threshold for the scores of questions without an answer: taking %g; give "
                "--%s, or predict questions with known answers first to find the best",
                DEFAULT_THRESHOLD,
                THRESHOLD,
            )
            return DEFAULT_THRESHOLD
        return found[THRESHOLD] if given is None else given

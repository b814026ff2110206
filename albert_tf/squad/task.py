"""SQuAD v1.1 task: span head and loss, answers, exact match and F1."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf

import modeling
from albert_tf.bounds import Bounds
from albert_tf.errors import InputError
from albert_tf.records.record_files import RecordFields
from albert_tf.report.blocks import Section
from albert_tf.runs.problems import Problems
from albert_tf.runs.task import (
    DataSet,
    Evaluation,
    Prediction,
    Record,
    Schedule,
    Skipped,
    Task,
)
from albert_tf.squad import features as squad_features
from albert_tf.squad import metrics, report
from albert_tf.squad.answers import NO_ANSWER, AnswerCollector
from albert_tf.squad.data import Question, read_squad
from albert_tf.squad.features import FeatureConverter, FeatureSettings, Window
from albert_tf.squad.settings import SquadSettings
from modeling import AlbertModel

_PADDING_LOGIT = -10000.0

_INDEX = Bounds(is_whole=True, lower=0)


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

    def cross_entropy(logits, positions):
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positions, logits=logits)
        )

    start_loss = cross_entropy(start_logits, start_positions)
    end_loss = cross_entropy(end_logits, end_positions)
    return (start_loss + end_loss) / 2.0


class SquadTask(Task):
    """SQuAD v1.1: prediction of the span of a paragraph that answers a question."""

    settings: SquadSettings
    title = "SQuAD v1.1"
    fate_of_long_examples = "read in several windows"
    counter = ("unique_ids", squad_features.FIRST_UNIQUE_ID)

    def read_inputs(self, problems: Problems) -> None:
        """Read the questions, and collect problems with them and with the settings."""
        settings = self.settings
        if not (settings.do_train or settings.do_predict):
            problems.add("nothing to do: give --do_train or --do_predict")
        with problems.collected():
            squad_features.check_room(settings.max_seq_length, settings.max_query_length)
        if not settings.spm_model_file:
            problems.add(
                "--spm_model_file is missing: give the SentencePiece model that comes with the "
                "model (30k-clean.model)"
            )
        with problems.collected():
            if settings.do_train:
                self.train_set = DataSet(
                    record_name="train_features.tfrecord",
                    record_file=settings.train_feature_file,
                    inputs={"train_file": settings.train_file},
                    examples=_read_examples("train_file", settings.train_file, True),
                )
        with problems.collected():
            if settings.do_predict:
                predict_set = DataSet(
                    record_name="predict_features.tfrecord",
                    record_file=settings.predict_feature_file,
                    companion_name="predict_windows.tfrecord",
                    companion_file=settings.predict_feature_left_file,
                    inputs={"predict_file": settings.predict_file},
                    examples=_read_examples("predict_file", settings.predict_file, False),
                    batch_size=settings.predict_batch_size,
                )
                self.eval_sets = [predict_set]

    @property
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""
        settings = self.settings
        return Schedule(
            steps=settings.train_steps if settings.train_steps > 0 else None,
            epochs=settings.num_train_epochs,
            warmup_proportion=settings.warmup_proportion,
        )

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings that the records depend on; JSON values by name."""
        return dataclasses.asdict(self._feature_settings)

    @property
    def _feature_settings(self):
        settings = self.settings
        return FeatureSettings(
            settings.max_seq_length,
            settings.doc_stride,
            settings.max_query_length,
            settings.do_lower_case,
        )

    @property
    def answer_settings(self) -> dict[str, Any]:
        """Further settings that the answers depend on; JSON values by name."""
        return {
            "n_best_size": self.settings.n_best_size,
            "max_answer_length": self.settings.max_answer_length,
        }

    def fields(self, data_set: DataSet) -> RecordFields:
        """Fields of the records of a data set."""
        scalar = tf.io.FixedLenFeature([], tf.int64)
        fields = {"unique_ids": scalar, **self.sequence_fields}
        if data_set is self.train_set:
            fields.update({"start_positions": scalar, "end_positions": scalar})
        return fields

    def records(
        self, data_set: DataSet, examples: Mapping[int, Question]
    ) -> Iterator[Record | Skipped]:
        """Yield the records of a chunk of questions, one per window, in order."""
        for_training = data_set is self.train_set
        converter = FeatureConverter(self.tokenizer, self._feature_settings)
        for feature in converter.features(examples.values(), for_training, min(examples)):
            values = feature.record(self.settings.max_seq_length, for_training)
            yield Record(values, dataclasses.asdict(feature.window), feature.whole_length)
        for name in converter.dropped:
            yield Skipped(name, "normalization leaves nothing of their paragraph")

    def belong_together(self, first: Question, second: Question) -> bool:
        """Whether two questions have the same paragraph, which is then tokenized once."""
        return first.paragraph == second.paragraph

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build the head and its loss for training."""
        logits = span_logits(encoder.get_sequence_output(), encoder.output_mask)
        return span_loss(*logits, features["start_positions"], features["end_positions"])

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build the head for prediction: float logits [B, S] of start and end."""
        start_logits, end_logits = span_logits(encoder.get_sequence_output(), encoder.output_mask)
        return {"start_log_prob": start_logits, "end_log_prob": end_logits}

    def answers(
        self, examples: Sequence[Question], predictions: Iterable[Prediction]
    ) -> list[dict[str, Any]]:
        """Find the n best answers to each question.

        Returns:
          A dictionary per question: `n_best`, its entries as in `nbest_predictions.json`; `starts`,
          the offsets of these answers in the paragraph, None for one that is not a span; and
          `num_windows`.
        """
        settings = self.settings
        collector = AnswerCollector(settings.n_best_size, settings.max_answer_length)
        for prediction in predictions:
            window = _window(prediction.companion, examples, settings.max_seq_length)
            length = window.num_positions  # excludes padding from the ranking
            collector.add(
                window,
                examples[window.question].paragraph,
                prediction.outputs["start_log_prob"][:length],
                prediction.outputs["end_log_prob"][:length],
            )
        return [
            {
                "n_best": collector.n_best_entries(number),
                "starts": [
                    None if candidate is NO_ANSWER else candidate.start
                    for candidate in collector.n_best(number)
                ],
                "num_windows": collector.num_windows(number),
            }
            for number in range(len(examples))
        ]

    def evaluate(self, data_set: DataSet, answers: Sequence[dict[str, Any]]) -> Evaluation:
        """Compute exact match and F1 of the best answers, if the true answers are known."""
        questions = data_set.examples
        n_best = {question.id: answer["n_best"] for question, answer in zip(questions, answers)}
        predictions = {question_id: entries[0]["text"] for question_id, entries in n_best.items()}
        files = {"predictions.json": predictions, "nbest_predictions.json": n_best}
        if not any(question.answers for question in questions):
            return Evaluation({}, files)
        return Evaluation(metrics.squad_metrics(questions, predictions), files)

    def report_sections(
        self, data_set: DataSet, answers: Sequence[dict[str, Any]]
    ) -> list[Section]:
        """Sections of the report page: scores by kind of question, calibration, the questions."""
        return report.sections(report.outcomes(data_set.examples, answers))


def _window(companion, examples, max_seq_length) -> Window:
    """Make a window from its companion, and check that it fits the examples."""
    question = companion.number("question", Bounds(True, 0, len(examples) - 1))
    window = Window(
        question,
        companion.number("index", _INDEX),
        companion.number("first_position", Bounds(True, 0, max_seq_length)),
        *(companion.list(name) for name in ("start_to_char", "end_to_char", "max_context")),
    )
    characters = range(len(examples[question].paragraph) + 1)
    offsets = [*window.start_to_char, *window.end_to_char]
    lengths = {len(window.start_to_char), len(window.end_to_char), len(window.max_context)}
    if (
        len(lengths) > 1
        or window.num_positions > max_seq_length
        or not all(type(offset) is int and offset in characters for offset in offsets)
        or not all(type(value) is bool for value in window.max_context)
    ):
        raise companion.error("the window does not fit its question")
    return window


def _read_examples(flag, path, for_training):
    """Read the SQuAD file given by a flag."""
    if not path:
        raise InputError(f"--{flag} is missing: give a SQuAD v1.1 file")
    return read_squad(path, for_training)

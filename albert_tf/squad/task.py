"""Fine-tunes ALBERT on SQuAD v1.1, predicts answers and evaluates them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albert_tf.runs import training  # isort: skip  # before TensorFlow, whose log it quiets

import tensorflow.compat.v1 as tf
from absl import logging
from tqdm import tqdm

import modeling
from albert_tf.devices import distributed
from albert_tf.errors import InputError
from albert_tf.records import datasets
from albert_tf.records import record_files as records
from albert_tf.runs import tasks
from albert_tf.runs.evaluation import Evaluation
from albert_tf.runs.startup import Problems, RunSettings, Start
from albert_tf.squad import data as squad_data
from albert_tf.squad import metrics as squad_metrics

training.define_flags(
    do_train=True,
    max_seq_length=384,
    train_batch_size=32,
    learning_rate=5e-5,
    output_dir=str(Path.home() / "tmp"),
)
training.define_boolean("do_predict", True, "Whether to predict, and evaluate the predictions.")
training.define_string("train_file", None, "SQuAD JSON to train on: train-v1.1.json.")
training.define_string("predict_file", None, "SQuAD JSON to predict on: dev-v1.1.json.")
training.define_string(
    "train_feature_file", None, "TFRecord file of the training features. Default: in output_dir."
)
training.define_string(
    "predict_feature_file", None, "TFRecord file of the predict features. Default: in output_dir."
)
training.define_string(
    "predict_feature_left_file",
    None,
    "TFRecord file of what answers need beside the features. Default: in output_dir.",
)
training.define_integer("doc_stride", 128, "Pieces from one window to the next.", lower_bound=1)
training.define_integer("max_query_length", 64, "Longer questions are cut.", lower_bound=1)
training.define_integer("predict_batch_size", 8, "Windows predicted at once.", lower_bound=1)
training.define_float("num_train_epochs", 2.0, "Passes over the training questions.")
training.define_integer("train_steps", -1, "Steps to train for, in place of num_train_epochs.")
training.define_float("warmup_proportion", 0.1, "Share of the steps in which the rate rises.")
training.define_integer("n_best_size", 20, "Answers kept for each question.", lower_bound=1)
training.define_integer("max_answer_length", 30, "Longest answer, in pieces.", lower_bound=1)


@dataclass(frozen=True)
class SquadSettings:
    """The values of this script's own flags."""

    do_predict: bool
    train_file: str | None
    predict_file: str | None
    train_feature_file: str | None
    predict_feature_file: str | None
    predict_feature_left_file: str | None
    doc_stride: int
    max_query_length: int
    predict_batch_size: int
    num_train_epochs: float
    train_steps: int
    warmup_proportion: float
    n_best_size: int
    max_answer_length: int


def main(_):
    """Checks the inputs, then trains, evaluates the checkpoints, and exports the best."""
    task = training.checked_task(SquadTask, SquadSettings)
    training.run(task)


def span_logits(sequence_output: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The model's head: scores of the positions at which an answer may start and end.

    Args:
      sequence_output: float tensor [B, S, D], the output of the encoder.

    Returns:
      Two float tensors [B, S], raw logits: of the start and of the end.
    """
    batch_size, length, width = modeling.get_shape_list(sequence_output)
    with tf.variable_scope("cls/squad"):
        logits = modeling.output_layer(tf.reshape(sequence_output, [-1, width]), 2)
    logits = tf.reshape(logits, [batch_size, length, 2])
    start_logits, end_logits = tf.unstack(logits, axis=2)
    return start_logits, end_logits


def span_loss(
    start_logits: tf.Tensor,
    end_logits: tf.Tensor,
    start_positions: tf.Tensor,
    end_positions: tf.Tensor,
) -> tf.Tensor:
    """The mean of the cross-entropies of start and end over the positions (BERT, section 4.2).

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


class SquadTask(tasks.Task):
    """SQuAD v1.1 as a task of `training.run`."""

    metric = "f1"

    def __init__(self, settings: RunSettings, start: Start, squad: SquadSettings):
        """Makes the task; `read_inputs` completes it."""
        super().__init__(settings, start)
        self.squad = squad
        self.feature_settings = squad_data.FeatureSettings(
            settings.max_seq_length,
            squad.doc_stride,
            squad.max_query_length,
            settings.do_lower_case,
        )
        self.train_paragraphs = []
        self.predict_paragraphs = []
        self.has_predict_records = False

        def in_output_dir(path, name):
            return distributed.own_file(path or os.path.join(settings.output_dir or "", name))

        self.train_records = in_output_dir(squad.train_feature_file, "train_features.tfrecord")
        self.predict_records = in_output_dir(
            squad.predict_feature_file, "predict_features.tfrecord"
        )
        self.window_records = in_output_dir(
            squad.predict_feature_left_file, "predict_windows.tfrecord"
        )

    def read_inputs(self, problems: Problems) -> None:
        """Reads the questions, and adds to `problems` what is wrong with them or with the flags."""
        squad = self.squad
        if not (self.settings.do_train or squad.do_predict):
            problems.add("there is nothing to do: give --do_train or --do_predict")
        if self.settings.max_seq_length < squad.max_query_length + 4:
            problems.add(
                f"--max_seq_length {self.settings.max_seq_length} leaves no room for the paragraph "
                f"beside --max_query_length {squad.max_query_length} and 3 marks"
            )
        if not self.settings.spm_model_file:
            problems.add(
                "--spm_model_file is missing: give the SentencePiece model that comes with the "
                "model (30k-clean.model)"
            )
        with problems.collected():
            if self.settings.do_train:
                self.train_paragraphs = _read_file("train_file", squad.train_file, True)
                self._set_num_train_steps()
        with problems.collected():
            if squad.do_predict:
                self.predict_paragraphs = _read_file("predict_file", squad.predict_file, False)

    def _set_num_train_steps(self):
        questions = sum(len(paragraph.questions) for paragraph in self.train_paragraphs)
        batch_size = self.settings.train_batch_size * distributed.size()
        self.num_train_steps = int(questions / batch_size * self.squad.num_train_epochs)
        if self.squad.train_steps > 0:
            self.num_train_steps = self.squad.train_steps
        if not self.num_train_steps:
            raise InputError(
                f"{self.squad.train_file}: {questions} questions in batches of {batch_size} for "
                f"{self.squad.num_train_epochs} epochs are no step: lower --train_batch_size"
            )

    @property
    def prediction_features(self) -> records.FeatureSpec:
        """What a record for prediction holds."""
        return {"unique_ids": tf.io.FixedLenFeature([], tf.int64), **self.sequence_features}

    @property
    def train_features(self) -> records.FeatureSpec:
        """What a record for training holds."""
        return {
            **self.prediction_features,
            "start_positions": tf.io.FixedLenFeature([], tf.int64),
            "end_positions": tf.io.FixedLenFeature([], tf.int64),
        }

    @property
    def record_files(self) -> list[str]:
        """Paths of the record files that the run reads."""
        return [self.train_records, self.predict_records, self.window_records]

    @property
    def inputs(self):
        """What all processes must have read alike."""
        paths = {}
        if self.settings.do_train:
            paths["train_file"] = self.squad.train_file
        if self.squad.do_predict:
            paths["predict_file"] = self.squad.predict_file
        return self.digests(**paths)

    @property
    def record_settings(self) -> dict[str, Any]:
        """What records depend on beside the inputs."""
        return {**dataclasses.asdict(self.feature_settings), **distributed.part_setting()}

    @property
    def evaluated_on(self):
        """What results depend on beside the checkpoint; None if nothing is predicted."""
        if not self.squad.do_predict:
            return None
        return {**self.digests(predict_file=self.squad.predict_file), **self.exported_settings}

    @property
    def exported_settings(self):
        """How text becomes the inputs of an exported model, and scores an answer."""
        return {
            **dataclasses.asdict(self.feature_settings),
            "n_best_size": self.squad.n_best_size,
            "max_answer_length": self.squad.max_answer_length,
        }

    def model_fn(self, features, labels, mode, params):
        """The Estimator's model function: scores for prediction, the loss for training."""
        is_training = mode == tf.estimator.ModeKeys.TRAIN
        encoder = self.encoder(features, is_training)
        start_logits, end_logits = span_logits(encoder.get_sequence_output())
        if not is_training:
            scores = {"start_log_prob": start_logits, "end_log_prob": end_logits}
            if "unique_ids" in features:  # not in an exported model
                scores["unique_ids"] = features["unique_ids"]
            return tasks.prediction_spec(scores)
        loss = span_loss(
            start_logits, end_logits, features["start_positions"], features["end_positions"]
        )
        return self.train_spec(loss, int(self.num_train_steps * self.squad.warmup_proportion))

    def train_input_fn(self, start_step: int):
        """Makes the training records if they are not there; returns the input function."""
        settings = self.record_settings
        digests = self.digests(train_file=self.squad.train_file)
        manifest = records.usable_manifest(
            self.train_records, settings, digests, self.train_features
        )
        features = self._features(self.train_paragraphs, manifest, for_training=True)
        if manifest:
            num_records = manifest.records
        else:
            length = self.settings.max_seq_length
            rows = (feature.record(length, for_training=True) for feature in features)
            num_records = records.write_records(self.train_records, settings, digests, rows)
        return self.training_input_fn(
            self.train_records, num_records, self.train_features, start_step
        )

    def evaluate(self, estimator: tf.estimator.Estimator, checkpoint: str) -> Evaluation:
        """Predicts the answers to all questions and compares them with the true ones."""
        if not self.has_predict_records:
            self._make_predict_records()
            self.has_predict_records = True
        questions = [question for p in self.predict_paragraphs for question in p.questions]
        texts = [p.text for p in self.predict_paragraphs for _ in p.questions]
        own = distributed.own_part(len(questions))
        collector = squad_metrics.AnswerCollector(
            self.squad.n_best_size, self.squad.max_answer_length
        )
        for window, start_scores, end_scores in self._predict(estimator, checkpoint):
            collector.add(window, texts[window.question_index], start_scores, end_scores)
        parts = distributed.gather(
            squad_metrics.predictions_json(questions[own.start : own.stop], collector, own.start)
        )
        predictions, n_best_predictions = (
            dict(itertools.chain.from_iterable(part.items() for part in answers))
            for answers in zip(*parts)
        )
        metrics = {}
        if any(question.answers for question in questions):
            metrics = squad_metrics.squad_metrics(questions, predictions)
        files = {"predictions.json": predictions, "nbest_predictions.json": n_best_predictions}
        return Evaluation(metrics, files)

    def _predict(self, estimator, checkpoint):
        """Yields each window with its start and end scores [its positions], in any order."""

        def input_fn():
            return datasets.bucketed_dataset(
                self.predict_records,
                self.prediction_features,
                self.squad.predict_batch_size,
                self.start.length_buckets,
            )

        windows = squad_data.WindowFinder(
            squad_data.Window(**json.loads(record))
            for record in records.read_records(self.window_records)
        )
        input_fns = self.prediction_input_fns(
            input_fn, self.squad.predict_batch_size, self.start.length_buckets
        )
        for batch in tasks.predicted_batches(estimator, checkpoint, input_fns, "windows"):
            scores = zip(batch["unique_ids"], batch["start_log_prob"], batch["end_log_prob"])
            for unique_id, start_scores, end_scores in scores:
                window = windows.find(unique_id)
                if window is None:
                    raise self._mismatch(f"window {unique_id} is in the first only")
                length = window.num_positions  # padding must not rank among the best
                yield window, start_scores[:length], end_scores[:length]
        remaining = windows.remaining()
        if remaining:
            raise self._mismatch(f"{remaining} windows are in the second only")

    def _mismatch(self, difference):
        return InputError(
            f"{self.predict_records} and {self.window_records} do not belong together: "
            f"{difference}; remove both and they are made again"
        )

    def _make_predict_records(self):
        """Makes the records for prediction, and those of the windows, if they are not there."""
        settings = self.record_settings
        digests = self.digests(predict_file=self.squad.predict_file)
        have_features = records.usable_manifest(
            self.predict_records, settings, digests, self.prediction_features
        )
        have_windows = records.usable_manifest(self.window_records, settings, digests)
        have_both = have_windows if have_features else None
        features = self._features(self.predict_paragraphs, have_both, for_training=False)
        if have_both:
            return
        with records.record_writer(self.window_records, settings, digests) as window_writer:
            if have_features and have_features.is_foreign:
                for feature in features:
                    window_writer.write(_serialize_window(feature.window))
            else:
                with records.record_writer(self.predict_records, settings, digests) as writer:
                    for feature in features:
                        values = feature.record(self.settings.max_seq_length, for_training=False)
                        writer.write(records.serialize_example(values))
                        window_writer.write(_serialize_window(feature.window))
        logging.info("%s: %d features to predict on", self.predict_records, window_writer.records)

    def _features(self, paragraphs, manifest, for_training):
        """The features of this process's part of the questions, numbered as if one process made
        those of all. A file that has them already, by its manifest, saves counting them."""
        own = distributed.own_part(sum(len(paragraph.questions) for paragraph in paragraphs))
        paragraphs = squad_data.with_questions(paragraphs, own)

        def count():
            features = self._converter().features(paragraphs, for_training)
            return manifest.records if manifest else sum(1 for _ in features)

        first_id = squad_data.FIRST_UNIQUE_ID + distributed.sum_of_earlier(count)
        return self._converted(paragraphs, for_training, own.start, first_id)

    def _converter(self):
        return squad_data.FeatureConverter(self.start.tokenizer, self.feature_settings)

    def _converted(self, paragraphs, for_training, first_question, first_unique_id):
        """Yields the features of paragraphs; tells how far it is, and what is left out."""
        converter = self._converter()
        bar = tqdm(paragraphs, desc="making features", unit=" paragraphs", disable=None)
        yield from converter.features(bar, for_training, first_question, first_unique_id)
        if converter.dropped:
            logging.warning(
                "%d questions are left out, because their paragraph differs too much from its "
                "pieces in the vocabulary: %s",
                len(converter.dropped),
                " ".join(converter.dropped),
            )


def _serialize_window(window):
    return json.dumps(dataclasses.asdict(window)).encode()


def _read_file(flag, path, for_training):
    """Reads the SQuAD file that a flag names."""
    if not path:
        raise InputError(f"--{flag} is missing: give a SQuAD v1.1 file")
    return squad_data.read_squad(path, for_training)


if __name__ == "__main__":
    training.launch(main)

"""Fine-tunes ALBERT on a task of the GLUE benchmark, evaluates it and predicts the test set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from albert_tf.runs import training  # isort: skip  # before TensorFlow, whose log it quiets

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging
from tqdm import tqdm

import modeling
from albert_tf.devices import distributed
from albert_tf.errors import InputError
from albert_tf.glue import data as glue
from albert_tf.glue.metrics import glue_metrics
from albert_tf.records import datasets
from albert_tf.records import record_files as records
from albert_tf.runs import startup, tasks
from albert_tf.runs.evaluation import Evaluation
from albert_tf.runs.startup import Problems, RunSettings, Start

training.define_flags(do_train=False, max_seq_length=512, train_batch_size=32, learning_rate=5e-5)
training.define_string(
    "data_dir", None, "The folder that holds the tasks' folders (MRPC/, ...), or the task's own."
)
training.define_string("task_name", None, f"The task: {', '.join(glue.TASKS)}.")
training.define_string("cached_dir", None, "Directory of the record files. Default: output_dir.")
training.define_boolean("do_eval", False, "Whether to evaluate the checkpoints on the dev set.")
training.define_boolean("do_predict", False, "Whether to predict the test set.")
training.define_integer("eval_batch_size", 8, "Rows evaluated at once.", lower_bound=1)
training.define_integer("predict_batch_size", 8, "Rows predicted at once.", lower_bound=1)
training.define_integer("train_step", 1000, "Steps to train for.", lower_bound=1)
training.define_integer("warmup_step", 0, "Steps in which the rate rises.", lower_bound=0)
training.define_enum("optimizer", "adamw", ["adamw", "lamb"], "How the variables are updated.")
training.define_float(
    "threshold_to_export", None, "A threshold that the exported model gives out with its scores."
)

_OUTPUT_DROPOUT = 0.1
_RECORD_NAMES = {"train": "train", "dev": "eval", "test": "predict"}  # as in the original
_ROW = "row"  # the number of a record in its file


@dataclass(frozen=True)
class ClassifierSettings:
    """The values of this script's own flags."""

    data_dir: str | None
    task_name: str | None
    cached_dir: str | None
    do_eval: bool
    do_predict: bool
    eval_batch_size: int
    predict_batch_size: int
    train_step: int
    warmup_step: int
    optimizer: str
    threshold_to_export: float | None


def main(_):
    """Checks the inputs, then trains, evaluates the checkpoints, predicts and exports."""
    task = training.checked_task(ClassifierTask, ClassifierSettings)
    training.run(task)


def head_outputs(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """What the model says, by name.

    Args:
      logits: float tensor [B, labels]; [B, 1] for a regression.

    Returns:
      `logits`, [B, labels] or, of a regression, [B]; `predictions`: the number of the most probable
      label, int [B], or the score, float [B]; and of a classifier `probabilities`, [B, labels].
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
    """The cross-entropy of each example, or of a regression the squared error.

    Args:
      logits: the `logits` of `head_outputs`: float [B, labels], or [B] for a regression.
      labels: int tensor [B], or float tensor [B].

    Returns:
      Float tensor [B].
    """
    if logits.shape.ndims == 1:
        return tf.square(logits - labels)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


@dataclass
class DataSet:
    """A file of a task, and the record file that is made of it, or of this process's part of it.

    Attributes:
      file: how it is named, and how names made from it end.
      path: where it is.
      records: path of the record file.
      rows: its rows, those of all processes.
      num_records: number of the records, 0 until they have been made or checked.
    """

    file: glue.DataFile
    path: str
    records: str
    rows: list[glue.Example]
    num_records: int = 0

    @property
    def own(self) -> range:
        """The numbers of this process's rows."""
        return distributed.own_part(len(self.rows))


class ClassifierTask(tasks.Task):
    """A task of GLUE as a task of `training.run`."""

    def __init__(self, settings: RunSettings, start: Start, classifier: ClassifierSettings):
        """Makes the task; `read_inputs` completes it."""
        super().__init__(settings, start)
        self.classifier = classifier
        self.num_train_steps = classifier.train_step
        self.glue: glue.GlueTask | None = None
        self.data_sets: dict[str, list[DataSet]] = {"train": [], "dev": [], "test": []}

    @property
    def metric(self) -> str:
        """Name of the figure by which the best checkpoint is chosen."""
        return self.glue.metrics[0] + self.glue.dev_files[0].part

    @property
    def has_model(self) -> bool:
        """Whether enough is known to build the model."""
        return super().has_model and self.glue is not None

    def read_inputs(self, problems: Problems) -> None:
        """Reads the rows, and adds to `problems` what is wrong with them or with the flags."""
        settings, classifier = self.settings, self.classifier
        wanted = {
            "train": settings.do_train,
            "dev": classifier.do_eval,
            "test": classifier.do_predict,
        }
        if not any(wanted.values()) and not settings.export_dir:
            problems.add("there is nothing to do: give --do_train, --do_eval or --do_predict")
        with problems.collected():
            if classifier.cached_dir:
                startup.check_writable("cached_dir", classifier.cached_dir)
        with problems.collected():
            if not classifier.task_name:
                raise InputError(f"--task_name is missing: give one of {', '.join(glue.TASKS)}")
            self.glue = glue.find_task(classifier.task_name)
            self._check_length()
        if not classifier.data_dir and any(wanted.values()):
            problems.add("--data_dir is missing: give the folder that holds the task's files")
        elif self.glue:
            for split in (split for split, is_wanted in wanted.items() if is_wanted):
                self._read_data_sets(split, problems)

    def _check_length(self):
        marks = 1 + len(self.glue.texts)
        if self.settings.max_seq_length <= marks:
            raise InputError(
                f"--max_seq_length {self.settings.max_seq_length} leaves no room for text beside "
                f"{marks} marks"
            )

    def _read_data_sets(self, split, problems):
        """Reads the files of a split: "train", "dev" or "test"."""
        files = self.glue.files(split)
        if not files:
            problems.add(
                f"--task_name {self.glue.name} has no {split} set: it can only be predicted, by a "
                "model that has been trained on mnli (--init_checkpoint)"
            )
        record_dir = self.classifier.cached_dir or self.settings.output_dir or ""
        for file in files:
            record_file = f"{self.glue.name}_{_RECORD_NAMES[split]}{file.suffix}.tf_record"
            path = self.glue.path(self.classifier.data_dir, file)
            with problems.collected():
                rows = glue.read_examples(path, self.glue, split)
                record_path = distributed.own_file(os.path.join(record_dir, record_file))
                self.data_sets[split].append(DataSet(file, path, record_path, rows))

    @property
    def features(self) -> records.FeatureSpec:
        """What a record holds."""
        label_type = tf.float32 if self.glue.is_regression else tf.int64
        return {
            **self.sequence_features,
            "label_ids": tf.io.FixedLenFeature([], label_type),
            "is_real_example": tf.io.FixedLenFeature([], tf.int64),
        }

    @property
    def record_files(self) -> list[str]:
        """Paths of the record files that the run reads."""
        return [data_set.records for data_sets in self.data_sets.values() for data_set in data_sets]

    @property
    def record_settings(self) -> dict[str, str | int | bool]:
        """What records depend on beside the inputs."""
        return {
            "task_name": self.glue.name,
            "max_seq_length": self.settings.max_seq_length,
            "do_lower_case": self.settings.do_lower_case,
        }

    @property
    def inputs(self):
        """What all processes must have read alike."""
        data_sets = [data_set for split in self.data_sets.values() for data_set in split]
        return self.digests(**{data_set.file.name: data_set.path for data_set in data_sets})

    @property
    def evaluated_on(self):
        """What results depend on beside the checkpoint; None if nothing is evaluated."""
        if not self.classifier.do_eval:
            return None
        paths = {data_set.file.name: data_set.path for data_set in self.data_sets["dev"]}
        return {**self.digests(**paths), **self.record_settings}

    def model_fn(self, features, labels, mode, params):
        """The Estimator's model function: probabilities or scores, or the loss for training."""
        is_training = mode == tf.estimator.ModeKeys.TRAIN
        pooled_output = self.encoder(features, is_training).get_pooled_output()
        if is_training and not self.settings.deterministic_run:
            pooled_output = modeling.dropout(pooled_output, _OUTPUT_DROPOUT)
        outputs = head_outputs(modeling.output_layer(pooled_output, len(self.glue.labels) or 1))
        if not is_training:
            if "label_ids" in features:
                for name in (_ROW, "label_ids", "is_real_example"):
                    outputs[name] = features[name]
            elif self.classifier.threshold_to_export is not None:  # in an exported model
                outputs["threshold"] = tf.constant(self.classifier.threshold_to_export)
            return tasks.prediction_spec(outputs)
        loss = tf.reduce_mean(example_losses(outputs["logits"], features["label_ids"]))
        return self.train_spec(loss, self.classifier.warmup_step, self.classifier.optimizer)

    def train_input_fn(self, start_step: int):
        """Makes the training records if they are not there; returns the input function."""
        (data_set,) = self.data_sets["train"]
        self._make_records(data_set)
        return self.training_input_fn(
            data_set.records, data_set.num_records, self.features, start_step
        )

    def evaluate(self, estimator: tf.estimator.Estimator, checkpoint: str) -> Evaluation:
        """Compares the predictions for the dev sets with the truth."""
        figures = {}
        for data_set in self.data_sets["dev"]:
            outputs = self._outputs(
                estimator, checkpoint, data_set, self.classifier.eval_batch_size
            )
            metrics = glue_metrics(self.glue.metrics, outputs["label_ids"], outputs["predictions"])
            figures.update({name + data_set.file.part: value for name, value in metrics.items()})
        return Evaluation(figures)

    def predict(self, estimator: tf.estimator.Estimator, checkpoint: str) -> None:
        """Writes what the model says of the test sets, unless these files are there."""
        for data_set in self.data_sets["test"]:
            is_done = distributed.is_chief() and self._has_predictions(data_set, checkpoint)
            if not distributed.broadcast(is_done):
                outputs = self._outputs(
                    estimator, checkpoint, data_set, self.classifier.predict_batch_size
                )
                if distributed.is_chief():
                    self._write_predictions(data_set, checkpoint, outputs)

    def _prediction_files(self, data_set):
        """The paths of what the model says, and of the file to submit."""
        return [
            os.path.join(self.settings.output_dir, f"{name}_results{data_set.file.suffix}.tsv")
            for name in ("test", "submit")
        ]

    def _predicted_from(self, data_set, checkpoint):
        """The digests of what predictions are made from."""
        return self.digests(**{data_set.file.name: data_set.path}, checkpoint=f"{checkpoint}.index")

    def _has_predictions(self, data_set, checkpoint):
        """Whether the predictions of a checkpoint are there."""
        results, submission = self._prediction_files(data_set)
        if not (Path(submission).exists() and records.manifest_path(results).exists()):
            return False
        inputs = self._predicted_from(data_set, checkpoint)
        return records.usable_manifest(results, self.record_settings, inputs) is not None

    def _write_predictions(self, data_set, checkpoint, outputs):
        """Writes a line for each row: its probabilities or its score, and its answer."""
        results, submission = self._prediction_files(data_set)
        records.manifest_path(results).unlink(missing_ok=True)
        predictions = outputs["predictions"]
        values = outputs.get("probabilities", predictions[:, np.newaxis])
        answers = predictions
        if not self.glue.is_regression:
            answers = [self.glue.labels[number] for number in predictions]
        with records.whole_file(submission) as temporary:
            lines = [f"{row.index}\t{answer!s}" for row, answer in zip(data_set.rows, answers)]
            temporary.write_text("\n".join(["index\tprediction", *lines, ""]), encoding="utf-8")
        with records.whole_file(results) as temporary:
            lines = ["\t".join(str(value) for value in row_values) for row_values in values]
            temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")
        inputs = self._predicted_from(data_set, checkpoint)
        records.write_manifest(results, len(data_set.rows), self.record_settings, inputs)
        logging.info("%s: predictions are in %s and %s", checkpoint, results, submission)

    def serving_input_receiver(self):
        """The input of an exported model: serialized `tf.train.Example`s, like the records."""
        serialized = tf.placeholder(tf.string, [None], "serialized_example")
        features = datasets.parse_examples(serialized, self.sequence_features)
        return tf.estimator.export.ServingInputReceiver(features, serialized)

    def _outputs(self, estimator, checkpoint, data_set, batch_size):
        """What the model says of a file: arrays [rows, ...] in the order of its rows, by name.

        All processes predict, each its part of the rows."""
        self._make_records(data_set)

        def input_fn():
            return datasets.bucketed_dataset(
                data_set.records,
                self.features,
                batch_size,
                self.start.length_buckets,
                number_name=_ROW,
                first_number=data_set.own.start,
            )

        input_fns = self.prediction_input_fns(input_fn, batch_size, self.start.length_buckets)
        outputs = tasks.predicted_arrays(estimator, checkpoint, input_fns, "rows")
        if not np.isfinite(outputs["logits"]).all():
            raise InputError(
                f"{checkpoint}: its predictions are not numbers, as its training has diverged; "
                "train anew with a lower --learning_rate"
            )
        order = np.argsort(outputs[_ROW])
        order = order[outputs["is_real_example"][order] != 0]
        if len(order) != len(data_set.rows):
            raise InputError(
                f"{data_set.records} has {len(order)} rows, but {data_set.path} has "
                f"{len(data_set.rows)}: remove the first, and it is made again"
            )
        return {name: values[order] for name, values in outputs.items()}

    def _make_records(self, data_set):
        """Makes the records of this process's rows of a file if they are not there."""
        if not data_set.num_records:
            own = data_set.own
            data_set.num_records = records.make_records(
                data_set.records,
                {**self.record_settings, **distributed.part_setting()},
                self.digests(**{data_set.file.name: data_set.path}),
                self.features,
                lambda: self._record_values(data_set.rows[own.start : own.stop]),
            )

    def _record_values(self, rows: Sequence[glue.Example]):
        """Yields the values of the records of some rows."""
        settings = self.settings
        for row in tqdm(rows, desc="making features", unit=" rows", disable=None):
            feature = glue.make_feature(
                row, self.start.tokenizer, settings.max_seq_length, settings.do_lower_case
            )
            yield feature.record(settings.max_seq_length)


if __name__ == "__main__":
    training.launch(main)

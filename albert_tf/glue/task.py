"""GLUE tasks: classifier and regression heads, losses, metrics and predictions of test sets."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from tqdm import tqdm

import modeling
from albert_tf import estimators, files
from albert_tf.errors import InputError
from albert_tf.glue.data import TASKS, Example, GlueTask, find_task, make_feature, read_examples
from albert_tf.glue.metrics import compute_metrics
from albert_tf.glue.settings import ClassifierSettings
from albert_tf.records.record_files import RecordFields
from albert_tf.runs import serving
from albert_tf.runs.problems import Problems
from albert_tf.runs.task import DataSet, Evaluation, Record, Schedule, Task
from modeling import AlbertModel

_OUTPUT_DROPOUT = 0.1
_RECORD_NAMES = {"train": "train", "dev": "eval", "test": "predict"}  # as in the original


def head_outputs(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Build the outputs of a classifier or a regression.

    Args:
      logits: float tensor [B, labels]; [B, 1] for a regression.

    Returns:
      For a classifier: `logits` and `probabilities`, float [B, labels], and `predictions`, int [B],
      the index of the most probable label. For a regression: `logits` and `predictions`, float [B],
      both the score.
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
    """Cross-entropy of each example, or its squared error for a regression.

    Args:
      logits: `logits` of `head_outputs`: float [B, labels], or [B] for a regression.
      labels: int tensor [B], or float tensor [B].

    Returns:
      Float tensor [B].
    """
    if logits.shape.ndims == 1:
        return tf.square(logits - labels)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


class ClassifierTask(Task):
    """A GLUE task: prediction of one label or score for one or two texts.

    Attributes:
      glue: the task of the benchmark; None if the settings name no known task.
    """

    settings: ClassifierSettings
    glue: GlueTask | None = None

    @property
    def has_head(self) -> bool:
        """Whether the task, and so the number of labels, is known."""
        return self.glue is not None

    def read_inputs(self, problems: Problems) -> None:
        """Read the rows, and collect problems with them and with the settings."""
        settings = self.settings
        splits = {
            "train": settings.do_train,
            "dev": settings.do_eval,
            "test": settings.do_predict,
        }
        wanted = [split for split, is_wanted in splits.items() if is_wanted]
        if not wanted and not settings.export_dir:
            problems.add("nothing to do: give --do_train, --do_eval or --do_predict")
        with problems.collected():
            if settings.cached_dir:
                files.check_writable("cached_dir", settings.cached_dir)
        with problems.collected():
            if not settings.task_name:
                raise InputError(f"--task_name is missing: give one of {', '.join(TASKS)}")
            self.glue = find_task(settings.task_name)
            self._check_room()
        if wanted and not settings.data_dir:
            problems.add("--data_dir is missing: give the folder with the task's files")
        elif self.glue:
            data_sets = {split: self._data_sets(split, problems) for split in wanted}
            self.train_set = next(iter(data_sets.get("train", ())), None)
            self.eval_sets = data_sets.get("dev", [])
            self.test_sets = data_sets.get("test", [])

    def _check_room(self):
        special_tokens = 1 + len(self.glue.texts)
        if self.settings.max_seq_length <= special_tokens:
            raise InputError(
                f"--max_seq_length {self.settings.max_seq_length} leaves no room for text after "
                f"{special_tokens} special tokens: raise it"
            )

    def _data_sets(self, split, problems):
        """Read the files of a split: "train", "dev" or "test"."""
        settings, data_sets = self.settings, []
        data_files = self.glue.files(split)
        if not data_files:
            problems.add(
                f"--task_name {self.glue.name} has no {split} set: only predict it, with a model "
                "trained on mnli (--init_checkpoint)"
            )
        for file in data_files:
            path = self.glue.path(settings.data_dir, file)
            with problems.collected():
                data_set = DataSet(
                    record_name=f"{self.glue.name}_{_RECORD_NAMES[split]}{file.suffix}.tf_record",
                    record_dir=settings.cached_dir,
                    inputs={file.name: path},
                    examples=read_examples(path, self.glue, split),
                    batch_size=(
                        settings.predict_batch_size if split == "test" else settings.eval_batch_size
                    ),
                    part=file.part,
                )
                if split == "test":
                    names = ("test_results", "submit_results")
                    data_set.predicted_names = tuple(f"{name}{file.suffix}.tsv" for name in names)
                data_sets.append(data_set)
        return data_sets

    @property
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""
        settings = self.settings
        return Schedule(
            steps=settings.train_step,
            warmup_steps=settings.warmup_step,
            optimizer=settings.optimizer,
        )

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings that the records depend on; JSON values by name."""
        return {"task_name": self.glue.name, **super().feature_settings}

    def fields(self, data_set: DataSet) -> RecordFields:
        """Fields of the records of a data set."""
        label_type = tf.float32 if self.glue.is_regression else tf.int64
        return {
            **self.sequence_fields,
            "label_ids": tf.io.FixedLenFeature([], label_type),
            "is_real_example": tf.io.FixedLenFeature([], tf.int64),
        }

    def records(
        self, data_set: DataSet, examples: Sequence[Example], first_number: int
    ) -> Iterator[Record]:
        """Yield the records of examples, in order."""
        settings = self.settings
        for example in tqdm(examples, desc="making features", unit=" rows", disable=None):
            feature = make_feature(
                example, self.tokenizer, settings.max_seq_length, settings.do_lower_case
            )
            yield Record(feature.record(settings.max_seq_length))

    def _logits(self, pooled_output):
        return modeling.output_layer(pooled_output, len(self.glue.labels) or 1)

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build the head and its loss for training."""
        pooled_output = encoder.get_pooled_output()
        if not self.settings.deterministic_run:
            pooled_output = modeling.dropout(pooled_output, _OUTPUT_DROPOUT)
        logits = head_outputs(self._logits(pooled_output))["logits"]
        return tf.reduce_mean(example_losses(logits, features["label_ids"]))

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build the head for prediction; see `head_outputs`."""
        outputs = head_outputs(self._logits(encoder.get_pooled_output()))
        is_exported = "label_ids" not in features
        if is_exported and self.settings.threshold_to_export is not None:
            outputs["threshold"] = tf.constant(self.settings.threshold_to_export)
        return outputs

    def evaluate(self, data_set: DataSet, answers: Sequence[dict]) -> Evaluation:
        """Compute the task's metrics, with the data set's `part` as suffix of their names."""
        labels = np.array([example.label for example in data_set.examples])
        predictions = np.array([answer["predictions"] for answer in answers])
        values = compute_metrics(self.glue.metrics, labels, predictions)
        return Evaluation({name + data_set.part: value for name, value in values.items()})

    def predicted_files(self, data_set: DataSet, answers: Sequence[dict]) -> dict[str, str]:
        """Contents of the prediction files of a test set, by name; one line per row in each.

        The first file has the probabilities of the labels or the score, the second the index and
        the predicted label or score.
        """
        results_name, submission_name = data_set.predicted_names
        results, submission = [], ["index\tprediction"]
        for example, answer in zip(data_set.examples, answers):
            prediction = answer["predictions"]
            values = np.float32(answer.get("probabilities", [prediction]))
            results.append("\t".join(str(value) for value in values))
            shown = self.glue.labels[prediction] if self.glue.labels else np.float32(prediction)
            submission.append(f"{example.index}\t{shown!s}")
        return {
            results_name: "\n".join([*results, ""]),
            submission_name: "\n".join([*submission, ""]),
        }

    def serving_input_receiver(self) -> estimators.ServingInputReceiver:
        """Make the inputs of an exported model: serialized `tf.train.Example`s, like records."""
        return serving.records(self.sequence_fields)

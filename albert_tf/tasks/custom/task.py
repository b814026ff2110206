"""Tasks on users' own data: their files, labels and metrics, and predictions of their rows."""

from __future__ import annotations

import functools
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.cli.problems import Problems
from albert_tf.io import tables
from albert_tf.io.errors import InputError, listed
from albert_tf.io.tables import Table
from albert_tf.tasks.base import DataSet, Evaluation
from albert_tf.tasks.classification import metrics
from albert_tf.tasks.classification.confusion import Confusion
from albert_tf.tasks.classification.metrics import Metric
from albert_tf.tasks.classification.task import ClassificationTask
from albert_tf.tasks.custom import rows
from albert_tf.tasks.custom.columns import find_columns
from albert_tf.tasks.custom.labels import LABELS_FILE, Labels, read_labels
from albert_tf.tasks.custom.rows import CheckedRows
from albert_tf.tasks.custom.settings import TASK_NAME, OwnDataSettings

_RECORD_NAMES = {"train": "train", "dev": "eval", "test": "predict"}  # as for GLUE
_FLAGS = {"train": "train_file", "dev": "dev_file", "test": "test_file"}
_LISTED_LABELS = 20


class OwnDataTask(ClassificationTask):
    """Prediction of one label or score for one or two texts in users' files."""

    settings: OwnDataSettings
    title = "Own data"
    kept_names = (LABELS_FILE,)
    _labels: Labels | None = None  # None until they are known

    @property
    def _known_labels(self) -> Labels:
        assert self._labels is not None
        return self._labels

    @property
    def has_head(self) -> bool:
        """Whether the labels are known, or that they are scores."""
        return self._labels is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the model's outputs; empty for a regression."""
        return self._known_labels.names

    @property
    def metrics(self) -> list[Metric]:
        """Metrics of the task; the first ranks the checkpoints."""
        usual = [metrics.accuracy, metrics.f1_macro] if self.labels else [*metrics.OF_SCORES]
        chosen = self.settings.metric
        first = metrics.METRICS[chosen] if chosen else usual[0]
        return [first, *(metric for metric in usual if metric is not first)]

    @property
    def kept(self) -> dict[str, Any]:
        """JSON values to keep with the model, by file name."""
        return {LABELS_FILE: self._known_labels.as_json()}

    def read_inputs(self, problems: Problems) -> None:
        """Read and check all rows, and collect problems with them and with the settings."""
        settings = self.settings
        self.check_settings(problems)
        self._check_files(problems)
        before = problems.result(read_labels, self.kept_before, self.kept_in)
        if before and settings.regression and not before.is_regression:
            problems.add(f"--regression: the model in {self.kept_in} was trained on labels")
        is_regression = before.is_regression if before else settings.regression
        train_rows = None
        needs_rows = settings.do_train or (settings.do_eval and settings.dev_share) or not before
        if settings.train_file and needs_rows:
            with problems.collected():
                train_rows = self._checked("train", is_regression, before)
                self._labels = self._labels_of(train_rows, before)
        elif before:
            self._labels = before
        else:
            problems.add(
                f"the labels are not known: there is no {LABELS_FILE} with the model; give "
                "--train_file, or with --init_checkpoint the output_dir of a training"
            )
        if self._labels:
            with problems.collected():
                self._check_with_labels()
            self._read_splits(train_rows, problems)

    def _check_files(self, problems: Problems) -> None:
        """Collect problems with the flags of files."""
        settings = self.settings
        if settings.do_train and not settings.train_file:
            problems.add("--train_file is missing: give a file with texts and labels")
        if settings.do_eval and not settings.dev_file:
            if not settings.dev_share:
                problems.add(
                    "--dev_file is missing: give one, or --dev_share=0.1 for a tenth of the "
                    "training file"
                )
            elif not settings.train_file:
                problems.add("--train_file is missing: --dev_share takes its share of it")
        if settings.do_predict and not settings.test_file:
            problems.add("--test_file is missing: give a file with the texts to predict")
        if settings.dev_file and settings.dev_share:
            problems.add("--dev_file and --dev_share: give one of them")

    def _checked(self, split: str, is_regression: bool, known: Labels | None) -> CheckedRows:
        """Read and check the file of a split."""
        settings = self.settings
        path = getattr(settings, _FLAGS[split])
        if not settings.file_format and not tables.has_known_name(path):
            raise InputError(
                f"{path}: the name does not tell the format; give --file_format: "
                f"{', '.join(tables.FORMATS)}"
            )
        table = Table(path, settings.file_format)
        is_labelled = split != "test"
        columns = find_columns(
            table, settings, is_regression, is_labelled, known.text_columns if known else ()
        )
        label = f", label: {columns.label}" if columns.label and is_labelled else ""
        logging.info("%s: text: %s%s", table.path, " and ".join(columns.texts), label)
        if not is_labelled:
            return rows.check_unlabelled(table, columns, known.names if known else ())
        if is_regression:
            return rows.check_scores(table, columns)
        return rows.check_labels(table, columns, known.names if known else None)

    def _labels_of(self, train_rows: CheckedRows, before: Labels | None) -> Labels:
        """Labels of the training file, which must be those that the model has already."""
        if before or self.settings.regression:
            counts = train_rows.counts() if train_rows.names else ()
            return Labels(train_rows.names, counts, train_rows.columns.texts)
        labels = Labels(train_rows.names, train_rows.counts(), train_rows.columns.texts)
        path = train_rows.table.path
        if len(labels.names) == 1:
            raise InputError(
                f"{path}: all rows have the label {labels.names[0]}; training needs two labels, or "
                "--regression for scores"
            )
        counted = [f"{name} ({n})" for name, n in zip(labels.names, labels.counts)]
        logging.info("%s: %d labels: %s", path, len(counted), listed(counted, _LISTED_LABELS))
        single = [name for name, count in zip(labels.names, labels.counts) if count == 1]
        if single:
            logging.warning(
                "%s: only one row has the label %s: too few to learn it, and none to evaluate it",
                path,
                listed(single, _LISTED_LABELS),
            )
        return labels

    def _check_with_labels(self) -> None:
        """Check the settings that depend on the labels."""
        settings, names = self.settings, self.labels
        self.check_room(len(self._known_labels.text_columns))
        chosen = metrics.METRICS[settings.metric] if settings.metric else None
        if chosen and (chosen in metrics.OF_SCORES) != (not names):
            kind = "a regression" if not names else "labels"
            raise InputError(f"--metric {settings.metric}: does not fit {kind}; give another")
        if chosen is metrics.f1 and len(names) != 2:
            raise InputError(
                f"--metric f1: needs two labels, there are {len(names)}; give f1_macro or f1_micro"
            )
        if settings.class_weights == "balanced" and not names:
            raise InputError("--class_weights balanced: a regression has no labels; leave it out")

    def _read_splits(self, train_rows: CheckedRows | None, problems: Problems) -> None:
        """Read the files of the splits, and make the data sets."""
        settings, is_regression = self.settings, self._known_labels.is_regression
        train_numbers = dev_numbers = None
        if train_rows and settings.dev_share:
            train_numbers, dev_numbers = rows.split(train_rows.labels, settings.dev_share)
            if not len(dev_numbers):
                problems.add(
                    f"--dev_share {settings.dev_share:g} of {len(train_rows.labels)} rows is "
                    "nothing: raise it"
                )
        if settings.do_train and train_rows:
            self.train_set = self._data_set("train", train_rows, train_numbers)
        if settings.do_eval and train_rows and dev_numbers is not None:
            self.eval_sets = [self._data_set("dev", train_rows, dev_numbers)]
        elif settings.do_eval and settings.dev_file:
            with problems.collected():
                checked = self._checked("dev", is_regression, self._labels)
                self.eval_sets = [self._data_set("dev", checked)]
        if settings.do_predict and settings.test_file:
            with problems.collected():
                checked = self._checked("test", is_regression, self._labels)
                self.test_sets = [self._data_set("test", checked)]
                suffix = f".{checked.table.format}"
                self.test_sets[0].predicted_names = (f"predictions{suffix}",)
                self._test_table = checked.table

    def _data_set(
        self, split: str, checked: CheckedRows, numbers: np.ndarray | None = None
    ) -> DataSet:
        settings = self.settings
        flag = "train_file" if numbers is not None else _FLAGS[split]
        is_test = split == "test"
        return DataSet(
            record_name=f"{TASK_NAME}_{_RECORD_NAMES[split]}.tf_record",
            record_dir=settings.cached_dir,
            inputs={flag: getattr(settings, flag)},
            examples=checked if numbers is None else checked[numbers],
            batch_size=settings.predict_batch_size if is_test else settings.eval_batch_size,
        )

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings that the records depend on; JSON values by name."""
        settings = self.settings
        return {
            "task_name": TASK_NAME,
            **super().feature_settings,
            "labels": list(self.labels),
            "text_columns": list(self._known_labels.text_columns),
            "label_column": settings.label_column,
            "file_format": settings.file_format,
            "dev_share": settings.dev_share,
        }

    @property
    def answer_settings(self) -> dict[str, Any]:
        """Further settings that the answers depend on; JSON values by name."""
        names = [metric.__name__ for metric in self.metrics]
        return {"metrics": names, "all_probabilities": self.settings.all_probabilities}

    @property
    def exported_settings(self) -> dict[str, Any]:
        """Settings to store in an exported model; JSON values by name."""
        return super().feature_settings

    @functools.cached_property
    def _weights(self) -> np.ndarray | None:
        """Weights of the labels in the loss, float [labels], or None."""
        if self.settings.class_weights == "none":
            return None
        return self._known_labels.balanced_weights()

    def example_weights(self, labels: tf.Tensor) -> tf.Tensor | None:
        """Weights of the examples by their labels, float [B], or None."""
        return None if self._weights is None else tf.gather(tf.constant(self._weights), labels)

    def evaluate(self, data_set: DataSet, answers: Sequence[dict[str, Any]]) -> Evaluation:
        """Compute the metrics, and for labels the confusion matrix."""
        evaluation = super().evaluate(data_set, answers)
        if not self.labels:
            return evaluation
        labels = self.true_labels(data_set)
        predictions = np.array([answer["predictions"] for answer in answers])
        counted = Confusion.of(labels, predictions, self.labels)
        contents = {
            "confusion_matrix.txt": counted.as_text(),
            "confusion_matrix.json": counted.as_json(),
        }
        return Evaluation(evaluation.metrics, contents)

    def texts_of(self, example: rows.Example) -> list[tuple[str, str]]:
        """Names of the text columns, and their texts, for the report page."""
        return list(zip(self._known_labels.text_columns, example.texts))

    def true_labels(self, data_set: DataSet) -> np.ndarray:
        """Labels or scores of the examples [examples], without reading a file again for them."""
        if isinstance(data_set.examples, CheckedRows):
            return data_set.examples.labels
        return super().true_labels(data_set)

    def predicted_files(
        self, data_set: DataSet, answers: Sequence[dict[str, Any]]
    ) -> dict[str, Iterator[str]]:
        """Lines of the file with the rows of the test file and their predictions.

        It has the format of the test file. Columns that are named like those of a prediction are
        replaced.
        """
        (name,) = data_set.predicted_names
        predicted = (
            {**example.values, **self._prediction(answer)}
            for example, answer in zip(data_set.examples, answers)
        )
        added = self._prediction(answers[0])
        columns = list(dict.fromkeys([*self._test_table.columns, *added]))
        table = self._test_table
        return {name: tables.as_text(table.format, columns, predicted, table.delimiter)}

    def _prediction(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Values to add to the row of an answer, by column."""
        if not self.labels:
            return {"prediction": _shortest(answer["predictions"])}
        number, probabilities = answer["predictions"], answer["probabilities"]
        probability = _shortest(probabilities[number])
        values = {"prediction": self.labels[number], "probability": probability}
        if not self.settings.all_probabilities:
            return values
        probabilities = map(_shortest, probabilities)
        if self._test_table.format == "jsonl":
            return {**values, "probabilities": dict(zip(self.labels, probabilities))}
        named = zip((f"probability_{name}" for name in self.labels), probabilities)
        return {**values, **dict(named)}


def _shortest(value: float) -> float:
    """A float32 number with as few digits as tell it from others."""
    return float(str(np.float32(value)))

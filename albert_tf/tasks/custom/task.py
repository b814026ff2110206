"""Tasks on custom data: files, labels and metrics, and predictions of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.io import tables
from albert_tf.io.errors import InputError, listed
from albert_tf.io.tables import Table
from albert_tf.records.splits import DEV, TEST, TRAIN, Split, Splits
from albert_tf.tasks.base import Artifacts, HasArtifacts, Problems
from albert_tf.tasks.classification import metrics
from albert_tf.tasks.classification.confusion import Confusion
from albert_tf.tasks.classification.metrics import Metric
from albert_tf.tasks.classification.task import (
    KINDS,
    ClassificationTask,
    check_room,
    check_settings,
)
from albert_tf.tasks.custom import rows
from albert_tf.tasks.custom.columns import find_columns
from albert_tf.tasks.custom.labels import LABELS_FILE, Labels, read_labels
from albert_tf.tasks.custom.rows import CheckedRows
from albert_tf.tasks.custom.settings import TASK_NAME, CustomSettings

_FLAGS = {TRAIN: "train_file", DEV: "dev_file", TEST: "test_file"}
_LISTED_LABELS = 20
_NO_LABELS = Labels((), (), ())


@dataclass(frozen=True)
class CustomSplits(Splits):
    """Splits of custom data.

    Attributes:
      labels: meaning of the model's outputs; empty if there were problems.
      test_table: file of the test split, if there is one.
    """

    labels: Labels = _NO_LABELS
    test_table: Table | None = None


class CustomTask(HasArtifacts, ClassificationTask):
    """Prediction of one label or score for one or two texts in custom data."""

    settings: CustomSettings
    splits: CustomSplits
    title = "Custom data"
    artifact_names = (LABELS_FILE,)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the model's outputs; empty for a regression."""
        return self.splits.labels.names

    @property
    def metrics(self) -> list[Metric]:
        """Metrics of the task; the first ranks the checkpoints."""
        usual = [metrics.accuracy, metrics.f1_macro] if self.labels else [*metrics.OF_SCORES]
        chosen = self.settings.metric
        first = metrics.METRICS[chosen] if chosen else usual[0]
        return [first, *(metric for metric in usual if metric is not first)]

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """JSON objects to keep with the model, by file name."""
        return {LABELS_FILE: self.splits.labels.as_json()}

    @classmethod
    def read(
        cls, settings: CustomSettings, artifacts: Artifacts, problems: Problems
    ) -> CustomSplits:
        """Read and check all rows, and collect problems with them and with the settings."""
        check_settings(settings, problems)
        _check_files(settings, problems)
        before = problems.result(read_labels, artifacts)
        if before and settings.regression and not before.is_regression:
            problems.add(
                f"--regression: {artifacts[LABELS_FILE].file} says that it was trained on labels"
            )
        is_regression = before.is_regression if before else settings.regression
        needs_rows = settings.do_train or (settings.do_eval and settings.dev_share) or not before
        train_rows, labels = None, before
        if settings.train_file and needs_rows:
            with problems.collected():
                train_rows = _checked(settings, TRAIN, is_regression, before)
                labels = _labels_of(settings, train_rows, before)
        elif not before:
            problems.add(
                f"the labels are not known: there is no {LABELS_FILE} with the model; give "
                "--train_file, or with --init_checkpoint the output_dir of a training"
            )
        if not labels:
            return CustomSplits()
        with problems.collected():
            _check_with_labels(settings, labels)
        return _read_splits(settings, labels, train_rows, problems)

    def example_weights(self, labels: tf.Tensor) -> tf.Tensor | None:
        """Weights of the examples by their labels, float [B], or None."""
        if self.settings.class_weights == "none":
            return None
        return tf.gather(tf.constant(self.splits.labels.balanced_weights()), labels)

    def result_files(self, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
        """The confusion matrix of labels, as text and for programs."""
        if not self.labels:
            return {}
        counted = Confusion.of(labels, predicted, self.labels)
        return {
            "confusion_matrix.txt": counted.as_text(),
            "confusion_matrix.json": counted.as_json(),
        }

    def texts_of(self, example: rows.Example) -> list[tuple[str, str]]:
        """Names of the text columns, and their texts, for the report page."""
        return list(zip(self.splits.labels.text_columns, example.texts))

    def true_labels(self, split: Split) -> np.ndarray:
        """Labels or scores of the examples of a split, without reading a file again for them."""
        if isinstance(split.examples, CheckedRows):
            return split.examples.labels
        return super().true_labels(split)

    def prediction_files(
        self, split: Split, predictions: Sequence[dict[str, Any]]
    ) -> dict[str, Iterator[str]]:
        """Lines of the file with the rows of the test file and their predictions.

        It has the format of the test file. Columns that have the name of a column of predictions
        are replaced.
        """
        table = self.splits.test_table
        assert table is not None
        predicted = (
            {**example.values, **self._prediction(found, table.format)}
            for example, found in zip(split.examples, predictions)
        )
        added = self._prediction(predictions[0], table.format)
        columns = list(dict.fromkeys([*table.columns, *added]))
        lines = tables.as_text(table.format, columns, predicted, table.delimiter)
        return {f"predictions.{table.format}": lines}

    def _prediction(self, found: Mapping[str, Any], file_format: str) -> dict[str, Any]:
        """Values to add to the row of a prediction, by column."""
        if not self.labels:
            return {"prediction": _shortest(found["predictions"])}
        number, probabilities = found["predictions"], found["probabilities"]
        probability = _shortest(probabilities[number])
        values = {"prediction": self.labels[number], "probability": probability}
        if not self.settings.all_probabilities:
            return values
        probabilities = [_shortest(value) for value in probabilities]
        if file_format == "jsonl":
            return {**values, "probabilities": dict(zip(self.labels, probabilities))}
        named = zip((f"probability_{name}" for name in self.labels), probabilities)
        return {**values, **dict(named)}


def _check_files(settings: CustomSettings, problems: Problems) -> None:
    """Collect problems with the flags of files."""
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


def _checked(
    settings: CustomSettings, name: str, is_regression: bool, known: Labels | None
) -> CheckedRows:
    """Read and check the file of a split."""
    path = getattr(settings, _FLAGS[name])
    if not settings.file_format and not tables.has_known_name(path):
        raise InputError(
            f"{path}: the name does not tell the format; give --file_format: "
            f"{', '.join(tables.FORMATS)}"
        )
    table = Table(path, settings.file_format)
    is_labelled = name != TEST
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


def _labels_of(settings: CustomSettings, train_rows: CheckedRows, before: Labels | None) -> Labels:
    """Labels of the training file, which must be those that the model has already."""
    counts = train_rows.counts() if train_rows.names else ()
    labels = Labels(train_rows.names, counts, train_rows.columns.texts)
    if before or settings.regression:
        return labels
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


def _check_with_labels(settings: CustomSettings, labels: Labels) -> None:
    """Check the settings that depend on the labels."""
    names = labels.names
    check_room(settings.max_seq_length, len(labels.text_columns))
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


def _read_splits(
    settings: CustomSettings, labels: Labels, train_rows: CheckedRows | None, problems: Problems
) -> CustomSplits:
    """Read the files of the splits."""
    train, dev, test, test_table = None, [], [], None
    dev_rows = None
    if train_rows and settings.dev_share:
        train_numbers, dev_numbers = rows.split(train_rows.labels, settings.dev_share)
        if not len(dev_numbers):
            problems.add(
                f"--dev_share {settings.dev_share:g} of {len(train_rows)} rows is nothing: raise it"
            )
        train_rows, dev_rows = train_rows[train_numbers], train_rows[dev_numbers]
    if settings.do_train and train_rows:
        train = _split(settings, TRAIN, labels, train_rows)
    if settings.do_eval and settings.dev_file:
        dev_rows = problems.result(_checked, settings, DEV, labels.is_regression, labels)
    if settings.do_eval and dev_rows:
        dev.append(_split(settings, DEV, labels, dev_rows))
    if settings.do_predict and settings.test_file:
        with problems.collected():
            checked = _checked(settings, TEST, labels.is_regression, labels)
            test.append(_split(settings, TEST, labels, checked))
            test_table = checked.table
    return CustomSplits(train, dev, test, labels, test_table)


def _split(settings: CustomSettings, name: str, labels: Labels, checked: CheckedRows) -> Split:
    flag = "train_file" if name == DEV and settings.dev_share else _FLAGS[name]
    return Split(
        name,
        f"{TASK_NAME}_{KINDS[name]}.tf_record",
        {flag: checked.table.path},
        checked,
        getattr(settings, f"{KINDS[name]}_batch_size"),
        settings={
            "labels": list(labels.names),
            "text_columns": list(labels.text_columns),
            "label_column": settings.label_column,
            "file_format": settings.file_format,
            "dev_share": settings.dev_share,
        },
        record_dir=settings.cached_dir,
        labels=labels.names,
    )


def _shortest(value: float) -> float:
    """A float32 number with as few digits as tell it from others."""
    return float(str(np.float32(value)))

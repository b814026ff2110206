"""GLUE tasks: splits, labels and metrics of each, and predictions of test sets."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from albert_tf.io.errors import InputError
from albert_tf.records.splits import DEV, TEST, TRAIN, Split, Splits
from albert_tf.tasks.base import Artifacts, Problems
from albert_tf.tasks.classification.metrics import Metric
from albert_tf.tasks.classification.task import (
    KINDS,
    ClassificationTask,
    check_room,
    check_settings,
)
from albert_tf.tasks.glue.data import TASKS, GlueTask, find_task, read_examples
from albert_tf.tasks.glue.settings import GlueSettings


class ClassifierTask(ClassificationTask):
    """A GLUE task: prediction of one label or score for one or two texts."""

    settings: GlueSettings

    @functools.cached_property
    def glue(self) -> GlueTask:
        """The task of the benchmark."""
        assert self.settings.task_name is not None
        return find_task(self.settings.task_name)

    @property
    def title(self) -> str:  # type: ignore[override]
        """Name of the task for people."""
        return f"GLUE {self.glue.name}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the model's outputs; empty for a regression."""
        return self.glue.labels

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of the task; the first ranks the checkpoints."""
        return self.glue.metrics

    @classmethod
    def read(cls, settings: GlueSettings, artifacts: Artifacts, problems: Problems) -> Splits:
        """Read the rows, and collect problems with them and with the settings."""
        check_settings(settings, problems)
        glue: GlueTask | None = None
        with problems.collected():
            if not settings.task_name:
                raise InputError(f"--task_name is missing: give one of {', '.join(TASKS)}")
            glue = find_task(settings.task_name)
            check_room(settings.max_seq_length, len(glue.texts))
        wanted = settings.wanted_splits
        if wanted and not settings.data_dir:
            problems.add("--data_dir is missing: give the directory with the task's files")
        if not glue or not settings.data_dir:
            return Splits()
        found = {name: _read_split(settings, glue, name, problems) for name in wanted}
        return Splits(
            next(iter(found.get(TRAIN, ())), None), found.get(DEV, ()), found.get(TEST, ())
        )

    def prediction_files(
        self, split: Split, predictions: Sequence[dict[str, Any]]
    ) -> dict[str, str]:
        """Contents of the files of a test split, by name; one line per row in each.

        The first file has the probabilities of the labels or the score, the second the index and
        the predicted label or score.
        """
        results, submission = [], ["index\tprediction"]
        for example, found in zip(split.examples, predictions):
            prediction = found["predictions"]
            values = np.array(found.get("probabilities", [prediction]), np.float32)
            results.append("\t".join(str(value) for value in values))
            shown = self.labels[prediction] if self.labels else np.float32(prediction)
            submission.append(f"{example.index}\t{shown!s}")
        contents = {"test_results": results, "submit_results": submission}
        return {
            f"{name}{split.suffix}.tsv": "\n".join([*lines, ""]) for name, lines in contents.items()
        }


def _read_split(
    settings: GlueSettings, glue: GlueTask, name: str, problems: Problems
) -> list[Split]:
    """Read the files of a split."""
    assert settings.data_dir is not None
    splits: list[Split] = []
    data_files = glue.files(name)
    if not data_files:
        problems.add(
            f"--task_name {glue.name} has no {name} set: only predict it, with a model trained on "
            "mnli (--init_checkpoint)"
        )
    for index, file in enumerate(data_files):
        part = Path(file).stem[len(name) :] if len(data_files) > 1 else ""
        file_suffix = part if index else ""  # as in the original
        path = glue.path(settings.data_dir, file)
        with problems.collected():
            split = Split(
                name,
                f"{glue.name}_{KINDS[name]}{file_suffix}.tf_record",
                {file: path},
                read_examples(path, glue, name),
                getattr(settings, f"{KINDS[name]}_batch_size"),
                record_dir=settings.cached_dir,
                labels=glue.labels,
                suffix=file_suffix if name == TEST else part,
            )
            splits.append(split)
    return splits

"""GLUE tasks: data sets, labels and metrics of each, and predictions of test sets."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from albert_tf.cli.problems import Problems
from albert_tf.io.errors import InputError
from albert_tf.tasks.base import DataSet
from albert_tf.tasks.classification.metrics import Metric
from albert_tf.tasks.classification.task import ClassificationTask
from albert_tf.tasks.glue.data import TASKS, GlueTask, find_task, read_examples
from albert_tf.tasks.glue.settings import GlueSettings

_RECORD_NAMES = {"train": "train", "dev": "eval", "test": "predict"}  # as in the original


class ClassifierTask(ClassificationTask):
    """A GLUE task: prediction of one label or score for one or two texts.

    Attributes:
      glue: the task of the benchmark; None if the settings name no known task.
    """

    settings: GlueSettings
    glue: GlueTask | None = None

    @property
    def _known_task(self) -> GlueTask:
        assert self.glue is not None
        return self.glue

    @property
    def title(self) -> str:
        """Name of the task for people."""
        return f"GLUE {self._known_task.name}"

    @property
    def has_head(self) -> bool:
        """Whether the task, and so the number of labels, is known."""
        return self.glue is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the model's outputs; empty for a regression."""
        return self._known_task.labels

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of the task; the first ranks the checkpoints."""
        return self._known_task.metrics

    def read_inputs(self, problems: Problems) -> None:
        """Read the rows, and collect problems with them and with the settings."""
        settings = self.settings
        self.check_settings(problems)
        with problems.collected():
            if not settings.task_name:
                raise InputError(f"--task_name is missing: give one of {', '.join(TASKS)}")
            self.glue = find_task(settings.task_name)
            self.check_room(len(self.glue.texts))
        wanted = settings.wanted_splits
        if wanted and not settings.data_dir:
            problems.add("--data_dir is missing: give the folder with the task's files")
        elif self.glue and settings.data_dir:
            data_sets = {
                split: self._data_sets(self.glue, settings.data_dir, split, problems)
                for split in wanted
            }
            self.train_set = next(iter(data_sets.get("train", ())), None)
            self.eval_sets = data_sets.get("dev", [])
            self.test_sets = data_sets.get("test", [])

    def _data_sets(
        self, glue: GlueTask, data_dir: str, split: str, problems: Problems
    ) -> list[DataSet]:
        """Read the files of a split: "train", "dev" or "test"."""
        settings = self.settings
        data_sets: list[DataSet] = []
        data_files = glue.files(split)
        if not data_files:
            problems.add(
                f"--task_name {glue.name} has no {split} set: only predict it, with a model "
                "trained on mnli (--init_checkpoint)"
            )
        for file in data_files:
            path = glue.path(data_dir, file)
            with problems.collected():
                data_set = DataSet(
                    record_name=f"{glue.name}_{_RECORD_NAMES[split]}{file.suffix}.tf_record",
                    record_dir=settings.cached_dir,
                    inputs={file.name: path},
                    examples=read_examples(path, glue, split),
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
    def feature_settings(self) -> dict[str, Any]:
        """Settings that the records depend on; JSON values by name."""
        return {"task_name": self._known_task.name, **super().feature_settings}

    def predicted_files(
        self, data_set: DataSet, answers: Sequence[dict[str, Any]]
    ) -> dict[str, str]:
        """Contents of the prediction files of a test set, by name; one line per row in each.

        The first file has the probabilities of the labels or the score, the second the index and
        the predicted label or score.
        """
        results_name, submission_name = data_set.predicted_names
        results, submission = [], ["index\tprediction"]
        for example, answer in zip(data_set.examples, answers):
            prediction = answer["predictions"]
            values = np.array(answer.get("probabilities", [prediction]), np.float32)
            results.append("\t".join(str(value) for value in values))
            shown = self.labels[prediction] if self.labels else np.float32(prediction)
            submission.append(f"{example.index}\t{shown!s}")
        return {
            results_name: "\n".join([*results, ""]),
            submission_name: "\n".join([*submission, ""]),
        }

"""Results of a run: metrics of its checkpoints, and predictions for its test sets."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any, Mapping, Sequence

from absl import logging

from albert_tf import files, json_files
from albert_tf.bounds import Bounds
from albert_tf.errors import InputError
from albert_tf.records import manifests
from albert_tf.records.manifests import Origin
from albert_tf.runs import checkpoints
from albert_tf.runs.hooks import write_summary
from albert_tf.runs.shards import ExampleShard
from albert_tf.runs.task import Evaluation, Task

_RESULTS_FILE = "eval_results"
_METRIC = Bounds(is_whole=False)


class Results:
    """The evaluation results in an output directory: `eval_results.json` and `eval_results.txt`.

    The JSON file is for programs, the text file for people. Results on other data, and results of
    checkpoints from elsewhere, are discarded.

    Attributes:
      best: name of the best checkpoint so far; None without results.
    """

    def __init__(self, output_dir: str, evaluated_on: Mapping[str, Any]):
        """Read the results of earlier runs.

        Args:
          output_dir: output directory of the run.
          evaluated_on: inputs and settings that the metrics depend on, as JSON values by name.
        """
        self._directory = Path(output_dir)
        self._evaluated_on = dict(evaluated_on)
        self._by_checkpoint = {}
        self._files = []
        self.best: str | None = None
        self._read()

    def has(self, checkpoint: str) -> bool:
        """Whether a checkpoint has been evaluated."""
        name = self._name(checkpoint)
        return name in self._by_checkpoint or (
            name == checkpoints.BEST_CHECKPOINT and self.best is not None
        )

    def add(self, checkpoint: str, evaluation: Evaluation, keep_best: bool) -> None:
        """Add the result of a checkpoint, and write its files if it is the best so far.

        The result is saved last: if the run is killed while it writes the files, the checkpoint is
        evaluated again.

        Args:
          checkpoint: prefix of the checkpoint.
          evaluation: result of the checkpoint.
          keep_best: whether to copy the best checkpoint to `model.ckpt-best`.
        """
        name = self._name(checkpoint)
        self._by_checkpoint[name] = dict(evaluation.metrics)
        is_best = self.best is None or self._value(name) > self._value(self.best)
        if is_best or not evaluation.metrics:  # without metrics the latest counts as the best
            if keep_best and evaluation.metrics:
                checkpoints.keep_as_best(checkpoint)
            for file_name, content in evaluation.files.items():
                _write(self._directory / file_name, content)
            self.best = name
            self._files = list(evaluation.files)
        self._write()

        step = checkpoints.step_of(checkpoint)
        logging.info(
            "%s: %s%s",
            name,
            _as_text(evaluation.metrics) or "no metrics, as the true answers are unknown",
            " (the best so far)" if self.best == name and len(self._by_checkpoint) > 1 else "",
        )
        if step is not None and evaluation.metrics:
            values = {f"eval/{name}": value for name, value in evaluation.metrics.items()}
            write_summary(self._directory / "eval", step, values)

    def log(self) -> None:
        """Log the best result and its files."""
        logging.info("%s: %s", self.best, _as_text(self._by_checkpoint[self.best]))
        written = ", ".join([*self._files, f"{_RESULTS_FILE}.txt", f"{_RESULTS_FILE}.json"])
        logging.info("results in %s: %s", self._directory, written)

    def _name(self, checkpoint):
        """Name of a checkpoint: its file name if it is in the output directory, else its path."""
        path = Path(checkpoint)
        return path.name if path.parent.resolve() == self._directory.resolve() else str(path)

    def _value(self, name):
        """Value of the first metric, by which checkpoints are ranked; NaN ranks lowest."""
        value = next(iter(self._by_checkpoint[name].values()), -math.inf)
        return -math.inf if math.isnan(value) else value

    def _read(self):
        path = self._directory / f"{_RESULTS_FILE}.json"
        if not path.exists():
            return
        try:
            saved = json_files.read(path, "the results", "remove it")
            best, kept_files = saved.text("best_checkpoint"), saved.texts("files")
            by_checkpoint = {
                name: saved.object("checkpoints").object(name).values
                for name in saved.object("checkpoints").values
            }
            for metrics in by_checkpoint.values():
                for value in metrics.values():
                    if not _METRIC.allow(value):
                        raise saved.error(f"a metric is {json_files.shown(value)}")
            if best not in by_checkpoint:
                raise saved.error(f"checkpoints.{best} is missing")
            same_data = saved.object("evaluated_on").values == self._evaluated_on
        except InputError as error:
            logging.warning("%s: evaluating again", error)
            return
        if not same_data:
            logging.info("%s has results on other data: evaluating again", path)
        elif best.startswith("model.ckpt-") and all(
            (self._directory / name).exists() for name in kept_files
        ):
            self._by_checkpoint, self.best, self._files = by_checkpoint, best, kept_files

    def _write(self):
        best = self._by_checkpoint[self.best]
        files.write_json(
            self._directory / f"{_RESULTS_FILE}.json",
            {
                "best_checkpoint": self.best,
                "metric": next(iter(best), None),
                **best,
                "checkpoints": self._by_checkpoint,
                "files": self._files,
                "evaluated_on": self._evaluated_on,
            },
        )
        lines = [f"{name} = {value}" for name, value in best.items()]
        lines += [f"best checkpoint = {self.best}", "", "all checkpoints:"]
        lines += [f"  {name}: {_as_text(m)}" for name, m in self._by_checkpoint.items()]
        _write(self._directory / f"{_RESULTS_FILE}.txt", "\n".join(lines) + "\n")


def _as_text(metrics):
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _write(path, content):
    """Write text, or another value as JSON, atomically."""
    (files.write_text if isinstance(content, str) else files.write_json)(path, content)


class PredictedFiles:
    """Files with a checkpoint's predictions for a test set.

    A manifest next to the first file records its origin, so that nothing is predicted twice.
    """

    def __init__(self, task: Task, shard: ExampleShard, checkpoint: str):
        """Make the object; nothing is read or written yet.

        Args:
          task: the task.
          shard: this process's shard of the test set.
          checkpoint: prefix of the checkpoint.
        """
        self._task = task
        self._shard = shard
        self._checkpoint = checkpoint
        self._directory = Path(task.settings.output_dir)
        self._names = shard.data_set.predicted_names

    @property
    def _manifest_of(self):
        return str(self._directory / self._names[0])

    @functools.cached_property
    def _origin(self):
        index = f"{self._checkpoint}.index"
        return Origin(
            {**self._task.feature_settings, **self._task.answer_settings},
            {**self._shard.fingerprint, "checkpoint": files.digest(index)},
        )

    def are_there(self) -> bool:
        """Whether the files of this checkpoint and these inputs already exist."""
        paths = [self._directory / name for name in self._names]
        if not all(path.exists() for path in [*paths, manifests.manifest_path(self._manifest_of)]):
            return False
        return manifests.usable_manifest(self._manifest_of, self._origin) is not None

    def write(self, answers: Sequence[Any]) -> None:
        """Write the files.

        Args:
          answers: the task's answers to all examples, in order.
        """
        manifests.manifest_path(self._manifest_of).unlink(missing_ok=True)
        texts = self._task.predicted_files(self._shard.data_set, answers)
        for name in reversed(self._names):
            files.write_text(self._directory / name, texts[name])
        manifests.write_manifest(self._manifest_of, len(answers), self._origin)
        paths = ", ".join(str(self._directory / name) for name in self._names)
        logging.info("%s: wrote predictions to %s", self._checkpoint, paths)

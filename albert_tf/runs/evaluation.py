"""The results of a run's checkpoints: each is evaluated once, and the best is kept."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping

from absl import logging

from albert_tf.records import record_files as records
from albert_tf.runs import checkpoints
from albert_tf.runs.hooks import write_summary

_RESULTS_FILE = "eval_results"


@dataclass(frozen=True)
class Evaluation:
    """What the evaluation of a checkpoint gives.

    Attributes:
      metrics: the figures by name; empty if there is nothing to compare with.
      files: contents of the files to keep if this is the best checkpoint, by file name: text, or
        values to be written as JSON.
    """

    metrics: Mapping[str, float]
    files: Mapping[str, Any] = field(default_factory=dict)


class Results:
    """The results in an output directory: `eval_results.json`, and `eval_results.txt` to read.

    Results on other data, and those of checkpoints from elsewhere, are forgotten.
    """

    def __init__(self, output_dir: str, metric: str, evaluated_on: Mapping[str, Any]):
        """Reads the results that are there.

        Args:
          output_dir: directory of the run.
          metric: name of the figure by which the best checkpoint is chosen; more is better.
          evaluated_on: what the figures depend on beside the checkpoint, as JSON values by name.
        """
        self._directory = Path(output_dir)
        self._metric = metric
        self._evaluated_on = dict(evaluated_on)
        self._by_checkpoint = {}
        self._files = []
        self.best: str | None = None
        self._read()

    def has(self, checkpoint: str) -> bool:
        """Whether a checkpoint has a result."""
        name = self._name(checkpoint)
        return name in self._by_checkpoint or (
            name == checkpoints.BEST_CHECKPOINT and self.best is not None
        )

    def add(self, checkpoint: str, evaluation: Evaluation, keep_best: bool) -> None:
        """Takes the result of a checkpoint, and writes its files if it is the best.

        The files come first and the result last, so that a checkpoint whose files a killed run has
        not all written is evaluated again.

        Args:
          checkpoint: prefix of the checkpoint.
          evaluation: its result.
          keep_best: whether the best checkpoint is copied to `model.ckpt-best`.
        """
        name = self._name(checkpoint)
        self._by_checkpoint[name] = dict(evaluation.metrics)
        is_best = self.best is None or self._value(name) > self._value(self.best)
        if is_best or not evaluation.metrics:  # without figures the latest counts
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
            _as_text(evaluation.metrics) or "no figures, as there is nothing to compare with",
            " (the best so far)" if self.best == name and len(self._by_checkpoint) > 1 else "",
        )
        if step is not None and evaluation.metrics:
            values = {f"eval/{name}": value for name, value in evaluation.metrics.items()}
            write_summary(self._directory / "eval", step, values)

    def log(self) -> None:
        """Logs the best result and where it is."""
        logging.info("%s: %s", self.best, _as_text(self._by_checkpoint[self.best]))
        written = ", ".join([*self._files, f"{_RESULTS_FILE}.txt", f"{_RESULTS_FILE}.json"])
        logging.info("%s has %s", self._directory, written)

    def _name(self, checkpoint):
        """Names a checkpoint: by its file name if it is in the output directory."""
        path = Path(checkpoint)
        return path.name if path.parent.resolve() == self._directory.resolve() else str(path)

    def _value(self, name):
        """The figure to compare by."""
        value = self._by_checkpoint[name].get(self._metric)
        return -math.inf if value is None or math.isnan(value) else value

    def _read(self):
        path = self._directory / f"{_RESULTS_FILE}.json"
        if not path.exists():
            return
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            best, names, files = saved["best_checkpoint"], saved["checkpoints"], saved["files"]
            same_data = saved["evaluated_on"] == self._evaluated_on
        except (KeyError, TypeError, ValueError):
            logging.warning("%s is not a results file of this program: evaluating anew", path)
            return
        if not same_data:
            logging.info("%s holds results on other data: evaluating anew", path)
        elif best.startswith("model.ckpt-") and all((self._directory / f).exists() for f in files):
            self._by_checkpoint, self.best, self._files = names, best, files

    def _write(self):
        best = self._by_checkpoint[self.best]
        records.write_json(
            self._directory / f"{_RESULTS_FILE}.json",
            {
                "best_checkpoint": self.best,
                "metric": self._metric,
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
    """Writes text, or a value as JSON, whole or not at all."""
    if isinstance(content, str):
        with records.whole_file(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    else:
        records.write_json(path, content)

"""Metrics of a run's checkpoints, kept in its output directory."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Iterable, Mapping

from absl import logging

from albert_tf.io import files, json_files
from albert_tf.io.bounds import Bounds
from albert_tf.run_dir import best, calibration, checkpoint_files, curves
from albert_tf.run_dir.best import NO_BEST, RESULTS_FILE, Source
from albert_tf.run_dir.checkpoint_files import step_of
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT
from albert_tf.tasks.base import Evaluation

_TEXT_FILE = "eval_results.txt"
_FINITE = Bounds(is_whole=False)


class Results:
    """The evaluation results in an output directory: `eval_results.json` and `eval_results.txt`.

    The JSON file is for programs, the text file for people. A result belongs to a checkpoint's name
    and content, so that a checkpoint that was removed and trained again is evaluated again.

    The JSON file is written first. If the run is killed before the other files are written, `mend`
    and another evaluation of the best checkpoint complete them.

    Attributes:
      best: name of the best checkpoint so far; None without results.
    """

    def __init__(self, directory: str, evaluated_on: Mapping[str, Any]):
        """Read the results of earlier runs; those on other data are discarded.

        Args:
          directory: output directory of the run, or that of a prediction.
          evaluated_on: inputs and settings that the metrics depend on, as JSON values by name.
        """
        self._directory = Path(directory)
        self._evaluated_on = dict(evaluated_on)
        self._metrics: dict[str, dict[str, float]] = {}
        self._digests: dict[str, str] = {}
        self._files: dict[str, str] | None = None  # digests by name; None if they are to be written
        self._source: Source | None = None
        self.best: str | None = None
        self._read()

    def has(self, checkpoint: str) -> bool:
        """Whether a checkpoint has been evaluated, and its files are there if it is the best."""
        name = self.name_of(checkpoint)
        if self._digests.get(name) != checkpoint_files.digest(checkpoint):
            return False
        return name != self.best or self._has_files()

    def name_of(self, checkpoint: str) -> str:
        """Name of a checkpoint: its file name if it is in the output directory, else its path.

        `model.ckpt-best` goes by the name of the checkpoint it is a copy of, if that is known.
        """
        path = Path(checkpoint)
        if path.parent.resolve() != self._directory.resolve():
            return str(path)
        source = self._known_source if path.name == BEST_CHECKPOINT else None
        return source.checkpoint if source else path.name

    @property
    def knows_best(self) -> bool:
        """Whether `model.ckpt-best` has a known source."""
        return self._known_source is not None

    @property
    def _known_source(self) -> Source | None:
        return None if self._source == NO_BEST else self._source

    @property
    def evaluations_since_best(self) -> int:
        """Number of evaluations, in the order of steps, that have brought nothing better."""
        names = self._names()
        if not all(self._metrics[name] for name in names):
            return 0
        return len(names) - 1 - names.index(self.best) if self.best else 0

    def add(self, checkpoint: str, evaluation: Evaluation, keep_best: bool) -> None:
        """Add the result of a checkpoint, and write its files if it is the best so far.

        Args:
          checkpoint: prefix of the checkpoint.
          evaluation: result of the checkpoint.
          keep_best: whether to copy the best checkpoint to `model.ckpt-best`.
        """
        name = self.name_of(checkpoint)
        self._metrics[name] = dict(evaluation.metrics)
        self._digests[name] = checkpoint_files.digest(checkpoint)
        contents = dict(evaluation.files)
        if evaluation.calibration:
            contents[calibration.FILE] = calibration.contents(
                self._digests[name], evaluation.calibration
            )
        texts = {file: _as_file(content) for file, content in contents.items()}
        self._choose_best()
        if self.best == name:
            self._files = {file: _digest(text) for file, text in texts.items()}
            if keep_best and evaluation.metrics:
                self._source = Source(name, self._digests[name])
        self._write_json()
        if self.best == name:
            if keep_best and evaluation.metrics:
                best.restore(str(self._directory), is_expected=True)
            for file, text in texts.items():
                files.write_text(self._directory / file, text)
        self._write_text()
        if keep_best:
            self._write_curve()
        logging.info(
            "%s: %s%s",
            name,
            _as_text(evaluation.metrics) or "no metrics, as the true answers are unknown",
            " (the best so far)" if self.best == name and len(self._metrics) > 1 else "",
        )

    def forget_all_but(self, checkpoint: str) -> None:
        """Forget all results, unless they tell that a checkpoint is the best."""
        if self.best != self.name_of(checkpoint) or not self.has(checkpoint):
            self._forget(self._names())

    def forget_other_training(self, last_step: int) -> None:
        """Forget the results of a training that has been started over, as its checkpoints are gone.

        These are of later steps, or of checkpoints that now have another content.

        Args:
          last_step: step from which training resumes.
        """
        forgotten = [name for name in self._names() if not self._is_of_training(name, last_step)]
        source = self._known_source
        is_best_gone = source is not None and not self._is_of_training(
            source.checkpoint, last_step, source.digest
        )
        if is_best_gone:
            # A checkpoint that is no longer there cannot become the best.
            forgotten = [name for name in self._names() if not self._is_there(name)]
            self._source = NO_BEST
        if forgotten or is_best_gone:
            logging.info(
                "%s: forgetting the results of another training, whose checkpoints are gone: %s",
                self._directory / RESULTS_FILE,
                ", ".join(forgotten) or BEST_CHECKPOINT,
            )
            self._forget(forgotten)
            if is_best_gone and self.best and self._metrics[self.best]:
                self._source = Source(self.best, self._digests[self.best])
            self._write_json()

    def _is_of_training(self, name: str, last_step: int, digest: str | None = None) -> bool:
        step, prefix = step_of(name), str(self._directory / name)
        if not step or step > last_step:
            return False
        is_changed = checkpoint_files.problem(prefix) is None and checkpoint_files.digest(
            prefix
        ) != (digest or self._digests[name])
        return not is_changed

    def _is_there(self, name: str) -> bool:
        prefix = str(self._directory / name)
        return best.is_intact(prefix, Source(name, self._digests[name]))

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            del self._metrics[name], self._digests[name]
        self._choose_best()

    def mend(self, keep_best: bool) -> None:
        """Complete the files of a killed run that can be made from the results.

        Args:
          keep_best: whether the run trains: then `model.ckpt-best` and the curve belong to it.

        Raises:
          InputError: if the best checkpoint is lost.
        """
        best.restore(str(self._directory))
        if not self._metrics:
            return
        text_file = self._directory / _TEXT_FILE
        if not text_file.is_file() or text_file.read_bytes() != self._text().encode():
            self._write_text()
        if keep_best:
            self._write_curve()

    def log(self) -> None:
        """Log the best result and its files."""
        logging.info("%s: %s", self.best, _as_text(self._best_metrics))
        written = ", ".join([*(self._files or ()), _TEXT_FILE, RESULTS_FILE])
        logging.info("results in %s: %s", self._directory, written)

    def summary(self) -> str:
        """Clause with the first metric of the best checkpoint; empty if it is unknown."""
        metrics = self._best_metrics
        return "".join(f"{name} {x:.4f} at {self.best}; " for name, x in [*metrics.items()][:1])

    @property
    def _best_metrics(self) -> dict[str, float]:
        return self._metrics[self.best] if self.best else {}

    def _names(self) -> list[str]:
        """Names of the evaluated checkpoints, by step."""
        return sorted(self._metrics, key=lambda name: step_of(name) or 0)

    def _choose_best(self) -> None:
        """Set `best`: the first with the highest value, or the last if there are no metrics."""
        before, self.best = self.best, None
        for name in self._names():
            is_better = not self.best or self._value(name) > self._value(self.best)
            if is_better or not self._metrics[name]:
                self.best = name
        if self.best != before:
            self._files = None

    def _value(self, name: str) -> float:
        """Value of the first metric, by which checkpoints are ranked; NaN ranks lowest."""
        value = next(iter(self._metrics[name].values()), -math.inf)
        return -math.inf if math.isnan(value) else value

    def _has_files(self) -> bool:
        """Whether the files of the best checkpoint are there as they were written."""
        if self._files is None:
            return False
        paths = {self._directory / name: digest for name, digest in self._files.items()}
        return all(path.is_file() and files.digest(path) == d for path, d in paths.items())

    def _read(self) -> None:
        path = self._directory / RESULTS_FILE
        if not path.exists():
            return
        saved = best.read_results(str(self._directory))
        self._source = best.source_in(saved)
        if not _is_valid(saved):
            logging.warning("%s was not written by this version: evaluating again", path)
        elif saved["evaluated_on"] != self._evaluated_on:
            logging.info("%s has results on other data: evaluating again", path)
        else:
            self._metrics, self._digests = saved["checkpoints"], saved["digests"]
            self._choose_best()
            self._files = saved["files"] if self.best == saved["best_checkpoint"] else None

    def _write_json(self) -> None:
        names = self._names()
        metrics = self._best_metrics
        value = {
            "best_checkpoint": self.best,
            "metric": next(iter(metrics), None),
            **metrics,
            "checkpoints": {name: self._metrics[name] for name in names},
            "digests": {name: self._digests[name] for name in names},
            "files": self._files,
            "evaluated_on": self._evaluated_on,
        }
        if self._source:
            value[BEST_CHECKPOINT] = self._source.as_json()
        files.write_json(self._directory / RESULTS_FILE, json_files.versioned(best.FORMAT, value))

    def _text(self) -> str:
        lines = [f"{name} = {value}" for name, value in self._best_metrics.items()]
        lines += [f"best checkpoint = {self.best}", "", "all checkpoints:"]
        lines += [f"  {name}: {_as_text(self._metrics[name])}" for name in self._names()]
        return "\n".join(lines) + "\n"

    def _write_text(self) -> None:
        files.write_text(self._directory / _TEXT_FILE, self._text())

    def _write_curve(self) -> None:
        by_step = {step_of(name): metrics for name, metrics in self._metrics.items()}
        curve = {
            step: {f"eval/{name}": value for name, value in metrics.items()}
            for step, metrics in by_step.items()
            if step is not None and metrics
        }
        curves.write(self._directory / "eval", curve)


def metrics_of(checkpoint: str) -> dict[str, float]:
    """Metrics of a checkpoint in the results beside it; empty if they do not tell."""
    saved = best.read_results(str(Path(checkpoint).parent))
    if not _is_valid(saved):
        return {}
    digest = checkpoint_files.digest(checkpoint)
    names = [name for name, value in saved["digests"].items() if value == digest]
    return saved["checkpoints"][names[0]] if names else {}


def _is_valid(saved: Any) -> bool:
    """Whether a JSON value has the structure that `Results` writes."""
    if not isinstance(saved, dict) or saved.get(json_files.FORMAT) != best.FORMAT:
        return False
    metrics, digests, names = (saved.get(key) for key in ("checkpoints", "digests", "files"))
    return (
        isinstance(metrics, dict)
        and isinstance(digests, dict)
        and (names is None or _maps_to(names, str))
        and metrics.keys() == digests.keys()
        and all(
            isinstance(values, dict) and all(map(_is_metric, values.values()))
            for values in metrics.values()
        )
        and _maps_to(digests, str)
        and {"best_checkpoint", "files", "evaluated_on"} <= saved.keys()
    )


def _maps_to(value: Any, kind: type) -> bool:
    return isinstance(value, dict) and all(isinstance(x, kind) for x in value.values())


def _is_metric(value: Any) -> bool:
    return isinstance(value, float) or _FINITE.allow(value)


def _as_text(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _as_file(content: Any) -> str:
    """Content of a file: a text as it is, another value as JSON."""
    return content if isinstance(content, str) else json.dumps(content, indent=4) + "\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

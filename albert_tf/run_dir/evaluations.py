"""Outcomes of checkpoints on a set of inputs, and the result files that are made from them.

The outcome of a checkpoint is a directory, `evaluations/<digest of the checkpoint>-<digest of the
inputs>`, which appears whole and does not change. What people read is a view of the outcomes, made
again at any time by `Evaluations.write_views`. Large files stay with the best outcome alone.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping

from absl import logging

from albert_tf.io import files, json_files
from albert_tf.io.bounds import Bounds
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints, events
from albert_tf.run_dir.checkpoints import step_of

RESULTS_FILE, _TEXT_FILE = "eval_results.json", "eval_results.txt"
THRESHOLDS_FILE = "thresholds.json"
_DIRECTORY, _OUTCOME_FILE = "evaluations", "outcome.json"
_FORMAT = 1  # of each of these JSON files
_NUMBER = Bounds(is_whole=False)
_NO_MEASURE = re.compile("thresh|total")  # metrics that say nothing about quality


@dataclass(frozen=True)
class Outcome:
    """Outcome of a checkpoint on one set of inputs.

    Attributes:
      directory: its directory.
      checkpoint: file name of the checkpoint's prefix, or the whole path if it is elsewhere.
      digest: digest of the checkpoint.
      inputs: digest of the inputs.
      metrics: metrics by name, the first of which ranks checkpoints; empty without true answers.
      thresholds: thresholds that the true answers have shown to be best, by name.
      files: digests of the large files, by name.
    """

    directory: Path
    checkpoint: str
    digest: str
    inputs: str
    metrics: Mapping[str, float]
    thresholds: Mapping[str, float]
    files: Mapping[str, str]

    @property
    def order(self) -> int:
        """Step of the checkpoint, by which outcomes are listed; -1 if its name does not tell."""
        step = step_of(self.checkpoint)
        return -1 if step is None else step

    @property
    def quality(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Value that is largest for the best: metrics, then losses. NaN counts as the worst."""
        measures = {n: x for n, x in self.metrics.items() if not _NO_MEASURE.search(n)}
        values = [_or_lowest(x) for name, x in measures.items() if "loss" not in name]
        losses = [_or_lowest(-x) for name, x in measures.items() if "loss" in name]
        return tuple(values), tuple(losses)

    def has_files(self) -> bool:
        """Whether the large files are there as they were written."""
        return all(
            (self.directory / name).is_file() and files.digest(self.directory / name) == digest
            for name, digest in self.files.items()
        )


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value


class Evaluations:
    """The outcomes of checkpoints on one set of inputs, in the directory of their results.

    Attributes:
      outcomes: the outcomes by the steps of their checkpoints.
    """

    def __init__(self, directory: str | Path, evaluated_on: Mapping[str, Any]):
        """Read the outcomes of earlier runs.

        Args:
          directory: directory of the results.
          evaluated_on: inputs and settings that the outcomes depend on, as JSON values by name.
        """
        self._directory = Path(directory)
        self._evaluated_on = dict(evaluated_on)
        self._inputs = json_files.short_digest(self._evaluated_on)
        self.read()

    def read(self) -> None:
        """Read the outcomes again."""
        found = [x for x in outcomes_in(self._directory) if x.inputs == self._inputs]
        self.outcomes = sorted(found, key=lambda outcome: outcome.order)

    @property
    def best(self) -> Outcome | None:
        """The best outcome; the last one if there are no metrics."""
        return best_of(self.outcomes)

    @property
    def evaluations_since_best(self) -> int:
        """Number of evaluations, in the order of steps, that have brought nothing better.

        A later checkpoint that is as good as the best so far is none the better.
        """
        best = self.best
        if best is None or not all(outcome.metrics for outcome in self.outcomes):
            return 0
        is_as_good = [outcome.quality == best.quality for outcome in self.outcomes]
        return len(self.outcomes) - 1 - is_as_good.index(True)

    def of(self, checkpoint: str) -> Outcome | None:
        """Outcome of a checkpoint, given by its prefix; None if it has not been evaluated."""
        digest = checkpoints.digest(checkpoint)
        return next((outcome for outcome in self.outcomes if outcome.digest == digest), None)

    def has(self, checkpoint: str) -> bool:
        """Whether a checkpoint has been evaluated, and its files are there if it is the best."""
        outcome = self.of(checkpoint)
        return outcome is not None and (outcome != self.best or outcome.has_files())

    def add(
        self,
        checkpoint: str,
        metrics: Mapping[str, float],
        contents: Mapping[str, str | Iterable[str]],
        thresholds: Mapping[str, float],
    ) -> Outcome:
        """Add the outcome of a checkpoint.

        Args:
          checkpoint: prefix of the checkpoint.
          metrics: metrics by name.
          contents: text of the large files by name, or its parts one after the other.
          thresholds: see `Outcome`.
        """
        digest = checkpoints.digest(checkpoint)
        prefix = Path(checkpoint)
        is_own = prefix.parent.resolve() == self._directory.resolve()
        path = self._directory / _DIRECTORY / f"{digest[: json_files.DIGEST_LENGTH]}-{self._inputs}"
        with files.temporary_directory(path) as temporary:
            for name, text in contents.items():
                files.write_text(temporary / name, text)
            values = {
                "checkpoint": prefix.name if is_own else str(prefix),
                "digest": digest,
                "inputs": self._inputs,
                "evaluated_on": self._evaluated_on,
                "metrics": _as_json(metrics),
                "thresholds": dict(thresholds),
                "files": {name: files.digest(temporary / name) for name in contents},
            }
            files.write_json(temporary / _OUTCOME_FILE, json_files.versioned(_FORMAT, values))
            shutil.rmtree(path, ignore_errors=True)  # whose files are not all there
            temporary.replace(path)
        self.read()
        return next(outcome for outcome in self.outcomes if outcome.digest == digest)

    def forget_all_but(self, checkpoint: str) -> None:
        """Remove all outcomes but that of a checkpoint, given by its prefix."""
        kept = self.of(checkpoint)
        remove(outcome for outcome in self.outcomes if outcome != kept)
        self.read()

    def write_views(self, for_training: bool = False) -> None:
        """Make the files that people read from the outcomes; a second call changes nothing.

        Args:
          for_training: whether the outcomes are those of a training, which have a curve.
        """
        best = self.best
        if best is None:
            return
        self.publish(best)
        if best.thresholds:
            self._update(THRESHOLDS_FILE, {"checkpoint": best.digest, **best.thresholds})
        metrics = _as_json(best.metrics)
        values = {
            "best_checkpoint": best.checkpoint,
            "metric": next(iter(metrics), None),
            **metrics,
            "checkpoints": {x.checkpoint: _as_json(x.metrics) for x in self.outcomes},
            "inputs": self._inputs,
            "evaluated_on": self._evaluated_on,
        }
        self._update(RESULTS_FILE, values)
        lines = [f"{name} = {value}" for name, value in best.metrics.items()]
        lines += [f"best checkpoint = {best.checkpoint}", "", "all checkpoints:"]
        lines += [f"  {x.checkpoint}: {as_text(x.metrics)}" for x in self.outcomes]
        files.update(self._directory / _TEXT_FILE, ("\n".join(lines) + "\n").encode())
        if for_training:
            curve = {
                x.order: {f"eval/{name}": value for name, value in x.metrics.items()}
                for x in self.outcomes
                if x.order >= 0 and x.metrics
            }
            events.write_curve(self._directory / "eval", curve)

    def _update(self, name: str, values: Mapping[str, Any]) -> None:
        content = json_files.encoded(json_files.versioned(_FORMAT, values))
        files.update(self._directory / name, content)

    def publish(self, chosen: Outcome) -> None:
        """Put the large files of an outcome beside the results, and remove those of the others.

        Files are missing after a better outcome has been removed, until the next evaluation.
        """
        for name in chosen.files:
            if (chosen.directory / name).is_file():
                _link(chosen.directory / name, self._directory / name)
            else:
                (self._directory / name).unlink(missing_ok=True)
        for outcome in self.outcomes:
            if outcome != chosen:
                for name in outcome.files:
                    (outcome.directory / name).unlink(missing_ok=True)

    def log_best(self) -> None:
        """Log the best outcome and the files of the results."""
        best = self.best
        if best:
            logging.info("%s: %s", best.checkpoint, as_text(best.metrics))
            written = ", ".join([*best.files, _TEXT_FILE, RESULTS_FILE])
            logging.info("results in %s: %s", self._directory, written)


def outcomes_in(directory: str | Path) -> list[Outcome]:
    """All outcomes in a directory, on any inputs. A damaged one counts as none."""
    outcomes = []
    for path in sorted((Path(directory) / _DIRECTORY).glob(f"*/{_OUTCOME_FILE}")):
        try:
            outcomes.append(_read_outcome(path))
        except InputError as error:
            logging.warning("evaluating again: %s", error)
    return outcomes


def _read_outcome(path: Path) -> Outcome:
    content = json_files.read(path, "the outcome", "it is made again", _FORMAT)
    names = content.child("files")
    return Outcome(
        path.parent,
        content.text("checkpoint"),
        content.text("digest"),
        content.text("inputs"),
        _numbers(content.child("metrics")),
        _numbers(content.child("thresholds")),
        {name: names.text(name) for name in names.values},
    )


def _numbers(content: json_files.JsonObject) -> dict[str, float]:
    """Numbers by name; null stands for one that is not finite."""
    return {
        name: math.nan if value is None else content.number(name, _NUMBER)
        for name, value in content.values.items()
    }


def _as_json(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def best_of(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The outcome of the highest quality, of equal ones the latest; None if there is none."""
    return max(outcomes, key=lambda outcome: (outcome.quality, outcome.order), default=None)


def remove(outcomes: Iterable[Outcome]) -> None:
    """Remove the directories of outcomes."""
    for outcome in outcomes:
        shutil.rmtree(outcome.directory)


def read_results(directory: str | Path) -> json_files.JsonObject | None:
    """Read `eval_results.json`; None if it is not there, or damaged, as it can be made again."""
    path = Path(directory) / RESULTS_FILE
    if not path.exists():
        return None
    try:
        content = json_files.read(path, "the results", "repeat the run's command", _FORMAT)
        content.text("inputs")
        content.child("checkpoints")
        return content
    except InputError as error:
        logging.warning("not used: %s", error)
        return None


def read_thresholds(checkpoint: str, *directories: str | Path) -> dict[str, float]:
    """Read the thresholds that belong to a checkpoint.

    Args:
      checkpoint: prefix of the checkpoint.
      directories: directories to look in before that of the checkpoint.

    Returns:
      Thresholds by name; empty if there are none for this checkpoint.
    """
    digest = checkpoints.digest(checkpoint)
    for directory in (*directories, Path(checkpoint).parent):
        path = Path(directory) / THRESHOLDS_FILE
        if not path.exists():
            continue
        try:
            remedy = "remove it and evaluate again"
            content = json_files.read(path, "the thresholds", remedy, _FORMAT)
            if content.text("checkpoint") == digest:
                names = content.values.keys() - {json_files.FORMAT, "checkpoint"}
                return {name: content.number(name, _NUMBER) for name in names}
        except InputError as error:
            logging.warning("not used: %s", error)
    return {}


def as_text(metrics: Mapping[str, float]) -> str:
    """Metrics on one line."""
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    return shown or "no metrics, as the true answers are unknown"


def _link(source: Path, target: Path) -> None:
    """Make a file appear under a second name, as a copy where the file system has no links."""
    if target.is_file() and os.path.samefile(source, target):
        return
    with files.atomic_file(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)

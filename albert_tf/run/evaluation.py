"""Evaluation of a run's checkpoints, and predictions for its test sets."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Sequence

from absl import logging

from albert_tf.devices import distributed
from albert_tf.graph.prediction import Predictor
from albert_tf.io import files
from albert_tf.records import manifests
from albert_tf.records.manifests import Origin
from albert_tf.run import reporting
from albert_tf.run.context import Setup
from albert_tf.run.shards import ExampleShard
from albert_tf.run_dir import calibration, checkpoint_files, checkpoints
from albert_tf.run_dir.checkpoint_files import step_of
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT
from albert_tf.run_dir.results import Results
from albert_tf.tasks.base import Evaluation, Task


class Evaluator:
    """Evaluation of checkpoints by all processes; rank 0 has the checkpoints and the results.

    All processes must call its methods, in the same order. Without evaluation sets a checkpoint is
    only kept, or removed when it is old.
    """

    def __init__(self, setup: Setup, predictor: Predictor):
        """Read the results of earlier runs."""
        self._setup = setup
        self._predictor = predictor
        self._directory = setup.output_dir
        self._results: Results | None = None
        self._is_resumed = True  # until the checkpoints found at the start have been listed
        if setup.eval_shards and distributed.is_chief():
            self._results = Results(setup.results_dir, _evaluated_on(setup))

    def begin_training(self, start_step: int) -> None:
        """Bring the results and the checkpoints of a resumed training up to date.

        Args:
          start_step: step from which training resumes.
        """
        for shard in self._setup.eval_shards:
            shard.prepare()
        if self._results:
            self._results.forget_other_training(start_step)
            self._results.mend(keep_best=True)
        if not self._setup.settings.evaluate_after_training:
            self._evaluate_pending()
        self._tidy()

    def on_saved(self, checkpoint: str, may_evaluate: bool) -> bool:
        """Evaluate a new checkpoint, unless that comes later; remove those no longer kept.

        Args:
          checkpoint: prefix of the checkpoint.
          may_evaluate: whether there is time to evaluate it now.

        Returns:
          Whether training is to end early.
        """
        if may_evaluate and not self._setup.settings.evaluate_after_training:
            self._evaluate_pending()
        self._tidy()
        return self.ends_early()

    def ends_early(self) -> bool:
        """Whether the last evaluations have brought nothing better, so that training ends."""
        limit, count = self._setup.settings.early_stopping_evaluations, 0
        if not limit or not self._setup.eval_shards:
            return False
        if self._results:
            count = self._results.evaluations_since_best
        count = distributed.broadcast(count)
        if count >= limit:
            logging.info("the last %d evaluations have brought nothing better: ending early", count)
        return count >= limit

    def finish(self) -> None:
        """Evaluate the checkpoints that have no results yet, and log the best."""
        settings = self._setup.settings
        if not settings.do_train and self._results:
            self._results.mend(keep_best=False)
            self._results.forget_all_but(self._single_checkpoint())
        self._evaluate_pending()
        if settings.do_train:
            self._tidy()
        if self._results:
            self._results.log()

    def summary(self) -> str:
        """Best metric and its checkpoint, for the last line of the log; empty if there is none."""
        return self._results.summary() if self._results else ""

    def _single_checkpoint(self) -> str:
        """Checkpoint to evaluate if the run does not train."""
        own = checkpoints.own_checkpoint(self._directory, do_train=False)
        checkpoint = own or self._setup.init_checkpoint
        assert checkpoint is not None  # `startup.check` has found one
        return checkpoint

    def _evaluate_pending(self) -> None:
        """Evaluate the checkpoints that have no results yet, by step."""
        if not self._setup.eval_shards:
            return
        pending = self._pending(self._results) if self._results else []
        self._is_resumed = False
        for checkpoint in distributed.broadcast(pending):
            evaluation = self._evaluation(checkpoint)
            if self._results:
                self._results.add(checkpoint, evaluation, keep_best=self._setup.settings.do_train)

    def _pending(self, results: Results) -> list[str]:
        if self._setup.settings.do_train:
            candidates = self._trained_checkpoints(results)
        else:
            candidates = [self._single_checkpoint()]
        if self._is_resumed:
            for checkpoint in filter(results.has, candidates):
                logging.info("%s: already evaluated", checkpoint)
        return [checkpoint for checkpoint in candidates if not results.has(checkpoint)]

    def _trained_checkpoints(self, results: Results) -> list[str]:
        """Checkpoints of the training, by step; among them the best, if it is kept as a copy only.

        That copy has no results if they are on other data.
        """
        saved = checkpoint_files.saved_checkpoints(self._directory)
        for checkpoint in saved[-1:]:
            if (step_of(checkpoint) or 0) >= self._setup.schedule.steps:
                checkpoint_files.count_as_saved(checkpoint)
        saved = [c for c in saved if not checkpoint_files.is_only_to_resume(c)]
        best = str(Path(self._directory) / BEST_CHECKPOINT)
        if not results.knows_best or checkpoint_files.problem(best):
            return saved
        digest = checkpoint_files.digest(best)
        if digest in map(checkpoint_files.digest, saved):
            return saved
        return sorted([best, *saved], key=lambda c: step_of(results.name_of(c)) or 0)

    def _evaluation(self, checkpoint: str) -> Evaluation:
        """Metrics and files of a checkpoint on all evaluation sets; empty on ranks other than 0."""
        task = self._setup.task
        metrics: dict[str, float] = {}
        kept_files: dict[str, Any] = {}
        found: dict[str, float] = {}
        sections: list[dict[str, Any]] = []
        for shard in self._setup.eval_shards:
            answers = self._predictor.answers(checkpoint, shard)
            if distributed.is_chief():
                task.calibration = calibration.read(checkpoint, self._directory)
                evaluation = task.evaluate(shard.data_set, answers)
                metrics.update(evaluation.metrics)
                kept_files.update(evaluation.files)
                found.update(evaluation.calibration)
                sections += reporting.sections(task, shard.data_set, answers)
        if sections:
            kept_files[reporting.SECTIONS_FILE] = reporting.as_file(sections)
        return Evaluation(metrics, kept_files, found)

    def _tidy(self) -> None:
        """Remove old checkpoints. None is removed before it has been evaluated."""
        if not distributed.is_chief():
            return
        saved = checkpoint_files.saved_checkpoints(self._directory)
        most = self._setup.settings.keep_checkpoint_max
        regular = [c for c in saved if not checkpoint_files.is_only_to_resume(c)]
        old = [c for c in saved[:-1] if checkpoint_files.is_only_to_resume(c)]
        for checkpoint in regular[:-most] if most else ():
            if not self._results or self._results.has(checkpoint):
                old.append(checkpoint)
        if old:
            checkpoint_files.write_state(self._directory, [c for c in saved if c not in old])
        for checkpoint in old:
            checkpoint_files.remove(checkpoint)


def _evaluated_on(setup: Setup) -> dict[str, Any]:
    """Inputs and settings that the results depend on, apart from the checkpoint."""
    inputs = {}
    for shard in setup.eval_shards:
        inputs.update(shard.fingerprint)
    settings = {**setup.task.feature_settings, **setup.task.answer_settings}
    if setup.settings.max_eval_examples:
        settings["max_eval_examples"] = setup.settings.max_eval_examples
    return {**inputs, **settings}


class PredictedFiles:
    """Files with a checkpoint's predictions for a test set.

    A manifest next to the first file records its origin, so that nothing is predicted twice.
    """

    def __init__(self, task: Task, directory: str, shard: ExampleShard, checkpoint: str):
        """Make the object; nothing is read or written yet.

        Args:
          task: the task.
          directory: directory of the files.
          shard: this process's shard of the test set.
          checkpoint: prefix of the checkpoint.
        """
        self._task = task
        self._shard = shard
        self._checkpoint = checkpoint
        self._directory = Path(directory)
        self._names = shard.data_set.predicted_names

    @property
    def _manifest_of(self) -> str:
        return str(self._directory / self._names[0])

    @functools.cached_property
    def _origin(self) -> Origin:
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

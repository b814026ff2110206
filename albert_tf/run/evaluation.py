"""Evaluation of a run's checkpoints, and predictions for its test splits."""

from __future__ import annotations

import json
from typing import Any, Iterable, Sequence

from absl import logging

from albert_tf.devices import distributed
from albert_tf.graph.prediction import Predictor
from albert_tf.records.shards import Shard
from albert_tf.run.context import RunContext
from albert_tf.run_dir import checkpoints, evaluations
from albert_tf.run_dir.checkpoints import step_of
from albert_tf.run_dir.evaluations import Evaluations, Outcome
from albert_tf.tasks.base import Evaluation


class Evaluator:
    """Evaluation of checkpoints by all processes; rank 0 has the checkpoints and the results.

    All processes must call its methods, in the same order. Without splits to evaluate on, a
    checkpoint is only kept, or removed when it is old.
    """

    def __init__(self, context: RunContext, predictor: Predictor):
        """Read the outcomes of earlier runs."""
        self._context = context
        self._predictor = predictor
        self._results: Evaluations | None = None
        self._is_resumed = True  # until the checkpoints found at the start have been listed
        if context.dev and distributed.is_chief():
            self._results = Evaluations(context.results.path, self._depends_on(context.dev))

    def _depends_on(self, shards: Sequence[Shard]) -> dict[str, Any]:
        """Inputs and settings that outcomes depend on, apart from the checkpoint."""
        settings = self._context.settings
        values = {**settings.record_settings, **settings.prediction_settings}
        for shard in shards:
            values.update({**shard.fingerprint, **shard.split.settings})
        return {**values, "examples": sum(shard.num_examples for shard in shards)}

    def begin_training(self, start_step: int) -> None:
        """Bring the results and the checkpoints of a resumed training up to date.

        Args:
          start_step: step from which training resumes.
        """
        for shard in self._context.dev:
            shard.prepare()
        if self._results:
            self._context.run_dir.discard_other_training(start_step)
            self._results.read()
            self._write_views(self._results)
        if not self._context.settings.evaluate_after_training:
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
        if may_evaluate and not self._context.settings.evaluate_after_training:
            self._evaluate_pending()
        self._tidy()
        return self.ends_early()

    def ends_early(self) -> bool:
        """Whether the last evaluations have brought nothing better, so that training ends."""
        limit = self._context.settings.early_stopping_evaluations
        if not limit or not self._context.dev:
            return False
        count = self._results.evaluations_since_best if self._results else 0
        count = distributed.broadcast(count)
        if count >= limit:
            logging.info("the last %d evaluations have brought nothing better: ending early", count)
        return count >= limit

    def finish(self) -> None:
        """Evaluate the checkpoints that have no outcome yet, and log the best."""
        if not self._context.dev:
            return
        if not self._context.settings.do_train and self._results:
            self._results.forget_all_but(self._single_checkpoint())
        self._evaluate_pending()
        if self._context.settings.do_train:
            self._tidy()
        if self._results:
            self._write_views(self._results)
            self._results.log_best()

    def predict(self, checkpoint: str) -> None:
        """Write a checkpoint's predictions for the test splits, unless they exist already."""
        for shard in self._context.test:
            results: Evaluations | None = None
            if distributed.is_chief():
                depends_on = {**self._depends_on([shard]), "split": shard.split.name}
                results = Evaluations(self._context.results.path, depends_on)
            if not distributed.broadcast(results is not None and self._has(results, checkpoint)):
                self._evaluate(checkpoint, [shard], results)
            outcome = results.of(checkpoint) if results else None
            if results and outcome:
                results.publish(outcome)
                names = ", ".join(map(self._context.results.file, outcome.files))
                logging.info("%s: predictions are in %s", checkpoint, names)

    def summary(self) -> str:
        """First metric of the best checkpoint, for the last line of the log; empty if unknown."""
        best = self._results.best if self._results else None
        if not best or not best.metrics:
            return ""
        name, value = next(iter(best.metrics.items()))
        return f"{name} {value:.4f} at {best.checkpoint}; "

    def _single_checkpoint(self) -> str:
        """Checkpoint to evaluate if the run does not train."""
        checkpoint = self._context.prediction_checkpoint
        assert checkpoint is not None  # `checks.check` has found one
        return checkpoint

    def _evaluate_pending(self) -> None:
        """Evaluate the checkpoints that have no outcome yet, by step."""
        if not self._context.dev:
            return
        pending = self._pending(self._results) if self._results else []
        self._is_resumed = False
        for checkpoint in distributed.broadcast(pending):
            outcome = self._evaluate(checkpoint, self._context.dev, self._results)
            if self._results and outcome:
                self._write_views(self._results)
                is_best = self._results.best == outcome and len(self._results.outcomes) > 1
                logging.info(
                    "%s: %s%s",
                    outcome.checkpoint,
                    evaluations.as_text(outcome.metrics),
                    " (the best so far)" if is_best else "",
                )

    def _write_views(self, results: Evaluations) -> None:
        """Make `model.ckpt-best` and the result files from the outcomes."""
        is_training = self._context.settings.do_train
        if is_training:
            self._context.run_dir.keep_best(results.best)
        results.write_views(is_training)

    def _pending(self, results: Evaluations) -> list[str]:
        if self._context.settings.do_train:
            candidates = self._trained_checkpoints(results)
        else:
            candidates = [self._single_checkpoint()]
        if self._is_resumed:
            for checkpoint in candidates:
                if self._has(results, checkpoint):
                    logging.info("%s: already evaluated", checkpoint)
        return [checkpoint for checkpoint in candidates if not self._has(results, checkpoint)]

    def _has(self, results: Evaluations, checkpoint: str) -> bool:
        """Whether there is an outcome, which without true answers depends on the thresholds."""
        outcome = results.of(checkpoint)
        if not outcome or not results.has(checkpoint):
            return False
        return bool(outcome.metrics) or outcome.thresholds == self._thresholds(checkpoint)

    def _thresholds(self, checkpoint: str) -> dict[str, float]:
        return evaluations.read_thresholds(checkpoint, self._context.run_dir.path)

    def _trained_checkpoints(self, results: Evaluations) -> list[str]:
        """Checkpoints of the training, by step; first the best, if nothing tells its value."""
        run_dir = self._context.run_dir
        saved = run_dir.saved()
        for checkpoint in saved[-1:]:
            if (step_of(checkpoint) or 0) >= self._context.schedule.steps:
                checkpoints.count_as_saved(checkpoint)
        saved = [c for c in saved if not checkpoints.is_only_to_resume(c)]
        best = run_dir.unjudged_best(results)
        return [best, *saved] if best else saved

    def _evaluate(
        self, checkpoint: str, shards: Iterable[Shard], results: Evaluations | None
    ) -> Outcome | None:
        """Predict splits with a checkpoint, and add the outcome to the results, on rank 0."""
        context = self._context
        metrics: dict[str, float] = {}
        contents: dict[str, Any] = {}
        thresholds: dict[str, float] = {}
        sections: list[Any] = []
        for shard in shards:
            predictions = self._predictor.predictions(checkpoint, shard)
            if results:
                evaluation = context.task.evaluate(
                    shard.split, predictions, self._thresholds(checkpoint)
                )
                metrics.update(evaluation.metrics)
                contents.update(evaluation.files)
                thresholds.update(evaluation.thresholds)
                if context.settings.write_report:
                    sections += _sections(evaluation)
        if sections:
            from albert_tf.report import collect

            contents[collect.SECTIONS_FILE] = collect.sections_text(sections)
        for name, content in contents.items():
            if isinstance(content, (dict, list)):
                contents[name] = json.dumps(content, indent=4) + "\n"
        return results.add(checkpoint, metrics, contents, thresholds) if results else None

    def _tidy(self) -> None:
        """Remove old checkpoints. None is removed before it has been evaluated."""
        if distributed.is_chief():
            most = self._context.settings.keep_checkpoint_max
            self._context.run_dir.tidy(most, self._results)


def _sections(evaluation: Evaluation) -> list[Any]:
    """A task's sections of the report page. Whatever goes wrong is logged: no run ends by it."""
    try:
        return list(evaluation.sections())
    except Exception as error:
        logging.warning("the report has no sections about the predictions: %r", error)
        return []

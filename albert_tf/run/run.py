"""The story of a run: check, train, evaluate the checkpoints, predict, export."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta
from typing import Any, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.cli import log
from albert_tf.devices import distributed
from albert_tf.graph.prediction import Predictor
from albert_tf.records import record_files
from albert_tf.run import checks, description, training
from albert_tf.run.context import RunContext
from albert_tf.run.evaluation import Evaluator
from albert_tf.run_dir import evaluations, model_folder, record
from albert_tf.tasks.base import Task, artifacts_of
from albert_tf.tasks.options import RunSettings


def run(task_class: type[Task], settings: RunSettings) -> None:
    """Check all inputs, then train, evaluate, predict and export, as the settings say.

    A killed run resumes from its last checkpoint. With several processes, every process must call
    this function. A dry run only says what the run would do.

    Args:
      task_class: class of the task.
      settings: settings of the run and the task.

    Raises:
      InputError: all problems with the settings and with the files they name, or that another run
        is working in the output directory.
    """
    if settings.dry_run:
        from albert_tf.run import dry_run

        dry_run.run(task_class, settings, carry_out)
        return
    start = log.start_time()
    with checks.only_run(settings):
        context = checks.check(task_class, settings)
        summary = carry_out(context)
        logging.info(
            "finished in %s; %sall is in %s%s",
            timedelta(seconds=round(time.monotonic() - start)),
            summary,
            context.results,
            f", the exported model in {settings.export_dir}" if settings.export_dir else "",
        )


def carry_out(
    context: RunContext,
    predictor: Predictor | None = None,
    hooks: Sequence[tf.train.SessionRunHook] = (),
) -> str:
    """Train, evaluate the checkpoints, predict the test splits and export the final checkpoint.

    Args:
      context: context of the run.
      predictor: predictor of the run, which is closed at the end; by default a new one.
      hooks: further session hooks of training.

    Returns:
      Clause with the best metric and its checkpoint, for the log; empty if there is none.
    """
    start = time.monotonic()
    predictor = predictor or Predictor(
        context.task, context.device, context.conversion, context.length_buckets
    )
    try:
        evaluator = Evaluator(context, predictor)
        begun = training.train(context, evaluator, hooks) if context.train else _begin(context)
        evaluator.finish()
        checkpoint = _final_checkpoint(context)
        evaluator.predict(checkpoint)
        if distributed.is_chief():
            _export(context, checkpoint)
            if begun:
                record.finish(context.results.path, begun, time.monotonic() - start)
            if context.settings.write_report:
                from albert_tf.report import collect

                collect.write_after_run(context.results.path)
        distributed.wait_for_all()
        return evaluator.summary()
    except record_files.READING_ERRORS:
        for shard in context.shards:
            shard.check_records()
        raise
    finally:
        predictor.close()


def _begin(context: RunContext) -> dict[str, Any]:
    """Add the entry of a start without training to the record of the run."""
    for shard in context.dev:
        shard.prepare()
    entry = description.entry(context, None, context.prediction_checkpoint)
    if distributed.is_chief():
        record.append(context.results.path, entry)
    return entry


def _final_checkpoint(context: RunContext) -> str:
    """Checkpoint for prediction and export.

    After training without evaluation it is the latest: an older best one ignores that training.
    """
    latest = context.run_dir.latest() if context.train and not context.dev else None
    return distributed.broadcast(latest or context.prediction_checkpoint)


def _export(context: RunContext, checkpoint: str) -> None:
    """Export a checkpoint as a SavedModel, and for TensorFlow Lite."""
    task, settings = context.task, context.settings
    if settings.export_tflite:
        from albert_tf.export import tflite

        tflite.export(task, checkpoint, settings.export_tflite, settings.tflite_float16)
    if settings.export_dir:
        from albert_tf.export import serving

        thresholds = evaluations.read_thresholds(checkpoint, context.run_dir.path)
        serving.export(
            task,
            checkpoint,
            settings.export_dir,
            context.model_files,
            model_folder.json_contents(
                {**thresholds, **context.model_settings}, artifacts_of(task)
            ),
            dataclasses.asdict(settings),
        )

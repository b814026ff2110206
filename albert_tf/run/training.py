"""Training: from the resume point to the end of the schedule."""

from __future__ import annotations

from typing import Any, NoReturn, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.cli import signals
from albert_tf.cli.settings import settings_of
from albert_tf.devices import distributed
from albert_tf.graph import estimators
from albert_tf.graph.hooks import StopHook
from albert_tf.graph.model import session_config, training_model_fn
from albert_tf.graph.prediction import dynamic_features
from albert_tf.io.errors import InputError
from albert_tf.records import datasets
from albert_tf.records.shards import RUN_NUMBER
from albert_tf.run import description
from albert_tf.run.context import RunContext
from albert_tf.run.evaluation import Evaluator
from albert_tf.run_dir import checkpoints, events, model_folder, record
from albert_tf.tasks.base import HasDenominators, artifacts_of


def train(
    context: RunContext,
    evaluator: Evaluator,
    hooks: Sequence[tf.train.SessionRunHook] = (),
) -> dict[str, Any] | None:
    """Train to the end of the schedule, from the last checkpoint if there is one.

    Args:
      context: context of a run that trains.
      evaluator: evaluator of the checkpoints.
      hooks: further session hooks.

    Returns:
      Entry of this start in the record of the run; None if training has finished before.
    """
    settings, num_steps, shard = context.settings, context.schedule.steps, context.train
    assert shard is not None
    latest = distributed.broadcast(_resume_point(context) if distributed.is_chief() else None)
    start_step = checkpoints.step_of(latest) or 0 if latest else 0
    evaluator.begin_training(start_step)
    if start_step >= num_steps:
        logging.info("%s: training has finished at step %d", latest, start_step)
        return None
    if evaluator.ends_early():
        return None
    context.device.start()
    shard.prepare()
    if latest:
        logging.info("resuming training from %s, up to step %d", latest, num_steps)
    else:
        logging.info("training for %d steps", num_steps)
    entry = add_to_record(context, latest, start_step)
    stop = StopHook(settings.gradient_accumulation_steps)
    with signals.deferred(), checkpoints.named_if_damaged(latest or context.init_checkpoint):
        _estimator(context, evaluator, latest, start_step).train(
            lambda: training_dataset(context, start_step),
            hooks=[stop, *hooks],
            max_steps=num_steps,
        )
        if stop.signal is not None:
            _end_stopped(context, stop.signal)
    return entry


def _resume_point(context: RunContext) -> str | None:
    """Complete the output directory for training, and find the checkpoint to resume from."""
    run_dir = context.run_dir
    model_folder.write(
        run_dir.path,
        context.model_files,
        context.task.tokenizer,
        context.model_settings,
        artifacts_of(context.task),
    )
    run_dir.remove_unfinished()
    saved = run_dir.saved()
    run_dir.write_state(saved)
    return saved[-1] if saved else None


def add_to_record(context: RunContext, latest: str | None, start_step: int) -> dict[str, Any]:
    """Add the entry of this start to the record of the run.

    If training resumes a checkpoint that was trained with other settings or inputs, a warning names
    them.
    """
    entry = description.entry(context, latest, latest or context.init_checkpoint)
    if not distributed.is_chief():
        return entry
    directory = context.run_dir.path
    trained = record.trained_by(directory, start_step) if latest else None
    if trained:
        declared = settings_of(type(context.settings)).items()
        affects_training = {n for n, setting in declared if setting.declaration.affects_training}
        changes = record.changes(trained, entry, affects_training)
        if changes:
            logging.warning(
                "%s was trained with other settings than this run has: %s",
                latest,
                "; ".join(changes),
            )
    record.append(directory, entry)
    events.write_settings(directory, entry["settings"])
    return entry


def _estimator(
    context: RunContext, evaluator: Evaluator, latest: str | None, start_step: int
) -> estimators.Estimator:
    settings = context.settings
    run_config = estimators.RunConfig(
        model_dir=str(context.run_dir),
        tf_random_seed=None,  # `settings.seed` is used where random numbers are drawn
        save_checkpoints_steps=None,  # `SavingHook` saves
        save_summary_steps=settings.save_summary_steps if distributed.is_chief() else None,
        log_step_count_steps=None,
        session_config=session_config(settings, context.device, context.conversion),
    )
    model_fn = training_model_fn(
        context.task,
        context.schedule,
        start_step,
        context.run_dir,
        context.device,
        context.conversion,
        None if latest else context.init_checkpoint,
        evaluator.on_saved,
    )
    return estimators.Estimator(model_fn, config=run_config)


def training_dataset(context: RunContext, start_step: int) -> tf.data.Dataset:
    """Training batches, repeated forever, starting at a global step.

    Raises:
      InputError: if there are too few examples for the processes.
    """
    task, settings, shard = context.task, context.settings, context.train
    assert shard is not None
    spans, change = shard.training_spans(), dynamic_features(task)
    if not any(span for _, span in spans):
        raise InputError(
            f"{', '.join(shard.split.paths)}: too few examples to give each process one; start "
            "fewer processes"
        )

    def prepare(numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        unique_numbers = numbers * distributed.size() + distributed.rank()
        features = change(unique_numbers, features) if change else features
        denominators = task.denominators(features) if isinstance(task, HasDenominators) else {}
        of_micro_batches = {
            name: tf.fill(tf.shape(numbers), value / settings.gradient_accumulation_steps)
            for name, value in denominators.items()
        }
        return {**features, **of_micro_batches, RUN_NUMBER: unique_numbers}

    return datasets.training_dataset(
        spans,
        shard.fields,
        settings.train_batch_size,
        skip_records=start_step * settings.train_batch_size,
        parallel=not settings.deterministic_run,
        prepare=prepare,
        micro_batches=settings.gradient_accumulation_steps,
        seed=settings.seed,
        # The other ranks wait for the one with the most tokens.
        deal_by_length=distributed.size() > 1 and not settings.compute_padding,
    )


def _end_stopped(context: RunContext, signal: int) -> NoReturn:
    """Raise `Stopped` in all processes, after rank 0 has saved and logged the checkpoint."""
    saved = context.run_dir.latest()
    place = f"at step {checkpoints.step_of(saved)}" if saved else ""
    stopped = signals.Stopped(signal, place, is_told=True)
    if distributed.is_chief():
        logging.warning("%s", stopped)
    distributed.wait_for_all()  # the launcher kills all processes as soon as one ends
    raise stopped

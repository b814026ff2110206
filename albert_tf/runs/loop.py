"""The steps of a run: train, evaluate the checkpoints, predict, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf import estimators
from albert_tf.devices import distributed
from albert_tf.devices.device import PORTABLE, Device
from albert_tf.records import record_files
from albert_tf.runs import checkpoints, serving, startup
from albert_tf.runs.evaluation import PredictedFiles, Results
from albert_tf.runs.model import make_model_fn, session_config
from albert_tf.runs.prediction import predict_answers
from albert_tf.runs.settings import RunSettings
from albert_tf.runs.setup import Setup
from albert_tf.runs.task import Evaluation, Task

_DETERMINISTIC_SEED = 1


def run(task_class: type[Task], settings: RunSettings) -> None:
    """Check all inputs, then train, evaluate, predict and export, as the settings say.

    A killed run resumes from its last checkpoint. With several processes, every process must call
    this function.

    Args:
      task_class: class of the task.
      settings: settings of the run and the task.

    Raises:
      InputError: all problems with the settings and with the files they name.
    """
    train_and_evaluate(startup.check(task_class, settings))


def train_and_evaluate(setup: Setup) -> None:
    """Train, evaluate the checkpoints, predict the test sets and export the final checkpoint."""
    estimator = make_estimator(setup, setup.device)
    try:
        if setup.settings.do_train:
            train(setup, estimator)
        if setup.eval_shards:
            evaluate(setup, estimator)
        checkpoint = _final_checkpoint(setup)
        predict(setup, estimator, checkpoint)
        if setup.settings.export_dir and distributed.is_chief():
            export(setup, checkpoint)
        distributed.wait_for_all()
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
        record_files.check_readable([p for p in setup.record_paths if Path(p).exists()])
        for shard in setup.shards:
            shard.check_records()
        raise


def make_estimator(setup: Setup, for_device: Device) -> estimators.Estimator:
    """Make the Estimator of a run, whose graphs are built for a device."""
    settings = setup.settings
    is_chief = distributed.is_chief()
    run_config = estimators.RunConfig(
        model_dir=settings.output_dir,
        tf_random_seed=_DETERMINISTIC_SEED if settings.deterministic_run else None,
        save_checkpoints_steps=settings.save_checkpoints_steps if is_chief else None,
        save_summary_steps=settings.save_summary_steps if is_chief else None,
        keep_checkpoint_max=settings.keep_checkpoint_max,
        log_step_count_steps=None,
        session_config=session_config(setup, for_device),
    )
    return estimators.Estimator(make_model_fn(setup, for_device), config=run_config)


def train(setup: Setup, estimator: estimators.Estimator) -> None:
    """Train to the end of the schedule, starting from the last checkpoint if one exists."""
    settings, num_train_steps, latest = setup.settings, setup.schedule.steps, None
    if distributed.is_chief():
        checkpoints.remove_unfinished(settings.output_dir)
        latest = checkpoints.latest_checkpoint(settings.output_dir)
    latest = distributed.broadcast(latest)
    start_step = checkpoints.step_of(latest) if latest else 0
    if start_step >= num_train_steps:
        logging.info("%s: training has finished at step %d", latest, start_step)
        return
    setup.device.start()
    (shard,) = setup.train_shards
    shard.prepare()
    if latest:
        logging.info("resuming training from %s, up to step %d", latest, num_train_steps)
    else:
        logging.info("training for %d steps", num_train_steps)
    with checkpoints.named_if_damaged(latest or setup.init_checkpoint):
        estimator.train(lambda: shard.training_dataset(start_step), max_steps=num_train_steps)


def evaluate(setup: Setup, estimator: estimators.Estimator) -> None:
    """Evaluate the checkpoints without results; rank 0 has the checkpoints and the results."""
    settings, results, pending = setup.settings, None, []
    if distributed.is_chief():
        results = Results(settings.output_dir, _evaluated_on(setup))
        pending = _pending_checkpoints(setup, results)
    for checkpoint in distributed.broadcast(pending):
        evaluation = _evaluation(setup, estimator, checkpoint)
        if results:
            results.add(checkpoint, evaluation, keep_best=settings.do_train)
    if results:
        results.log()


def _evaluation(setup, estimator, checkpoint):
    """Metrics and files of a checkpoint on all evaluation sets; empty on ranks other than 0."""
    metrics, kept_files = {}, {}
    for shard in setup.eval_shards:
        answers = predict_answers(setup, estimator, checkpoint, shard)
        if distributed.is_chief():
            evaluation = setup.task.evaluate(shard.data_set, answers)
            metrics.update(evaluation.metrics)
            kept_files.update(evaluation.files)
    return Evaluation(metrics, kept_files)


def _evaluated_on(setup) -> dict[str, Any]:
    """Inputs and settings that the results depend on, apart from the checkpoint."""
    inputs = {}
    for shard in setup.eval_shards:
        inputs.update(shard.fingerprint)
    return {**inputs, **setup.task.feature_settings, **setup.task.answer_settings}


def _pending_checkpoints(setup, results):
    """Checkpoints to evaluate that have no result yet."""
    settings = setup.settings
    if settings.do_train:
        candidates = checkpoints.saved_checkpoints(settings.output_dir)
    else:
        candidates = [
            checkpoints.own_checkpoint(settings.output_dir, do_train=False) or setup.init_checkpoint
        ]
    for checkpoint in filter(results.has, candidates):
        logging.info("%s: already evaluated", checkpoint)
    return [checkpoint for checkpoint in candidates if not results.has(checkpoint)]


def _final_checkpoint(setup):
    """Checkpoint for prediction and export.

    After training without evaluation it is the latest: an older best one ignores that training.
    """
    settings = setup.settings
    latest = checkpoints.latest_checkpoint(settings.output_dir)
    if settings.do_train and not setup.eval_shards:
        return distributed.broadcast(latest)
    best = checkpoints.best_checkpoint(settings.output_dir)
    return distributed.broadcast(best or latest or setup.init_checkpoint)


def predict(setup: Setup, estimator: estimators.Estimator, checkpoint: str) -> None:
    """Write a checkpoint's predictions for the test sets, unless they exist already."""
    for shard in setup.test_shards:
        predicted = PredictedFiles(setup.task, shard, checkpoint)
        if not distributed.broadcast(distributed.is_chief() and predicted.are_there()):
            answers = predict_answers(setup, estimator, checkpoint, shard)
            if distributed.is_chief():
                predicted.write(answers)


def export(setup: Setup, checkpoint: str) -> None:
    """Export a checkpoint as a SavedModel that runs on any device."""
    settings = setup.settings
    path = serving.export(
        make_estimator(setup, PORTABLE),
        settings.export_dir,
        setup.task.serving_input_receiver,
        checkpoint,
        serving.assets_of_model(
            settings.albert_config_file, settings.spm_model_file, settings.vocab_file
        ),
        setup.task.exported_settings,
    )
    logging.info("exported %s to %s", checkpoint, path)

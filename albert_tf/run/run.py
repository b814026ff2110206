"""The steps of a run: train, evaluate the checkpoints, predict, export."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.cli import log, signals
from albert_tf.devices import distributed
from albert_tf.devices.device import PORTABLE, Device
from albert_tf.export import serving, tflite
from albert_tf.graph import estimators
from albert_tf.graph.hooks import StopHook
from albert_tf.graph.model import make_model_fn, session_config
from albert_tf.graph.prediction import Predictor
from albert_tf.graph.saving import OnSaved
from albert_tf.io import json_files
from albert_tf.records import record_files
from albert_tf.run import checks, dry_run, reporting
from albert_tf.run.context import Setup
from albert_tf.run.evaluation import Evaluator, PredictedFiles
from albert_tf.run.shards import ExampleShard
from albert_tf.run_dir import (
    best,
    calibration,
    checkpoint_files,
    checkpoints,
    kept_files,
    model_files,
    model_folder,
    run_record,
)
from albert_tf.tasks.base import Task
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
        dry_run.run(task_class, settings, train_and_evaluate)
        return
    start = log.start_time()
    with checks.only_run(settings):
        setup = checks.check(task_class, settings)
        evaluator = train_and_evaluate(setup)
        seconds = round(time.time() - start)
        logging.info(
            "finished in %s; %sall is in %s%s",
            timedelta(seconds=seconds),
            evaluator.summary(),
            setup.results_dir,
            f", the exported model in {settings.export_dir}" if settings.export_dir else "",
        )


def train_and_evaluate(
    setup: Setup,
    predictor: Predictor | None = None,
    hooks: Sequence[tf.train.SessionRunHook] = (),
) -> Evaluator:
    """Train, evaluate the checkpoints, predict the test sets and export the final checkpoint.

    Args:
      setup: setup of the run.
      predictor: predictor of the run, which is closed at the end; by default a new one.
      hooks: further session hooks of training.

    Returns:
      The evaluator, which knows the results.
    """
    start_time, predictor = time.time(), predictor or Predictor(setup)
    try:
        evaluator = Evaluator(setup, predictor)
        if setup.settings.do_train:
            train(setup, evaluator, hooks)
        else:
            for shard in setup.eval_shards:
                shard.prepare()
            run_record.begin(setup)
        if setup.eval_shards:
            evaluator.finish()
        checkpoint = _final_checkpoint(setup)
        predict(setup, predictor, checkpoint)
        if distributed.is_chief():
            export(setup, checkpoint)
            run_record.end(setup, start_time)
            if setup.settings.write_report:
                reporting.write_after_run(setup.results_dir)
        distributed.wait_for_all()
        return evaluator
    except record_files.READING_ERRORS:
        record_files.check_readable([p for p in setup.record_paths if Path(p).exists()])
        for shard in setup.shards:
            shard.check_records()
        raise
    finally:
        predictor.close()


def make_estimator(
    setup: Setup, for_device: Device, on_saved: OnSaved | None = None
) -> estimators.Estimator:
    """Make the Estimator of a run, whose graphs are built for a device.

    Args:
      setup: setup of the run.
      for_device: the device.
      on_saved: function to call after each saved checkpoint; see `SavingHook`.
    """
    settings = setup.settings
    run_config = estimators.RunConfig(
        model_dir=settings.output_dir,
        tf_random_seed=None,  # `settings.seed` is used where random numbers are drawn
        save_checkpoints_steps=None,  # `SavingHook` saves
        save_summary_steps=settings.save_summary_steps if distributed.is_chief() else None,
        log_step_count_steps=None,
        session_config=session_config(setup, for_device),
    )
    return estimators.Estimator(make_model_fn(setup, for_device, on_saved), config=run_config)


def train(
    setup: Setup, evaluator: Evaluator, hooks: Sequence[tf.train.SessionRunHook] = ()
) -> None:
    """Train to the end of the schedule, starting from the last checkpoint if one exists."""
    settings, num_train_steps = setup.settings, setup.schedule.steps
    latest: str | None = None
    if distributed.is_chief():
        _write_model_folder(setup)
        kept_files.write(setup.output_dir, setup.task.kept)
        checkpoint_files.remove_unfinished(setup.output_dir)
        saved = checkpoint_files.saved_checkpoints(setup.output_dir)
        checkpoint_files.correct_state(setup.output_dir, saved)
        latest = saved[-1] if saved else None
    latest = distributed.broadcast(latest)
    start_step = checkpoint_files.step_of(latest) or 0 if latest else 0
    evaluator.begin_training(start_step)
    if start_step >= num_train_steps:
        logging.info("%s: training has finished at step %d", latest, start_step)
        return
    if evaluator.ends_early():
        return
    setup.device.start()
    (shard,) = setup.train_shards
    shard.prepare()
    if latest:
        logging.info("resuming training from %s, up to step %d", latest, num_train_steps)
    else:
        logging.info("training for %d steps", num_train_steps)
    run_record.begin(setup, latest)
    estimator = make_estimator(setup, setup.device, evaluator.on_saved)
    stop = StopHook(settings.gradient_accumulation_steps)
    with signals.deferred(), checkpoints.named_if_damaged(latest or setup.init_checkpoint):
        estimator.train(
            lambda: shard.training_dataset(start_step),
            hooks=[stop, *hooks],
            max_steps=num_train_steps,
        )
        if stop.signal is not None:
            _end_stopped(setup, stop.signal)


def _write_model_folder(setup: Setup) -> None:
    """Put the files of the model beside its checkpoints, so that the directory is complete."""
    settings = setup.settings
    model_files.write_folder(
        setup.output_dir,
        setup.albert_config_file,
        setup.task.tokenizer,
        settings.spm_model_file,
        settings.vocab_file,
        setup.task.exported_settings,
    )


def _end_stopped(setup: Setup, signal: int) -> NoReturn:
    """Raise `Stopped` in all processes, after rank 0 has saved and logged the checkpoint."""
    saved = checkpoints.latest_checkpoint(setup.output_dir)
    place = f"at step {checkpoint_files.step_of(saved)}" if saved else ""
    stopped = signals.Stopped(signal, place, is_told=True)
    if distributed.is_chief():
        logging.warning("%s", stopped)
    distributed.wait_for_all()  # the launcher kills all processes as soon as one ends
    raise stopped


def _final_checkpoint(setup: Setup) -> str:
    """Checkpoint for prediction and export.

    After training without evaluation it is the latest: an older best one ignores that training.
    """
    checkpoint: str | None = None
    if distributed.is_chief():
        if setup.settings.do_train and not setup.eval_shards:
            checkpoint = checkpoints.latest_checkpoint(setup.output_dir)
        else:
            best.restore(setup.output_dir)
            checkpoint = checkpoints.own_checkpoint(setup.output_dir, do_train=False)
    return distributed.broadcast(checkpoint or setup.init_checkpoint)


def predict(setup: Setup, predictor: Predictor, checkpoint: str) -> None:
    """Write a checkpoint's predictions for the test sets, unless they exist already."""
    for shard in setup.test_shards:
        assert isinstance(shard, ExampleShard)  # as `Task.test_sets` has no record files
        predicted = PredictedFiles(setup.task, setup.results_dir, shard, checkpoint)
        if not distributed.broadcast(distributed.is_chief() and predicted.are_there()):
            answers = predictor.answers(checkpoint, shard)
            if distributed.is_chief():
                predicted.write(answers)


def export(setup: Setup, checkpoint: str) -> None:
    """Export a checkpoint as a SavedModel that runs on any device, and for TensorFlow Lite."""
    settings = setup.settings
    if settings.export_tflite:
        tflite.export(setup.task, checkpoint, settings.export_tflite, settings.tflite_float16)
    if not settings.export_dir:
        return
    serving.export(
        make_estimator(setup, PORTABLE),
        settings.export_dir,
        setup.task.serving_input_receiver,
        checkpoint,
        model_folder.named_files(
            setup.albert_config_file, settings.spm_model_file, settings.vocab_file
        ),
        {
            model_folder.SETTINGS_FILE: json_files.versioned(
                model_folder.SETTINGS_FORMAT,
                {
                    **calibration.read(checkpoint, setup.output_dir),
                    **setup.task.exported_settings,
                },
            ),
            **{
                name: json_files.versioned(kept_files.FORMAT, value)
                for name, value in setup.task.kept.items()
            },
        },
        dataclasses.asdict(settings),
    )

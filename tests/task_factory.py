"""Ready-to-run tasks of the scripts on the sample, and the shapes of their training inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import run_classifier
import run_pretraining
import run_squad_v1
import run_squad_v2
from albert_tf.cli import flags as run_flags
from albert_tf.devices.device import Device
from albert_tf.graph.model import ModelFn, training_model_fn
from albert_tf.io.errors import InputError
from albert_tf.records.shards import RUN_NUMBER
from albert_tf.run import checks
from albert_tf.run.context import RunContext
from albert_tf.tasks.base import Task
from albert_tf.tasks.custom.task import CustomTask
from albert_tf.tasks.glue.task import ClassifierTask
from albert_tf.tasks.options import RunSettings
from albert_tf.tasks.pretraining.heads import DENOMINATOR
from albert_tf.tasks.pretraining.task import PretrainingTask
from albert_tf.tasks.race.settings import RaceSettings
from albert_tf.tasks.race.task import RaceTask
from albert_tf.tasks.squad.v1 import SquadV1Task
from albert_tf.tasks.squad.v2 import SquadV2Task
from scripts import (
    CLASSIFIER_FLAGS,
    OWN_FILES_FLAGS,
    PRETRAINING_FLAGS,
    RACE_FLAGS,
    SQUAD_FLAGS,
    SQUAD_V2_FLAGS,
)

_SCRIPTS = {
    "squad": (SQUAD_FLAGS, SquadV1Task, run_squad_v1.Settings),
    "squad_v2": (SQUAD_V2_FLAGS, SquadV2Task, run_squad_v2.Settings),
    "classifier": (CLASSIFIER_FLAGS, ClassifierTask, run_classifier.Settings),
    "own_data": (OWN_FILES_FLAGS, CustomTask, run_classifier.Settings),
    "race": (RACE_FLAGS, RaceTask, RaceSettings),
    "pretraining": (PRETRAINING_FLAGS, PretrainingTask, run_pretraining.Settings),
}
SCRIPTS = tuple(_SCRIPTS)


def task_and_settings(script: str) -> tuple[type[Task], type[RunSettings]]:
    """Classes of a script's task and settings."""
    _, task_class, settings_class = _SCRIPTS[script]
    return task_class, settings_class


def make_settings(script: str, output_dir: Path, **changes: Any) -> Any:
    """Make the settings of a script; `changes` override the flags in `scripts`."""
    flags, _, settings_class = _SCRIPTS[script]
    values = {**flags, "output_dir": output_dir, **changes}
    return settings_class(
        **{name: str(x) if isinstance(x, Path) else x for name, x in values.items()}
    )


def make_context(
    script: str, output_dir: Path, device: Device | None = None, **changes: Any
) -> RunContext:
    """Check the settings of a script like its `main`; `changes` override the flags in `scripts`."""
    _, task_class, _ = _SCRIPTS[script]
    return checks.check(task_class, make_settings(script, output_dir, **changes), device)


def make_training_fn(context: RunContext, device: Device) -> ModelFn:
    """Make the model function that trains a context's task."""
    return training_model_fn(
        context.task,
        context.schedule,
        0,
        context.run_dir,
        device,
        context.conversion,
        context.init_checkpoint,
        lambda prefix, may_evaluate: False,
    )


def refusals(script: str, output_dir: Path | None, **changes: Any) -> list[str]:
    """Lines with which a script refuses flags, which are parsed and checked in this process.

    Args:
      script: name of the script, one of `SCRIPTS`.
      output_dir: its output directory.
      **changes: override the flags in `scripts`; None leaves a flag out.
    """
    flags, task_class, settings_class = _SCRIPTS[script]
    given = {**flags, "output_dir": output_dir, **changes}
    values = absl_flags.FlagValues()
    run_flags.define(settings_class, values)
    values(["test", *(f"--{name}={x}" for name, x in given.items() if x is not None)])
    with pytest.raises(InputError) as error:
        checks.check(task_class, run_flags.read(settings_class, values))
    return str(error.value).splitlines()


def training_shapes(context: RunContext) -> dict[str, tf.TensorSpec]:
    """Shapes of the inputs of a training graph for a micro-batch, all static."""
    task, settings = context.task, context.settings
    size = settings.train_batch_size // settings.gradient_accumulation_steps
    fields = dict(task.fields(task.splits.train))
    if isinstance(task, PretrainingTask):
        fields[DENOMINATOR] = tf.io.FixedLenFeature([], tf.float32)
    shapes = {
        name: tf.TensorSpec(
            [size, *field.shape], tf.int32 if field.dtype == tf.int64 else field.dtype
        )
        for name, field in fields.items()
    }
    return {**shapes, RUN_NUMBER: tf.TensorSpec([size], tf.int64)}

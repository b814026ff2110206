"""The tasks of the scripts on the sample, and the shapes of what their graphs read."""

from __future__ import annotations

import sys

import tensorflow.compat.v1 as tf
from absl import flags

import run_classifier
import run_pretraining
import run_squad_v1
from albert_tf.pretraining import heads as pretraining_heads
from albert_tf.runs import tasks, training
from scripts import CLASSIFIER_FLAGS, PRETRAINING_FLAGS, SQUAD_FLAGS

_SCRIPTS = {
    "squad": (SQUAD_FLAGS, run_squad_v1.SquadTask, run_squad_v1.SquadSettings),
    "classifier": (
        CLASSIFIER_FLAGS,
        run_classifier.ClassifierTask,
        run_classifier.ClassifierSettings,
    ),
    "pretraining": (
        PRETRAINING_FLAGS,
        run_pretraining.PretrainingTask,
        run_pretraining.PretrainingSettings,
    ),
}
SCRIPTS = tuple(_SCRIPTS)


def make_task(script: str, output_dir, **changes) -> tasks.Task:
    """Makes the task of a script, as its `main` does; the changes are to the flags of `scripts`."""
    flag_values, task_class, settings_class = _SCRIPTS[script]
    flag_values = {**flag_values, "output_dir": output_dir, **changes}
    flags.FLAGS.unparse_flags()
    flags.FLAGS([sys.argv[0], *(f"--{name}={value}" for name, value in flag_values.items())])
    return training.checked_task(task_class, settings_class)


def training_shapes(script: str, task: tasks.Task) -> dict[str, tf.TensorSpec]:
    """What a training graph reads of a part of a batch, where all shapes are static."""
    settings = task.settings
    size = settings.train_batch_size // settings.gradient_accumulation_steps
    spec = dict(task.train_features if script == "squad" else task.features)
    if script == "pretraining":
        spec[pretraining_heads.DIVISOR] = tf.io.FixedLenFeature([], tf.float32)
    return {
        name: tf.TensorSpec(
            [size, *feature.shape], tf.int32 if feature.dtype == tf.int64 else feature.dtype
        )
        for name, feature in spec.items()
    }

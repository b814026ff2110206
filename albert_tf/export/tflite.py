"""Export of a checkpoint as a TensorFlow Lite file, for phones and other small machines."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import tensorflow.compat.v1 as tf
from absl import logging
from tensorflow import lite  # that of compat.v1 makes no signatures

from albert_tf.export import serving
from albert_tf.io import files
from albert_tf.tasks.base import Task, input_fields


def export(task: Task, checkpoint: str, path: str, is_float16: bool = False) -> None:
    """Write a model of fixed length for one input at a time.

    Its signature `serving_default` takes `input_ids`, `input_mask` and `segment_ids`, int32
    [1, max_seq_length], for RACE [1, 4, max_seq_length], and returns the outputs of the task's
    head. Where another graph is the default, TensorFlow's converter makes no signature.

    Args:
      task: the task.
      checkpoint: prefix of the checkpoint.
      path: path of the file.
      is_float16: whether to store the weights in float16: half the size, with small differences in
        the outputs.
    """
    # The published graph has shapes that do not depend on the padding.
    settings = dataclasses.replace(task.settings, compute_padding=True)
    task = type(task)(settings, task.config, task.tokenizer, task.splits)
    with tempfile.TemporaryDirectory() as directory:
        saved_model = str(Path(directory) / "saved_model")
        serving.save_model(task, checkpoint, saved_model, lambda: _with_fixed_length(task))
        converter = lite.TFLiteConverter.from_saved_model(saved_model)
        if is_float16:
            converter.optimizations = [lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        content = converter.convert()
    with files.atomic_file(path) as temporary:
        temporary.write_bytes(content)
    logging.info("%s: exported to %s (%.1f MB)", checkpoint, path, len(content) / 1e6)


def _with_fixed_length(task: Task) -> serving.Inputs:
    """Build inputs of the fixed length, for a batch of one."""
    inputs = {
        name: tf.placeholder(tf.int32, [1, *field.shape], name)
        for name, field in input_fields(task).items()
    }
    return inputs, {serving.SIGNATURE: inputs}

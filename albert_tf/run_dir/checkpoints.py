"""Checkpoints: search, check against the model, initialization from them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

import modeling
import optimization
from albert_tf.io.errors import InputError, listed
from albert_tf.run_dir import checkpoint_files
from albert_tf.run_dir.best import best_checkpoint
from albert_tf.run_dir.checkpoint_files import FILE_SUFFIX

_BOOKKEEPING = re.compile(
    rf"(^|/)({'|'.join(('global_step', *optimization.SLOTS))}|beta[12]_power)$"
)

Shapes = Mapping[str, Sequence[int]]


def find_checkpoint(path: str) -> str:
    """Find a checkpoint.

    Args:
      path: prefix of a checkpoint, one of its files, or a directory: `model.ckpt-best` in it, or
        else its latest checkpoint.

    Returns:
      Prefix of the checkpoint.

    Raises:
      InputError: if the checkpoint is missing or incomplete.
    """
    if Path(path).is_dir():
        found = best_checkpoint(path) or latest_checkpoint(path) or _named_checkpoint(path)
        if not found:
            raise InputError(f"{path}: no checkpoint in this directory; correct the path")
        path = found
    prefix = re.sub(FILE_SUFFIX, "", path)
    if not Path(f"{prefix}.index").exists():
        near = sorted(str(p)[: -len(".index")] for p in Path(path).parent.glob("*.index"))
        hint = f"the directory has {', '.join(near)}" if near else "correct the path"
        raise InputError(f"{path}: no checkpoint found ({prefix}.index is missing); {hint}")
    reason = checkpoint_files.problem(prefix)
    if reason:
        raise InputError(f"{prefix}: the checkpoint is incomplete: {reason}; copy it again")
    return prefix


def _named_checkpoint(directory: str) -> str | None:
    """Checkpoint of another program, which only the file `checkpoint` in its directory names."""
    try:
        return tf.train.latest_checkpoint(directory)
    except checkpoint_files.READER_ERRORS:
        return None


def latest_checkpoint(directory: str) -> str | None:
    """Prefix of a training run's latest checkpoint that is complete, or None."""
    return next(reversed(checkpoint_files.saved_checkpoints(directory)), None)


def own_checkpoint(output_dir: str, do_train: bool) -> str | None:
    """Prefix of the checkpoint in an output directory for a run to continue with, or None.

    Args:
      output_dir: output directory of the run.
      do_train: whether the run trains (and resumes from the latest checkpoint) or only predicts
        (with the best).

    Raises:
      InputError: if there are checkpoints, but none that is complete.
    """
    found = None if do_train else best_checkpoint(output_dir)
    found = found or latest_checkpoint(output_dir)
    incomplete = checkpoint_files.incomplete_checkpoints(output_dir)
    if not found and incomplete:
        prefix, reason = incomplete.popitem()
        raise InputError(
            f"{prefix}: the checkpoint is incomplete: {reason}; copy it again, or remove "
            f"{prefix}.* to start over"
        )
    return found


@contextmanager
def named_if_damaged(prefix: str | None) -> Iterator[None]:
    """Turn an error from restoring variables in the block into an `InputError`.

    Args:
      prefix: prefix of the restored checkpoint, to name in the message; None if there is none.

    Raises:
      InputError: if the checkpoint is damaged.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if prefix is None or "RestoreV2" not in error.message:
            raise
        # TensorFlow 2.9 and later put the code location of the op first.
        message = re.sub(r"(?s)^Graph execution error:.*?\nNode: .*?\n", "", error.message)
        reason = message.splitlines()[0]
        raise InputError(
            f"{prefix}: the checkpoint is damaged ({reason}); copy it again, or remove {prefix}.* "
            "to use the previous one"
        ) from error


def shapes_in(prefix: str) -> dict[str, list[int]]:
    """Shapes of a checkpoint's variables, by name.

    Raises:
      InputError: if the checkpoint cannot be read.
    """
    try:
        return dict(tf.train.list_variables(prefix))
    except checkpoint_files.READER_ERRORS as error:
        raise InputError(
            f"{prefix}: cannot read the checkpoint ({error}); check that all its files exist"
        ) from error


def model_shapes_in(prefix: str) -> dict[str, list[int]]:
    """Shapes of a checkpoint's variables, without the global step and optimizer slots."""
    shapes = shapes_in(prefix)
    return {name: shape for name, shape in shapes.items() if not _BOOKKEEPING.search(name)}


def read_values(prefix: str, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read variables of a checkpoint, and verify their checksums.

    Args:
      prefix: prefix of the checkpoint.
      names: names of the variables.

    Returns:
      Values by name.

    Raises:
      InputError: if the checkpoint is damaged.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in names}
    except checkpoint_files.READER_ERRORS as error:
        raise InputError(f"{prefix}: the checkpoint is damaged: {error}; copy it again") from error


def write_values(prefix: str, values: Mapping[str, np.ndarray]) -> None:
    """Write a TensorFlow checkpoint.

    Args:
      prefix: prefix of the checkpoint's files.
      values: values of the variables, by name.
    """
    names = sorted(values)
    with tf.Graph().as_default(), tf.Session() as session:
        placeholders = [tf.placeholder(values[name].dtype, values[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=placeholders,
        )
        session.run(save, dict(zip(placeholders, (values[name] for name in names))))


def check_fits(prefix: str, model: Shapes, all_needed: bool) -> None:
    """Check that a checkpoint has a model's variables in the right shapes.

    Args:
      prefix: prefix of the checkpoint.
      model: shapes of the model's variables, by name.
      all_needed: whether the checkpoint must have all of them, rather than at least one.

    Raises:
      InputError: if variables are missing or have another shape; the message names them.
    """
    saved = shapes_in(prefix)
    differing = [
        f"{name} has shape {list(saved[name])}, not {list(shape)}"
        for name, shape in model.items()
        if name in saved and list(saved[name]) != list(shape)
    ]
    if differing:
        raise InputError(
            f"{prefix}: the checkpoint does not fit --albert_config_file: {listed(differing)}; "
            "give the config that belongs to it, or a checkpoint for this task"
        )
    missing = [name for name in model if name not in saved]
    if len(missing) == len(model):
        raise InputError(
            f"{prefix}: the checkpoint has none of the model's {len(model)} variables, only "
            f"{listed(sorted(saved))}; give an ALBERT checkpoint for TensorFlow"
        )
    if missing and all_needed:
        raise InputError(
            f"{prefix}: the checkpoint has no {listed(missing)}; fine-tune it first (--do_train)"
        )


def initialize_from(prefix: str, num_of_group: int = 0) -> None:
    """Initialize the trainable variables of the current graph from a checkpoint.

    Variables that the checkpoint lacks keep their initializers; the log names them.

    Args:
      prefix: prefix of the checkpoint.
      num_of_group: number of the model's groups, to start those missing in the checkpoint from its
        group 0; 0 to leave them at their initializers.
    """
    variables = tf.trainable_variables()
    maps, matched = modeling.get_assignment_map_from_checkpoint(variables, prefix, num_of_group)
    for assignment_map in maps if num_of_group else [maps]:
        tf.train.init_from_checkpoint(prefix, assignment_map)
    new = [v.op.name for v in variables if v.op.name not in matched]
    logging.info(
        "%d of %d variables start from %s%s",
        len(variables) - len(new),
        len(variables),
        prefix,
        f"; randomly initialized: {', '.join(new)}" if new else "",
    )
    unused = [n for n in model_shapes_in(prefix) if n not in matched]
    if unused:
        logging.info("unused variables of the checkpoint: %s", listed(unused))

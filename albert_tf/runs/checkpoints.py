"""Checkpoints: search, check against the model, initialization from them."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

import modeling
import optimization
from albert_tf.errors import InputError

BEST_CHECKPOINT = "model.ckpt-best"
_FILE_SUFFIX = r"\.(index|meta|data-\d{5}-of-\d{5})$"
# Temporary files of TensorFlow and `keep_as_best`.
_UNFINISHED = re.compile(r"(checkpoint|graph\.pbtxt|model\.ckpt-.+)(\.tmp|_temp|\.tempstate)[^.]*$")
_LISTED_NAMES = 4  # variables to name in a message; the rest are only counted
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
        found = best_checkpoint(path) or latest_checkpoint(path)
        if not found:
            raise InputError(f"{path}: no checkpoint in this directory; correct the path")
        path = found
    prefix = re.sub(_FILE_SUFFIX, "", path)
    if not Path(f"{prefix}.index").exists():
        near = sorted(str(p)[: -len(".index")] for p in Path(path).parent.glob("*.index"))
        hint = f"the directory has {', '.join(near)}" if near else "correct the path"
        raise InputError(f"{path}: no checkpoint found ({prefix}.index is missing); {hint}")
    if not list(Path(prefix).parent.glob(f"{Path(prefix).name}.data-*")):
        raise InputError(
            f"{prefix}: the checkpoint is incomplete: {prefix}.data-* is missing; copy it again"
        )
    return prefix


def best_checkpoint(directory: str) -> str | None:
    """Prefix of the best checkpoint in a directory, or None."""
    prefix = str(Path(directory) / BEST_CHECKPOINT)
    return prefix if Path(f"{prefix}.index").exists() else None


def latest_checkpoint(directory: str) -> str | None:
    """Prefix of a training run's latest checkpoint whose files still exist, or None.

    If the latest entry of TensorFlow's `checkpoint` file has been deleted, the file is corrected,
    so that Estimators resume from the same checkpoint.
    """
    state = tf.train.get_checkpoint_state(directory)
    if not state:
        return None
    present = [p for p in state.all_model_checkpoint_paths if Path(f"{p}.index").exists()]
    if present and present[-1] != state.model_checkpoint_path:
        logging.warning("%s is missing: using %s", state.model_checkpoint_path, present[-1])
        tf.train.update_checkpoint_state(directory, present[-1], present)
    return present[-1] if present else None


def own_checkpoint(output_dir: str, do_train: bool) -> str | None:
    """Prefix of the checkpoint in an output directory for a run to continue with, or None.

    Args:
      output_dir: output directory of the run.
      do_train: whether the run trains (and resumes from the latest checkpoint) or only predicts
        (with the best).
    """
    latest = latest_checkpoint(output_dir)
    return latest if do_train else best_checkpoint(output_dir) or latest


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


def saved_checkpoints(directory: str) -> list[str]:
    """Prefixes of a training run's checkpoints, oldest first, without step 0."""
    state = tf.train.get_checkpoint_state(directory)
    prefixes = state.all_model_checkpoint_paths if state else []
    return [p for p in prefixes if Path(f"{p}.index").exists() and step_of(p)]


def step_of(prefix: str) -> int | None:
    """Step in the name of a checkpoint: 300 for `model.ckpt-300`; None if it has none."""
    match = re.search(r"model\.ckpt-(\d+)$", prefix)
    return int(match.group(1)) if match else None


def keep_as_best(prefix: str) -> None:
    """Copy a checkpoint to `model.ckpt-best` in the same directory.

    The old index file is removed first and the new one copied last, so an incomplete copy never
    looks like a checkpoint.
    """
    source = Path(prefix)
    best = source.with_name(BEST_CHECKPOINT)
    best.with_name(f"{BEST_CHECKPOINT}.index").unlink(missing_ok=True)
    for old in best.parent.glob(f"{BEST_CHECKPOINT}.*"):
        old.unlink()
    files = sorted(source.parent.glob(f"{source.name}.*"), key=lambda f: f.suffix == ".index")
    for file in files:
        target = best.with_name(BEST_CHECKPOINT + file.name[len(source.name) :])
        temporary = target.with_name(f"{target.name}.tmp")
        shutil.copyfile(file, temporary)
        temporary.replace(target)


def remove_unfinished(directory: str) -> None:
    """Remove the half-written files of a killed training run from its directory."""
    for path in Path(directory).iterdir() if Path(directory).is_dir() else ():
        if _UNFINISHED.match(path.name):
            logging.info("%s: removed, left half-written by a killed run", path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def shapes_in(prefix: str) -> dict[str, list[int]]:
    """Shapes of a checkpoint's variables, by name.

    Raises:
      InputError: if the checkpoint cannot be read.
    """
    try:
        return dict(tf.train.list_variables(prefix))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"{prefix}: cannot read the checkpoint ({error}); check that all its files exist"
        ) from error


def model_shapes_in(prefix: str) -> dict[str, list[int]]:
    """Shapes of a checkpoint's variables, without the global step and optimizer slots."""
    shapes = shapes_in(prefix)
    return {name: shape for name, shape in shapes.items() if not _BOOKKEEPING.search(name)}


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
            f"{prefix}: the checkpoint does not fit --albert_config_file: {_listed(differing)}; "
            "give the config that belongs to it, or a checkpoint for this task"
        )
    missing = [name for name in model if name not in saved]
    if len(missing) == len(model):
        raise InputError(
            f"{prefix}: the checkpoint has none of the model's {len(model)} variables, only "
            f"{_listed(sorted(saved))}; give an ALBERT checkpoint for TensorFlow"
        )
    if missing and all_needed:
        raise InputError(
            f"{prefix}: the checkpoint has no {_listed(missing)}; fine-tune it first (--do_train)"
        )


def _listed(items):
    rest = len(items) - _LISTED_NAMES
    return ", ".join(items[:_LISTED_NAMES]) + (f" and {rest} more" if rest > 0 else "")


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
        logging.info("unused variables of the checkpoint: %s", _listed(unused))

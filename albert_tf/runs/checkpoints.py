"""Finding checkpoints, checking that they fit the model, and starting from them."""

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
# What TensorFlow and `keep_as_best` write before they rename it.
_UNFINISHED = re.compile(r"(checkpoint|graph\.pbtxt|model\.ckpt-.+)(\.tmp|_temp|\.tempstate)[^.]*$")
_LISTED_NAMES = 4  # more variables are counted, not listed
_BOOKKEEPING = re.compile(
    rf"(^|/)({'|'.join(('global_step', *optimization.SLOTS))}|beta[12]_power)$"
)

Shapes = Mapping[str, Sequence[int]]


def find_checkpoint(path: str) -> str:
    """Find the checkpoint that a path stands for.

    Args:
      path: a checkpoint's prefix, one of its files, or a directory, which means its
        `model.ckpt-best` or else its latest checkpoint.

    Returns:
      The checkpoint's prefix.

    Raises:
      InputError: if there is no checkpoint.
    """
    if Path(path).is_dir():
        found = best_checkpoint(path) or latest_checkpoint(path)
        if not found:
            raise InputError(f"{path}: there is no checkpoint in this directory")
        path = found
    prefix = re.sub(_FILE_SUFFIX, "", path)
    if not Path(f"{prefix}.index").exists():
        near = sorted(str(p)[: -len(".index")] for p in Path(path).parent.glob("*.index"))
        hint = f"; in its directory there is {', '.join(near)}" if near else ""
        raise InputError(f"{path}: there is no checkpoint there ({prefix}.index is missing){hint}")
    if not list(Path(prefix).parent.glob(f"{Path(prefix).name}.data-*")):
        raise InputError(f"{prefix}: the checkpoint is not complete: {prefix}.data-* is missing")
    return prefix


def best_checkpoint(directory: str) -> str | None:
    """The prefix of the best checkpoint in a directory, if there is one."""
    prefix = str(Path(directory) / BEST_CHECKPOINT)
    return prefix if Path(f"{prefix}.index").exists() else None


def latest_checkpoint(directory: str) -> str | None:
    """The prefix of the latest checkpoint of a training run whose files are there, if any.

    If it is not the one that TensorFlow's `checkpoint` file names as the latest, because that has
    been removed, the file is corrected, so that Estimators go on from it too.
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
    """The prefix of the checkpoint in an output directory that a run goes on from, if any.

    Args:
      output_dir: the directory.
      do_train: whether the run trains, and goes on from the latest, or predicts with the best.
    """
    latest = latest_checkpoint(output_dir)
    return latest if do_train else best_checkpoint(output_dir) or latest


@contextmanager
def named_if_damaged(prefix: str | None) -> Iterator[None]:
    """Turn a failure to restore variables in the block into an `InputError` with the prefix."""
    try:
        yield
    except tf.errors.OpError as error:
        if prefix is None or "RestoreV2" not in error.message:
            raise
        # TensorFlow 2.9 and later tell first where in the code the op was made.
        told = re.sub(r"(?s)^Graph execution error:.*?\nNode: .*?\n", "", error.message)
        reason = told.splitlines()[0]
        raise InputError(
            f"{prefix}: the checkpoint is damaged ({reason}); copy it again, or remove {prefix}.* "
            "and the one before it is used"
        ) from error


def saved_checkpoints(directory: str) -> list[str]:
    """The prefixes of the checkpoints of a training run, oldest first, without that of step 0."""
    state = tf.train.get_checkpoint_state(directory)
    prefixes = state.all_model_checkpoint_paths if state else []
    return [p for p in prefixes if Path(f"{p}.index").exists() and step_of(p)]


def step_of(prefix: str) -> int | None:
    """The step in the name of a training run's checkpoint: 300 of `model.ckpt-300`."""
    match = re.search(r"model\.ckpt-(\d+)$", prefix)
    return int(match.group(1)) if match else None


def keep_as_best(prefix: str) -> None:
    """Copy a checkpoint to `model.ckpt-best` beside it.

    The old index is removed first and the new one comes last, so that there is no best checkpoint
    while its files are not all there.
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
    """Remove half-written files that a killed training run left in its directory."""
    for path in Path(directory).iterdir() if Path(directory).is_dir() else ():
        if _UNFINISHED.match(path.name):
            logging.info("%s: removed; a run that was killed left it half-written", path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def shapes_in(prefix: str) -> dict[str, list[int]]:
    """The shapes of a checkpoint's variables by name.

    Raises:
      InputError: if the checkpoint cannot be read.
    """
    try:
        return dict(tf.train.list_variables(prefix))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"{prefix}: the checkpoint cannot be read; are all of its files there? ({error})"
        ) from error


def model_shapes_in(prefix: str) -> dict[str, list[int]]:
    """Like `shapes_in`, without the step and the slots of the optimizer."""
    shapes = shapes_in(prefix)
    return {name: shape for name, shape in shapes.items() if not _BOOKKEEPING.search(name)}


def check_fits(prefix: str, model: Shapes, all_needed: bool) -> None:
    """Check that a checkpoint holds a model's variables in the right shapes.

    Args:
      prefix: the checkpoint.
      model: shapes of the model's variables by name.
      all_needed: whether all variables must be there, and not just some.

    Raises:
      InputError: if variables are missing or have another shape; the message names them.
    """
    saved = shapes_in(prefix)
    differing = [
        f"{name} is {list(saved[name])}, the model's is {list(shape)}"
        for name, shape in model.items()
        if name in saved and list(saved[name]) != list(shape)
    ]
    if differing:
        raise InputError(
            f"{prefix}: the checkpoint does not fit --albert_config_file: {_listed(differing)}; "
            "give the config that belongs to it, or a checkpoint that was not made for another task"
        )
    missing = [name for name in model if name not in saved]
    if len(missing) == len(model):
        raise InputError(
            f"{prefix}: none of the model's {len(model)} variables is in the checkpoint, which "
            f"holds {_listed(sorted(saved))}; is it an ALBERT checkpoint for TensorFlow?"
        )
    if missing and all_needed:
        raise InputError(
            f"{prefix}: the checkpoint has no {_listed(missing)}; fine-tune it first (--do_train)"
        )


def _listed(items):
    rest = len(items) - _LISTED_NAMES
    return ", ".join(items[:_LISTED_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def initialize_from(prefix: str, num_of_group: int = 0) -> None:
    """Initialize the trainable variables of the current graph from a checkpoint, as far as it has
    them, and log the others.

    Args:
      prefix: the checkpoint.
      num_of_group: 0; or the number of groups of a model, whose groups start from group 0 where the
        checkpoint lacks them.
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
        f"; these start anew: {', '.join(new)}" if new else "",
    )
    left = [n for n in model_shapes_in(prefix) if n not in matched]
    if left:
        logging.info("the checkpoint also has variables that are not used: %s", _listed(left))

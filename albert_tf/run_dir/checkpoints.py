"""Checkpoints by their prefixes: completeness, saving, copies, removal, and their variables.

The index file of a checkpoint comes last when it is written or copied, and goes first when it is
removed, so a checkpoint with an index file is complete.
"""

from __future__ import annotations

import math
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.io import files
from albert_tf.io.errors import InputError, listed

FILE_SUFFIX = r"\.(index|meta|data-\d{5}-of-\d{5})$"
# Errors of TensorFlow's reader on damaged files.
READER_ERRORS = (tf.errors.OpError, ValueError, TypeError, RuntimeError, IndexError)
_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
_ONLY_TO_RESUME = ".only-to-resume"  # suffix of the file that marks such a checkpoint
_BOOKKEEPING = re.compile(r"(^|/)(global_step|adam_m|adam_v|beta[12]_power)$")

Shapes = Mapping[str, Sequence[int]]


def step_of(prefix: str) -> int | None:
    """Step in the name of a checkpoint: 300 for `model.ckpt-300`; None if it has none."""
    match = re.search(r"model\.ckpt-(\d+)$", prefix)
    return int(match.group(1)) if match else None


def digest(prefix: str) -> str:
    """Digest of a checkpoint: that of its index file, which holds the tensors' checksums."""
    return files.digest(f"{prefix}.index")


def problem(prefix: str, reads_data: bool = False) -> str | None:
    """Reason why a checkpoint cannot be read; None if it is complete.

    Args:
      prefix: prefix of the checkpoint.
      reads_data: whether to read all variables too, and so to verify their checksums.
    """
    if not Path(f"{prefix}.index").is_file():
        return f"{prefix}.index is missing"
    shards = sorted(p for p in files_of(prefix, ".data-*") if _SHARD.search(p.name))
    if not shards:
        return f"{prefix}.data-* is missing"
    if len(shards) != int(shards[0].name.rpartition("-")[2]):
        return f"some of {prefix}.data-* are missing"
    try:
        reader = tf.train.load_checkpoint(prefix)
        types, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
    except READER_ERRORS as error:
        return f"{prefix}.index cannot be read ({_first_line(error)})"
    size = sum(math.prod(shape) * types[name].size for name, shape in shapes.items())
    if sum(path.stat().st_size for path in shards) < size:
        return f"{prefix}.data-* has been cut"
    try:
        for name in shapes if reads_data else ():
            reader.get_tensor(name)
    except READER_ERRORS as error:
        return f"{prefix}.data-* is damaged ({_first_line(error)})"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def files_of(prefix: str, suffix: str = ".*") -> list[Path]:
    """Files of a checkpoint."""
    name = Path(prefix).name
    return [path for path in Path(prefix).parent.glob(name + suffix) if ".tmp" not in path.name]


def is_only_to_resume(prefix: str) -> bool:
    """Whether a checkpoint was saved only to resume from, so that it is not to be evaluated."""
    return step_of(prefix) == 0 or Path(prefix + _ONLY_TO_RESUME).exists()


def count_as_saved(prefix: str) -> None:
    """Make a checkpoint that was saved only to resume from an ordinary one."""
    Path(prefix + _ONLY_TO_RESUME).unlink(missing_ok=True)


def save(
    session: tf.Session,
    saver: tf.train.Saver,
    meta_graph: bytes,
    prefix: str,
    only_to_resume: bool = False,
) -> None:
    """Save a checkpoint atomically.

    Args:
      session: session with the variables.
      saver: saver of the variables.
      meta_graph: content of the `.meta` file.
      prefix: prefix of the checkpoint, in an existing directory.
      only_to_resume: whether it is not to be evaluated.
    """
    name = Path(prefix).name
    with files.temporary_directory(prefix) as temporary:
        saver.save(session, str(temporary / name), write_meta_graph=False, write_state=False)
        (temporary / f"{name}.meta").write_bytes(meta_graph)
        if only_to_resume:
            (temporary / f"{name}{_ONLY_TO_RESUME}").touch()
        _move(temporary, prefix)


def copy(prefix: str, target: str) -> None:
    """Copy a checkpoint, in place of another one."""
    source, name = Path(prefix).name, Path(target).name
    with files.temporary_directory(target) as temporary:
        for path in files_of(prefix):
            shutil.copyfile(path, temporary / f"{name}{path.name[len(source) :]}")
        _move(temporary, target)


def _move(directory: Path, prefix: str) -> None:
    """Move the files of a checkpoint out of a temporary directory, in place of another one."""
    for path in directory.iterdir():
        files.flush(path)
    remove(prefix)
    for path in _index_last(directory.iterdir()):
        path.replace(Path(prefix).with_name(path.name))


def _index_last(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.suffix == ".index", path.name))


def remove(prefix: str) -> None:
    """Remove the files of a checkpoint."""
    for path in reversed(_index_last(files_of(prefix))):
        path.unlink()


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
    except READER_ERRORS as error:
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
    except READER_ERRORS as error:
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
        save_op = tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=placeholders,
        )
        session.run(save_op, dict(zip(placeholders, (values[name] for name in names))))


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

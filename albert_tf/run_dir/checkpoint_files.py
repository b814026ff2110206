"""Files of the checkpoints in a directory: search, completeness, saving, copies and removal.

A checkpoint is found by its own files, not by TensorFlow's file `checkpoint`, which may be lost,
garbled or from another directory. The index file comes last when a checkpoint is written or copied,
and goes first when it is removed, so one with an index file is complete.
"""

from __future__ import annotations

import functools
import math
import re
import shutil
from pathlib import Path
from typing import Iterable, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.io import files
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT

STATE_FILE = "checkpoint"
FILE_SUFFIX = r"\.(index|meta|data-\d{5}-of-\d{5})$"
# Errors of TensorFlow's reader on damaged files.
READER_ERRORS = (tf.errors.OpError, ValueError, TypeError, RuntimeError, IndexError)
_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
_ONLY_TO_RESUME = ".only-to-resume"  # suffix of the file that marks such a checkpoint
_ORPHAN = re.compile(rf"(model\.ckpt-\d+)({re.escape(_ONLY_TO_RESUME)}|\.meta|\.data-.+)$")
# Temporary files of TensorFlow, `save` and `keep_as_best`.
_UNFINISHED = re.compile(r"(checkpoint|graph\.pbtxt|model\.ckpt-.+)(\.tmp|_temp|\.tempstate)[^.]*$")


def step_of(prefix: str) -> int | None:
    """Step in the name of a checkpoint: 300 for `model.ckpt-300`; None if it has none."""
    match = re.search(r"model\.ckpt-(\d+)$", prefix)
    return int(match.group(1)) if match else None


def digest(prefix: str) -> str:
    """Digest of a checkpoint: that of its index file, which holds the tensors' checksums."""
    return files.digest(f"{prefix}.index")


def problem(prefix: str) -> str | None:
    """Reason why a checkpoint cannot be read: missing or cut files; None if it is complete.

    The data themselves are not read: a session verifies their checksums when it restores them.
    """
    if not Path(f"{prefix}.index").is_file():
        return f"{prefix}.index is missing"
    shards = sorted(p for p in _files_of(prefix, ".data-*") if _SHARD.search(p.name))
    if not shards:
        return f"{prefix}.data-* is missing"
    if len(shards) != int(shards[0].name.rpartition("-")[2]):
        return f"some of {prefix}.data-* are missing"
    try:
        reader = tf.train.load_checkpoint(prefix)
        types, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
    except READER_ERRORS as error:
        return f"{prefix}.index cannot be read ({(str(error).splitlines() or [''])[0]})"
    size = sum(math.prod(shape) * types[name].size for name, shape in shapes.items())
    if sum(path.stat().st_size for path in shards) < size:
        return f"{prefix}.data-* has been cut"
    return None


def saved_checkpoints(directory: str) -> list[str]:
    """Prefixes of a training run's complete checkpoints, by step; the log names incomplete ones."""
    incomplete = incomplete_checkpoints(directory)
    for prefix, reason in incomplete.items():
        _warn_once(f"{prefix}: the checkpoint is incomplete and not used: {reason}")
    return [prefix for prefix in _trained_checkpoints(directory) if prefix not in incomplete]


def incomplete_checkpoints(directory: str) -> dict[str, str]:
    """Reasons why checkpoints of a training run cannot be read, by prefix and in order of steps."""
    reasons = {prefix: problem(prefix) for prefix in _trained_checkpoints(directory)}
    return {prefix: reason for prefix, reason in reasons.items() if reason}


def _trained_checkpoints(directory: str) -> list[str]:
    steps = {step_of(path.name[: -len(".index")]) for path in _matching(directory, "*.index")}
    return [
        str(Path(directory) / f"model.ckpt-{step}")
        for step in sorted(s for s in steps if s is not None)
    ]


@functools.lru_cache(maxsize=None)
def _warn_once(message: str) -> None:
    logging.warning("%s", message)


def _matching(directory: str, pattern: str) -> list[Path]:
    return list(Path(directory).glob(f"model.ckpt-{pattern}"))


def _files_of(prefix: str, suffix: str = ".*") -> list[Path]:
    """Files of a checkpoint."""
    name = Path(prefix).name
    return [path for path in Path(prefix).parent.glob(name + suffix) if ".tmp" not in path.name]


def is_only_to_resume(prefix: str) -> bool:
    """Whether training was interrupted at a checkpoint, so that it is not to be evaluated."""
    return step_of(prefix) == 0 or Path(prefix + _ONLY_TO_RESUME).exists()


def count_as_saved(prefix: str) -> None:
    """Make a checkpoint that was saved only to resume an ordinary one."""
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
      only_to_resume: whether training is interrupted at this step.
    """
    target = Path(prefix)
    temporary = target.with_name(f"{target.name}_temp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        saver.save(session, str(temporary / target.name), write_meta_graph=False, write_state=False)
        (temporary / f"{target.name}.meta").write_bytes(meta_graph)
        if only_to_resume:
            (temporary / f"{target.name}{_ONLY_TO_RESUME}").touch()
        remove(prefix)
        for path in _index_last(temporary.iterdir()):
            path.replace(target.with_name(path.name))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def add_missing_meta_graphs(directory: str, meta_graph: bytes) -> None:
    """Write the missing `.meta` files of a training run's checkpoints."""
    for index in _matching(directory, "*.index"):
        path = index.with_suffix(".meta")
        if not path.exists():
            with files.atomic_file(path) as temporary:
                temporary.write_bytes(meta_graph)


def _index_last(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.suffix == ".index", path.name))


def remove(prefix: str) -> None:
    """Remove the files of a checkpoint."""
    for path in reversed(_index_last(_files_of(prefix))):
        path.unlink()


def keep_as_best(prefix: str) -> None:
    """Copy a checkpoint to `model.ckpt-best` in the same directory."""
    source = Path(prefix)
    best = source.with_name(BEST_CHECKPOINT)
    remove(str(best))
    for path in _index_last(_files_of(prefix)):
        target = best.with_name(BEST_CHECKPOINT + path.name[len(source.name) :])
        temporary = target.with_name(f"{target.name}.tmp")
        shutil.copyfile(path, temporary)
        temporary.replace(target)


def remove_unfinished(directory: str) -> None:
    """Remove the half-written files of a killed training run from its directory."""
    for path in Path(directory).iterdir() if Path(directory).is_dir() else ():
        orphan = _ORPHAN.match(path.name)
        is_orphan = orphan and not path.with_name(f"{orphan.group(1)}.index").exists()
        if is_orphan or _UNFINISHED.match(path.name):
            logging.info("%s: removed, left half-written by a killed run", path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def write_state(directory: str, prefixes: Sequence[str]) -> None:
    """Write TensorFlow's file `checkpoint`, which names the checkpoints, oldest first."""
    files.write_text(Path(directory) / STATE_FILE, _state_text(prefixes))


def _state_text(prefixes: Sequence[str]) -> str:
    names = [Path(prefix).name for prefix in prefixes]
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    return "\n".join(lines) + "\n"


def correct_state(directory: str, prefixes: Sequence[str]) -> None:
    """Make the file `checkpoint` name the latest of the given checkpoints, or remove it.

    Estimators resume from the checkpoint that it names.

    Args:
      directory: output directory of the run.
      prefixes: prefixes of the checkpoints in it, oldest first; may be empty.
    """
    path = Path(directory) / STATE_FILE
    named = _named_in_state(path)
    if named == (Path(prefixes[-1]).name if prefixes else None):
        return
    reason = f"names {named}" if named else "is missing or cannot be read"
    if prefixes:
        logging.warning("%s %s: resuming from %s", path, reason, prefixes[-1])
        write_state(directory, prefixes)
    else:
        logging.warning("%s %s, but this directory has no checkpoints: removing it", path, reason)
        path.unlink()


def _named_in_state(path: Path) -> str | None:
    """Latest checkpoint in a file `checkpoint`: file name, or path if it is elsewhere.

    Empty if TensorFlow cannot read the file; None if it and so the checkpoint do not exist.
    """
    if not path.exists():
        return None
    try:
        state = tf.train.get_checkpoint_state(str(path.parent))
    except READER_ERRORS:
        state = None
    if state is None:
        return ""
    named = Path(state.model_checkpoint_path)
    return named.name if named.parent.absolute() == path.parent.absolute() else str(named)

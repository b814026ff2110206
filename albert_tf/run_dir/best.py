"""The best checkpoint of an output directory, `model.ckpt-best`, and the record of its source.

`eval_results.json` records the checkpoint that `model.ckpt-best` is a copy of. The record is
written before the copy, so the copy can be made again if the run is killed in between, or if its
files are lost.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from absl import logging

from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoint_files
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT

RESULTS_FILE = "eval_results.json"
FORMAT = 1  # of the file


@dataclass(frozen=True)
class Source:
    """Checkpoint that `model.ckpt-best` is a copy of.

    Attributes:
      checkpoint: file name of its prefix; empty if there is no best checkpoint any more.
      digest: digest of the checkpoint.
    """

    checkpoint: str
    digest: str

    def as_json(self) -> dict[str, str]:
        """JSON value for the results."""
        return asdict(self)


NO_BEST = Source("", "")  # the training that made `model.ckpt-best` has been started over


def read_results(directory: str) -> Any:
    """Read the results of a run.

    Returns:
      The JSON value; None if the file does not exist, or is not JSON with valid text.
    """
    try:
        results = json.loads(files.contents(Path(directory) / RESULTS_FILE))
        json.dumps(results, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
        return results
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def source_in(results: Any) -> Source | None:
    """Source of `model.ckpt-best` in the results of a run, or None if they do not tell."""
    try:
        source = Source(**results[BEST_CHECKPOINT])
    except (KeyError, TypeError):
        return None
    return source if isinstance(source.checkpoint, str) else None


def best_checkpoint(directory: str) -> str | None:
    """Prefix of the best checkpoint in a directory, or None.

    That is `model.ckpt-best`, or the checkpoint it was copied from if the copy is not intact.

    Raises:
      InputError: if both are lost, or `model.ckpt-best` is another checkpoint than the results say.
    """
    prefix = str(Path(directory) / BEST_CHECKPOINT)
    source = source_in(read_results(directory))
    if source is None:
        if not Path(f"{prefix}.index").exists():
            return None
        reason = checkpoint_files.problem(prefix)
        if reason:
            raise InputError(
                f"{prefix}: the checkpoint is incomplete: {reason}; copy it again, or remove "
                f"{prefix}.* to use the latest checkpoint"
            )
        return prefix
    if source == NO_BEST:
        return None
    origin = str(Path(directory) / source.checkpoint)
    for candidate in (prefix, origin):
        if is_intact(candidate, source):
            return candidate
    reason = checkpoint_files.problem(prefix) or f"it is not a copy of {source.checkpoint}"
    raise InputError(
        f"{prefix}: the best checkpoint is lost: {reason}, and {origin}, which it was copied from, "
        f"is gone or has changed; bring {prefix}.* back, or remove {directory}/{RESULTS_FILE} and "
        "train again to choose among the checkpoints that are left"
    )


def is_intact(prefix: str, source: Source) -> bool:
    """Whether a checkpoint is complete and has the content of a source."""
    return (
        checkpoint_files.problem(prefix) is None
        and checkpoint_files.digest(prefix) == source.digest
    )


def restore(directory: str, is_expected: bool = False) -> None:
    """Copy the best checkpoint to `model.ckpt-best`, if the copy is not intact.

    Args:
      directory: output directory of the run.
      is_expected: whether the best checkpoint has just changed, so that the log need not tell.

    Raises:
      InputError: see `best_checkpoint`.
    """
    found = best_checkpoint(directory)
    if found and Path(found).name != BEST_CHECKPOINT:
        checkpoint_files.keep_as_best(found)
        if not is_expected:
            logging.warning("%s: made again from %s", Path(directory) / BEST_CHECKPOINT, found)

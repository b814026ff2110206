"""Everything in an output directory: lock, resume point, checkpoints, the best, evaluations, log.

Checkpoints are found by their own files, not by TensorFlow's file `checkpoint`, which may be lost,
garbled or from another directory.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
from pathlib import Path
from typing import Iterator

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.io import files, locks
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints, evaluations, model_folder
from albert_tf.run_dir.checkpoints import step_of
from albert_tf.run_dir.evaluations import Evaluations, Outcome
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT

_LOCK_FILE = "run.lock"
_STATE_FILE = "checkpoint"  # by which an Estimator resumes
_ORPHAN = re.compile(r"(model\.ckpt-\w+)\.(only-to-resume|meta|data-.+)")


class RunDir:
    """An output directory. No other module joins a path to it.

    Attributes:
      path: path of the directory.
    """

    def __init__(self, path: str | Path):
        """Name the directory, which need not exist."""
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @contextlib.contextmanager
    def only_run(self) -> Iterator[None]:
        """Hold the lock of the directory in the block.

        A directory that cannot be written needs none: nothing changes in it.

        Raises:
          InputError: if another run holds the lock, or there is a pipe in the directory.
        """
        for path in self.path.glob("*"):
            files.check_no_pipe(path)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self.path.mkdir(parents=True, exist_ok=True)
                lock = self.path / _LOCK_FILE
                remedy = "give another --output_dir"
                stack.enter_context(locks.only_run(lock, self.path, remedy))
            yield

    def remove_unfinished(self) -> None:
        """Remove the half-written files of killed runs; call this while holding the lock."""
        inside = [*self.path.glob("*"), *self.path.glob("evaluations/*")]
        for path in inside:
            orphan = _ORPHAN.fullmatch(path.name)
            is_orphan = orphan and not path.with_name(f"{orphan[1]}.index").exists()
            if is_orphan or files.is_temporary(path.name):
                logging.info("%s: removed, left half-written by a killed run", path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def file(self, name: str) -> str:
        """Path of a file of records or predictions."""
        return str(self.path / name)

    def below(self, name: str) -> RunDir:
        """Directory for the predictions of a data file, which has the given name."""
        return RunDir(self.path / "predictions" / name)

    @property
    def best_prefix(self) -> str:
        """Prefix of the best checkpoint, whether or not it exists."""
        return str(self.path / BEST_CHECKPOINT)

    def prefix(self, step: int) -> str:
        """Prefix of the checkpoint of a step, whether or not it exists."""
        return str(self.path / f"model.ckpt-{step}")

    def saved(self) -> list[str]:
        """Prefixes of the complete checkpoints of a training, by step; the log names the others."""
        reasons = self._problems()
        for prefix, reason in reasons.items():
            if reason:
                _warn_once(f"{prefix}: the checkpoint is incomplete and not used: {reason}")
        return [prefix for prefix, reason in reasons.items() if not reason]

    def _problems(self) -> dict[str, str | None]:
        """Reasons why checkpoints of a training cannot be read, by prefix, in order of steps."""
        names = (path.name[: -len(".index")] for path in self.path.glob("model.ckpt-*.index"))
        steps = sorted(step for step in map(step_of, names) if step is not None)
        return {prefix: checkpoints.problem(prefix) for prefix in map(self.prefix, steps)}

    @property
    def has_checkpoints(self) -> bool:
        """Whether there are checkpoints, complete or not."""
        return model_folder.has_checkpoints(self.path)

    def latest(self) -> str | None:
        """Prefix of the latest checkpoint of a training, from which it resumes; None if none."""
        return next(reversed(self.saved()), None)

    def resume_point(self) -> str | None:
        """Prefix of the checkpoint that training resumes from, or None.

        Raises:
          InputError: if there are checkpoints, but none that is complete.
        """
        found, reasons = self.latest(), self._problems()
        if reasons and not found:
            prefix, reason = reasons.popitem()
            raise InputError(
                f"{prefix}: the checkpoint is incomplete: {reason}; copy it again, or remove "
                f"{prefix}.* to start over"
            )
        return found

    def best(self) -> str | None:
        """Prefix of the best checkpoint, or None if there is none.

        That is `model.ckpt-best`, or the checkpoint that it is to be a copy of.

        Raises:
          InputError: if the best checkpoint is lost.
        """
        prefix, outcome = self.best_prefix, self._best_outcome()
        if outcome:
            return self._available(outcome)
        if not checkpoints.files_of(prefix):
            return None
        reason = _verified(prefix, _stamps(prefix))
        if reason:
            raise InputError(
                f"{prefix}: the checkpoint is incomplete: {reason}; copy it again, or remove "
                f"{prefix}.* to use the latest checkpoint"
            )
        return prefix

    def _available(self, outcome: Outcome) -> str:
        """Prefix of an evaluated checkpoint: `model.ckpt-best`, or the one it is a copy of.

        Raises:
          InputError: if it is lost.
        """
        prefix, source = self.best_prefix, str(self.path / outcome.checkpoint)
        for candidate in (prefix, source):
            if _is_intact(candidate, outcome.digest):
                return candidate
        reason = checkpoints.problem(prefix, reads_data=True)
        raise InputError(
            f"{prefix}: the best checkpoint is lost: "
            f"{reason or f'it is not a copy of {outcome.checkpoint}'}, and {source}, which it was "
            f"copied from, is gone or has changed; bring {prefix}.* back, or remove "
            f"{outcome.directory.parent} to choose among the checkpoints that are left"
        )

    def _best_outcome(self) -> Outcome | None:
        """Best outcome of this directory's checkpoints, on the inputs of the last results.

        None if all checkpoints have been removed, to start over.
        """
        if not self.has_checkpoints:
            return None
        outcomes = [
            outcome
            for outcome in evaluations.outcomes_in(self.path)
            if outcome.metrics and outcome.checkpoint == Path(outcome.checkpoint).name
        ]
        results = evaluations.read_results(self.path)
        latest = results.text("inputs") if results else None
        of_latest = [outcome for outcome in outcomes if outcome.inputs == latest]
        return evaluations.best_of(of_latest or outcomes)

    def for_prediction(self) -> str | None:
        """Prefix of the checkpoint to predict with: the best, or else the latest; None if none.

        Raises:
          InputError: if the best is lost, or no checkpoint is complete.
        """
        return self.best() or self.resume_point()

    def keep_best(self, outcome: Outcome | None) -> None:
        """Make `model.ckpt-best` a copy of an evaluated checkpoint, unless it is one already.

        Raises:
          InputError: if the best checkpoint is lost.
        """
        if outcome and outcome.metrics:
            source = self._available(outcome)
            if source != self.best_prefix:
                checkpoints.copy(source, self.best_prefix)

    def unjudged_best(self, results: Evaluations) -> str | None:
        """Prefix of `model.ckpt-best` if it is complete and nothing tells how good it is.

        So it is after its source has been removed and its evaluation with it, or on other inputs.
        """
        prefix = self.best_prefix
        if checkpoints.problem(prefix) or results.of(prefix):
            return None
        digest = checkpoints.digest(prefix)
        return None if digest in map(checkpoints.digest, self.saved()) else prefix

    def discard_other_training(self, last_step: int) -> None:
        """Remove the outcomes of a training that was started over, as its checkpoints are gone.

        These are of later steps, or of checkpoints that now have another content.

        Args:
          last_step: step from which training resumes.
        """
        others = []
        for outcome in evaluations.outcomes_in(self.path):
            prefix = str(self.path / outcome.checkpoint)
            if outcome.checkpoint == BEST_CHECKPOINT:
                is_own = _is_intact(prefix, outcome.digest)
            else:
                is_own = 0 <= outcome.order <= last_step and not _has_changed(outcome, prefix)
            if not is_own:
                others.append(outcome)
        if others:
            names = ", ".join(sorted({outcome.checkpoint for outcome in others}))
            logging.info(
                "%s: discarding results of an earlier run whose checkpoints no longer exist: %s",
                self.path / evaluations.RESULTS_FILE,
                names,
            )
            evaluations.remove(others)

    def tidy(self, most: int, results: Evaluations | None) -> None:
        """Remove old checkpoints. None is removed before it has been evaluated.

        Args:
          most: number of recent checkpoints to keep; 0 keeps all.
          results: outcomes of the checkpoints; None if the run evaluates none.
        """
        saved = self.saved()
        regular = [c for c in saved if not checkpoints.is_only_to_resume(c)]
        old = [c for c in saved[:-1] if checkpoints.is_only_to_resume(c)]
        for checkpoint in regular[:-most] if most else ():
            if not results or results.has(checkpoint):
                old.append(checkpoint)
        if old:
            self.write_state([c for c in saved if c not in old])
        for checkpoint in old:
            checkpoints.remove(checkpoint)

    def write_state(self, saved: list[str]) -> None:
        """Write the file by which an Estimator resumes; without checkpoints, remove it.

        Args:
          saved: prefixes of the complete checkpoints, by step.
        """
        path, names = self.path / _STATE_FILE, [Path(prefix).name for prefix in saved]
        if not names:
            path.unlink(missing_ok=True)
            return
        lines = [f'model_checkpoint_path: "{names[-1]}"']
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        files.update(path, ("\n".join(lines) + "\n").encode())

    def write_graph(self, definition: tf.GraphDef, meta_graph: bytes) -> None:
        """Write `graph.pbtxt`, and the `.meta` files that checkpoints lack."""
        # `str` is 20 times as fast as `tf.io.write_graph`, which prints field by field in Python.
        files.write_text(self.path / "graph.pbtxt", str(definition))
        for index in self.path.glob("model.ckpt-*.index"):
            path = index.with_suffix(".meta")
            if not path.exists():
                with files.atomic_file(path) as temporary:
                    temporary.write_bytes(meta_graph)


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
        directory = RunDir(path)
        found = directory.best() or directory.latest() or _named_checkpoint(path)
        if not found:
            raise InputError(f"{path}: no checkpoint in this directory; correct the path")
        path = found
    prefix = re.sub(checkpoints.FILE_SUFFIX, "", path)
    if not Path(f"{prefix}.index").exists():
        near = sorted(str(p)[: -len(".index")] for p in Path(path).parent.glob("*.index"))
        hint = f"the directory has {', '.join(near)}" if near else "correct the path"
        raise InputError(f"{path}: no checkpoint found ({prefix}.index is missing); {hint}")
    reason = checkpoints.problem(prefix)
    if reason:
        raise InputError(f"{prefix}: the checkpoint is incomplete: {reason}; copy it again")
    return prefix


def _named_checkpoint(directory: str) -> str | None:
    """Checkpoint of another program, which only the file `checkpoint` in its directory names."""
    try:
        return tf.train.latest_checkpoint(directory)
    except checkpoints.READER_ERRORS:
        return None


def _is_intact(prefix: str, digest: str) -> bool:
    """Whether a checkpoint is whole, with the right checksums, and has a digest."""
    if not Path(f"{prefix}.index").is_file() or checkpoints.digest(prefix) != digest:
        return False
    return _verified(prefix, _stamps(prefix)) is None


def _stamps(prefix: str) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a checkpoint's files, by which a change shows."""
    paths = sorted(checkpoints.files_of(prefix))
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


@functools.lru_cache(maxsize=None)
def _verified(prefix: str, stamps: tuple[tuple[str, int, int], ...]) -> str | None:
    """`checkpoints.problem` of all data, once for each state of the files."""
    return checkpoints.problem(prefix, reads_data=True)


def _has_changed(outcome: Outcome, prefix: str) -> bool:
    """Whether a checkpoint has another content than when it was evaluated."""
    return checkpoints.problem(prefix) is None and checkpoints.digest(prefix) != outcome.digest


@functools.lru_cache(maxsize=None)
def _warn_once(message: str) -> None:
    logging.warning("%s", message)

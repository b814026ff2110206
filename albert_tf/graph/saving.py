"""Session hook that saves the checkpoints of training, in place of TensorFlow's own.

TensorFlow's hook removes old checkpoints by itself, whether or not they have been evaluated.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.devices import distributed
from albert_tf.io import files
from albert_tf.run_dir import checkpoint_files

# From the prefix of the checkpoint and whether it may be evaluated now to whether to stop training.
OnSaved = Callable[[str, bool], bool]


class SavingHook(tf.train.SessionRunHook):
    """Session hook that saves a checkpoint every few steps and at the end of training.

    Rank 0 saves; all processes have the hook, as they evaluate the checkpoints together. A
    checkpoint at which training is interrupted, between two regular ones, is saved only to resume.
    """

    def __init__(
        self,
        saver: tf.train.Saver,
        directory: str,
        save_steps: int,
        num_train_steps: int,
        on_saved: OnSaved | None = None,
        leave_out: Callable[[float], None] | None = None,
    ):
        """Make the hook.

        Args:
          saver: saver of the training graph.
          directory: output directory of the process.
          save_steps: number of steps between regular checkpoints.
          num_train_steps: global step at which training ends.
          on_saved: function to call in all processes after each regular checkpoint. It may evaluate
            the checkpoint, unless training is about to end, and returns whether to end training.
          leave_out: function to call with the seconds that this took.
        """
        self._saver = saver
        self._directory = Path(directory)
        self._save_steps = save_steps
        self._num_train_steps = num_train_steps
        self._on_saved = on_saved
        self._leave_out = leave_out

    def begin(self) -> None:
        self._global_step = tf.train.get_global_step()

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._saved_step = session.run(self._global_step)
        if not distributed.is_chief():
            return
        graph = session.graph
        definition = graph.as_graph_def(add_shapes=True)
        # `str` is 20 times as fast as `tf.io.write_graph`, which prints field by field in Python.
        with files.atomic_file(self._directory / "graph.pbtxt") as temporary:
            temporary.write_text(str(definition), encoding="utf-8")
        tf.summary.FileWriterCache.get(str(self._directory)).add_graph(graph)
        meta_graph = tf.train.export_meta_graph(
            graph_def=definition, saver_def=self._saver.saver_def
        )
        self._meta_graph = meta_graph.SerializeToString()
        checkpoint_files.add_missing_meta_graphs(str(self._directory), self._meta_graph)

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        step = run_context.session.run(self._global_step)
        if step == self._saved_step or not self._is_regular(step):
            return
        start = time.time()
        if self._save(run_context.session, step, may_evaluate=not run_context.stop_requested):
            run_context.request_stop()
        if self._leave_out:
            self._leave_out(time.time() - start)

    def end(self, session: tf.Session) -> None:
        step = session.run(self._global_step)
        if step != self._saved_step:
            self._save(session, step, may_evaluate=False)

    def _is_regular(self, step: int) -> bool:
        return step % self._save_steps == 0 or step >= self._num_train_steps

    def _save(self, session: tf.Session, step: int, may_evaluate: bool) -> bool:
        """Save a checkpoint, and return whether to end training."""
        self._saved_step = step
        prefix = str(self._directory / f"model.ckpt-{step}")
        only_to_resume = not self._is_regular(step)
        if distributed.is_chief():
            start = time.time()
            checkpoint_files.save(session, self._saver, self._meta_graph, prefix, only_to_resume)
            saved = checkpoint_files.saved_checkpoints(str(self._directory))
            checkpoint_files.write_state(str(self._directory), saved)
            logging.info("%s: saved in %.1f s", prefix, time.time() - start)
        if only_to_resume or not self._on_saved:
            return False
        return self._on_saved(prefix, may_evaluate)

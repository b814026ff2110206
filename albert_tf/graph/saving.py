"""Session hook that saves the checkpoints of training, in place of TensorFlow's own.

TensorFlow's hook removes old checkpoints by itself, whether or not they have been evaluated.
"""

from __future__ import annotations

import time
from typing import Callable

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.devices import distributed
from albert_tf.run_dir import checkpoints
from albert_tf.run_dir.run_dir import RunDir

# From the prefix of the checkpoint and whether it may be evaluated now to whether to stop training.
OnSaved = Callable[[str, bool], bool]


class SavingHook(tf.train.SessionRunHook):
    """Session hook that saves checkpoints by steps and by time, and at the end of training.

    Rank 0 saves; all processes have the hook, as they evaluate the checkpoints together. What is
    saved between two regular steps, by time or because training is interrupted, is only there to
    resume from.
    """

    def __init__(
        self,
        saver: tf.train.Saver,
        run_dir: RunDir,
        save_steps: int,
        save_seconds: float,
        num_train_steps: int,
        on_saved: OnSaved | None = None,
        leave_out: Callable[[float], None] | None = None,
    ):
        """Make the hook.

        Args:
          saver: saver of all variables.
          run_dir: directory of the checkpoints.
          save_steps: number of steps between checkpoints.
          save_seconds: longest time without a checkpoint, in seconds; 0 for any.
          num_train_steps: global step at which training ends.
          on_saved: function that gets the prefix of each regular checkpoint, and whether there is
            time to evaluate it, unless training is about to end, and returns whether to end
            training.
          leave_out: function to call with the seconds that this took.
        """
        self._saver = saver
        self._run_dir = run_dir
        self._save_steps = save_steps
        self._save_seconds = save_seconds
        self._num_train_steps = num_train_steps
        self._on_saved = on_saved
        self._leave_out = leave_out

    def begin(self) -> None:
        self._global_step = tf.train.get_global_step()

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._saved_step = session.run(self._global_step)
        self._saved_at = time.monotonic()
        if not distributed.is_chief():
            return
        graph = session.graph
        definition = graph.as_graph_def(add_shapes=True)
        meta_graph = tf.train.export_meta_graph(
            graph_def=definition, saver_def=self._saver.saver_def
        )
        self._meta_graph = meta_graph.SerializeToString()
        self._run_dir.write_graph(definition, self._meta_graph)
        tf.summary.FileWriterCache.get(str(self._run_dir)).add_graph(graph)

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        step = run_context.session.run(self._global_step)
        if step == self._saved_step or not (self._is_regular(step) or self._is_overdue()):
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

    def _is_overdue(self) -> bool:
        return 0 < self._save_seconds <= time.monotonic() - self._saved_at

    def _save(self, session: tf.Session, step: int, may_evaluate: bool) -> bool:
        """Save a checkpoint, and return whether to end training."""
        self._saved_step, self._saved_at = step, time.monotonic()
        prefix = self._run_dir.prefix(step)
        only_to_resume = not self._is_regular(step)
        if distributed.is_chief():
            start = time.time()
            checkpoints.save(session, self._saver, self._meta_graph, prefix, only_to_resume)
            self._run_dir.write_state(self._run_dir.saved())
            logging.info("%s: saved in %.1f s", prefix, time.time() - start)
            if only_to_resume:
                self._run_dir.tidy(0, None)  # of earlier ones like it
        if only_to_resume or not self._on_saved:
            return False
        return self._on_saved(prefix, may_evaluate)

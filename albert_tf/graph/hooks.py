"""Session hooks of training: progress in the log and TensorBoard, checkpoints, stops."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Callable

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging
from tqdm import tqdm

from albert_tf.cli import signals
from albert_tf.cli.progress import ReportTimer, Throughput
from albert_tf.cli.signals import SIGNALS
from albert_tf.devices import distributed, reductions
from albert_tf.run_dir import checkpoints, events
from albert_tf.run_dir.run_dir import RunDir

# From the prefix of a checkpoint, and whether it may be evaluated now, to whether to stop training.
OnSaved = Callable[[str, bool], bool]


@dataclass(eq=False)
class ProgressHook(tf.train.SessionRunHook):
    """Session hook that logs loss, learning rate, throughput and remaining time.

    The log gets a line after the first step, after 10 s, then at growing intervals of up to a
    minute, and after the last step. Padding does not count as tokens. The first step includes
    building the graph and is left out of the throughput. A terminal also gets a progress bar.
    TensorBoard gets the values every `summary_steps` steps.

    Attributes:
      loss: scalar float tensor.
      learning_rate: scalar float tensor.
      num_tokens: scalar tensor, number of tokens in a session run, over all devices; padding does
        not count.
      num_train_steps: global step at which training ends.
      examples_per_step: number of examples in a step, over all devices.
      summary_dir: directory of the TensorBoard events; None for none.
      summary_steps: number of steps between events.
      runs_per_step: number of session runs (micro-batches) in a step.
    """

    loss: tf.Tensor
    learning_rate: tf.Tensor
    num_tokens: tf.Tensor
    num_train_steps: int
    examples_per_step: int
    summary_dir: str | None = None
    summary_steps: int = 100
    runs_per_step: int = 1

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._step = int(session.run(tf.train.get_global_step(session.graph)))
        self._first_step_start = time.time()
        self._losses: list[float] = []  # of the micro-batches of this step
        self._tokens_so_far = 0.0
        self._bar: tqdm | None = None  # after the first step

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs:
        return tf.train.SessionRunArgs([self.loss, self.learning_rate, self.num_tokens])

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        loss, learning_rate, num_tokens = run_values.results
        self._tokens_so_far += num_tokens
        self._losses.append(loss)
        if len(self._losses) < self.runs_per_step:
            return
        loss = sum(self._losses) / self.runs_per_step
        self._losses = []
        now = time.time()
        self._step += 1
        if self._bar is None:
            self._bar = self._start_measuring(loss, learning_rate, now)
            return
        self._bar.update()
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        if self._timer.is_due(now) or self._step == self.num_train_steps:
            self._report(loss, learning_rate, now)
        if self.summary_dir and self._step % self.summary_steps == 0:
            self._summarize(self.summary_dir, loss, learning_rate, now)

    def end(self, session: tf.Session) -> None:
        if self._bar is not None:
            self._bar.close()

    def leave_out(self, seconds: float) -> None:
        """Leave a pause of training out of the throughput."""
        if self._bar is not None:
            self._throughput.leave_out(seconds)
            self._summary_throughput.leave_out(seconds)

    def _counts(self) -> np.ndarray:
        """Steps, examples and tokens so far."""
        return np.array([self._step, self._step * self.examples_per_step, self._tokens_so_far])

    def _start_measuring(self, loss: float, learning_rate: float, now: float) -> tqdm:
        """Log the first step, and return the progress bar for the others."""
        self._throughput = Throughput(self._counts(), now)
        self._summary_throughput = Throughput(self._counts(), now)
        self._timer = ReportTimer(now)
        logging.info(
            "step %d of %d: loss %.4f, learning rate %.3g; the first step took %.1f s",
            self._step,
            self.num_train_steps,
            loss,
            learning_rate,
            now - self._first_step_start,
        )
        return tqdm(initial=self._step, total=self.num_train_steps, unit="step", disable=None)

    def _report(self, loss: float, learning_rate: float, now: float) -> None:
        steps, *over_the_run = self._throughput.since_start(self._counts(), now)
        _, *since_last = self._throughput.since_last(self._counts(), now)
        remaining_seconds = round((self.num_train_steps - self._step) / steps)
        logging.info(
            "step %d of %d: loss %.4f, learning rate %.3g; %.1f examples/s with %.0f tokens/s, "
            "%.1f with %.0f over the run%s",
            self._step,
            self.num_train_steps,
            loss,
            learning_rate,
            *since_last,
            *over_the_run,
            f"; {timedelta(seconds=remaining_seconds)} remaining" if remaining_seconds else "",
        )
        self._timer.restart(now)

    def _summarize(self, summary_dir: str, loss: float, learning_rate: float, now: float) -> None:
        _, examples, tokens = self._summary_throughput.since_last(self._counts(), now)
        events.write_scalars(
            summary_dir,
            self._step,
            {
                "train/loss": loss,
                "train/learning_rate": learning_rate,
                "train/examples_per_second": examples,
                "train/tokens_per_second": tokens,
            },
        )


@dataclass(eq=False)
class SavingHook(tf.train.SessionRunHook):
    """Session hook that saves checkpoints by steps and by time, and at the end of training.

    Rank 0 saves; all processes have the hook, as they evaluate the checkpoints together. What is
    saved between two regular steps, by time or because training is interrupted, is only there to
    resume from. TensorFlow's own hook removes old checkpoints, whether or not they have been
    evaluated.

    Attributes:
      saver: saver of all variables.
      run_dir: directory of the checkpoints.
      save_steps: number of steps between checkpoints.
      save_seconds: longest time without a checkpoint, in seconds; 0 for any.
      num_train_steps: global step at which training ends.
      on_saved: function that gets the prefix of each regular checkpoint, and whether there is time
        to evaluate it, unless training is about to end, and returns whether to end training.
      leave_out: function to call with the seconds that this took.
    """

    saver: tf.train.Saver
    run_dir: RunDir
    save_steps: int
    save_seconds: float
    num_train_steps: int
    on_saved: OnSaved
    leave_out: Callable[[float], None]

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._global_step = tf.train.get_global_step(session.graph)
        self._saved_step = session.run(self._global_step)
        self._saved_at = time.monotonic()
        if not distributed.is_chief():
            return
        graph = session.graph
        definition = graph.as_graph_def(add_shapes=True)
        meta_graph = tf.train.export_meta_graph(
            graph_def=definition, saver_def=self.saver.saver_def
        )
        self._meta_graph = meta_graph.SerializeToString()
        self.run_dir.write_graph(definition, self._meta_graph)
        tf.summary.FileWriterCache.get(str(self.run_dir)).add_graph(graph)

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        step = run_context.session.run(self._global_step)
        seconds = time.monotonic() - self._saved_at
        is_overdue = 0 < self.save_seconds <= seconds
        if step == self._saved_step or not (self._is_regular(step) or is_overdue):
            return
        start = time.time()
        if self._save(run_context.session, step, may_evaluate=not run_context.stop_requested):
            run_context.request_stop()
        self.leave_out(time.time() - start)

    def end(self, session: tf.Session) -> None:
        step = session.run(self._global_step)
        if step != self._saved_step:
            self._save(session, step, may_evaluate=False)

    def _is_regular(self, step: int) -> bool:
        return step % self.save_steps == 0 or step >= self.num_train_steps

    def _save(self, session: tf.Session, step: int, may_evaluate: bool) -> bool:
        """Save a checkpoint, and return whether to end training."""
        self._saved_step, self._saved_at = step, time.monotonic()
        prefix = self.run_dir.prefix(step)
        only_to_resume = not self._is_regular(step)
        if distributed.is_chief():
            start = time.time()
            checkpoints.save(session, self.saver, self._meta_graph, prefix, only_to_resume)
            self.run_dir.write_state(self.run_dir.saved())
            logging.info("%s: saved in %.1f s", prefix, time.time() - start)
            if only_to_resume:
                self.run_dir.tidy(0, None)  # of earlier ones like it
        return not only_to_resume and self.on_saved(prefix, may_evaluate)


@dataclass(eq=False)
class StopHook(tf.train.SessionRunHook):
    """Session hook that ends training after the step in which a signal arrives.

    All processes end after the same step, whichever of them the signal reaches, and whenever: each
    step also averages over the processes whether there has been a signal. In a run of one process
    nothing is added to the graph. Use it inside `signals.deferred`.

    Attributes:
      runs_per_step: number of session runs (micro-batches) in a step.
      signal: number of the signal that has ended training; None if there was none.
    """

    runs_per_step: int = 1
    signal: int | None = None

    def begin(self) -> None:
        self._runs = 0
        self._shares = None
        if distributed.size() > 1:
            self._own = tf.placeholder(tf.float32, [len(SIGNALS)], "stop_signals")
            (self._shares,) = reductions.average([self._own], "stop_signals")

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs | None:
        self._runs += 1
        if self._shares is None or self._runs % self.runs_per_step:
            return None
        received = [float(signals.requested() == number) for number in SIGNALS]
        return tf.train.SessionRunArgs(self._shares, {self._own: received})

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        if self._runs % self.runs_per_step:
            return
        if self._shares is None:
            self.signal = signals.requested()
        else:
            for number, share in zip(SIGNALS, run_values.results):
                self.signal = number if share > 0 else self.signal
        if self.signal is not None:
            run_context.request_stop()

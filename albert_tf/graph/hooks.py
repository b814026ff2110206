"""Session hooks of training: progress in the log and TensorBoard, and stops by signals."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging
from tqdm import tqdm

from albert_tf.cli import signals
from albert_tf.cli.progress import ReportTimer, Throughput
from albert_tf.cli.signals import SIGNALS
from albert_tf.devices import distributed, reductions
from albert_tf.run_dir import events


class ProgressHook(tf.train.SessionRunHook):
    """Session hook that logs loss, learning rate, throughput and remaining time.

    The log gets a line after the first step, after 10 s, then at growing intervals of up to a
    minute, and after the last step. Padding does not count as tokens. The first step includes
    building the graph and is left out of the throughput. A terminal also gets a progress bar.
    TensorBoard gets the values every `summary_steps` steps.
    """

    def __init__(
        self,
        loss: tf.Tensor,
        learning_rate: tf.Tensor,
        num_tokens: tf.Tensor,
        num_train_steps: int,
        examples_per_step: int,
        summary_dir: str | None = None,
        summary_steps: int = 100,
        runs_per_step: int = 1,
    ):
        """Make the hook.

        Args:
          loss: scalar float tensor.
          learning_rate: scalar float tensor.
          num_tokens: scalar tensor, number of tokens in a session run, over all cards; padding does
            not count.
          num_train_steps: global step at which training ends.
          examples_per_step: number of examples in a step, over all cards.
          summary_dir: directory of the TensorBoard events; None for none.
          summary_steps: number of steps between events.
          runs_per_step: number of session runs (micro-batches) in a step.
        """
        self._tensors = [loss, learning_rate, num_tokens]
        self._num_train_steps = num_train_steps
        self._examples_per_step = examples_per_step
        self._summary_dir = summary_dir
        self._summary_steps = summary_steps
        self._runs_per_step = runs_per_step
        self._losses: list[float] = []  # of the micro-batches of this step
        self._num_tokens = 0.0  # since the start
        self._throughput: Throughput[np.ndarray] | None = None
        self._bar: tqdm | None = None

    def begin(self) -> None:
        self._global_step = tf.train.get_global_step()

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._step = int(session.run(self._global_step))
        self._first_step_start = time.time()

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs:
        return tf.train.SessionRunArgs(self._tensors)

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        loss, learning_rate, num_tokens = run_values.results
        self._num_tokens += num_tokens
        self._losses.append(loss)
        if len(self._losses) < self._runs_per_step:
            return
        loss = sum(self._losses) / self._runs_per_step
        self._losses = []
        now = time.time()
        self._step += 1
        if self._throughput is None:
            self._after_first_step(loss, learning_rate, now)
            return
        if self._bar:
            self._bar.update()
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        if self._timer.is_due(now) or self._step == self._num_train_steps:
            self._report(self._throughput, loss, learning_rate, now)
        if self._summary_dir and self._step % self._summary_steps == 0:
            self._summarize(self._summary_dir, loss, learning_rate, now)

    def end(self, session: tf.Session) -> None:
        if self._bar:
            self._bar.close()

    def leave_out(self, seconds: float) -> None:
        """Leave a pause of training out of the throughput."""
        if self._throughput:
            self._throughput.leave_out(seconds)
            self._summary_throughput.leave_out(seconds)

    def _counts(self) -> np.ndarray:
        """Steps, examples and tokens so far."""
        return np.array([self._step, self._step * self._examples_per_step, self._num_tokens])

    def _after_first_step(self, loss: float, learning_rate: float, now: float) -> None:
        self._throughput = Throughput(self._counts(), now)
        self._summary_throughput = Throughput(self._counts(), now)
        self._timer = ReportTimer(now)
        logging.info(
            "step %d of %d: loss %.4f, learning rate %.3g; the first step took %.1f s",
            self._step,
            self._num_train_steps,
            loss,
            learning_rate,
            now - self._first_step_start,
        )
        if sys.stderr.isatty():
            self._bar = tqdm(initial=self._step, total=self._num_train_steps, unit="step")

    def _report(
        self, throughput: Throughput[np.ndarray], loss: float, learning_rate: float, now: float
    ) -> None:
        steps, *over_the_run = throughput.since_start(self._counts(), now)
        _, *since_last = throughput.since_last(self._counts(), now)
        remaining_seconds = round((self._num_train_steps - self._step) / steps)
        logging.info(
            "step %d of %d: loss %.4f, learning rate %.3g; %.1f examples/s with %.0f tokens/s, "
            "%.1f with %.0f over the run%s",
            self._step,
            self._num_train_steps,
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


class StopHook(tf.train.SessionRunHook):
    """Session hook that ends training after the step in which a signal arrives.

    All processes end after the same step, whichever of them the signal reaches, and whenever: each
    step also averages over the processes whether there has been a signal. In a run of one process
    nothing is added to the graph. Use it inside `signals.deferred`.

    Attributes:
      signal: number of the signal that has ended training; None if there was none.
    """

    def __init__(self, runs_per_step: int = 1):
        """Make the hook.

        Args:
          runs_per_step: number of session runs (micro-batches) in a step.
        """
        self.signal: int | None = None
        self._runs_per_step = runs_per_step
        self._runs = 0

    def begin(self) -> None:
        self._shares = None
        if distributed.size() > 1:
            self._own = tf.placeholder(tf.float32, [len(SIGNALS)], "stop_signals")
            (self._shares,) = reductions.average([self._own], "stop_signals")

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs | None:
        self._runs += 1
        if self._shares is None or self._runs % self._runs_per_step:
            return None
        received = [float(signals.requested() == number) for number in SIGNALS]
        return tf.train.SessionRunArgs(self._shares, {self._own: received})

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        if self._runs % self._runs_per_step:
            return
        if self._shares is None:
            self.signal = signals.requested()
        else:
            for number, share in zip(SIGNALS, run_values.results):
                self.signal = number if share > 0 else self.signal
        if self.signal is not None:
            run_context.request_stop()

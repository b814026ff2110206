"""Checkpoints of training: by steps, by time, and at the end."""

from __future__ import annotations

import time

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.graph.hooks import SavingHook
from albert_tf.run_dir import checkpoints
from albert_tf.run_dir.run_dir import RunDir

pytestmark = pytest.mark.tensorflow


class Training:
    """A training of nothing but its steps.

    Attributes:
      run_dir: its directory.
      calls: steps of the checkpoints given to `on_saved`, each with whether it may be evaluated.
    """

    def __init__(self, directory, ends_at=None):
        self.run_dir = RunDir(directory)
        self.calls = []
        self._ends_at = ends_at

    def _on_saved(self, prefix, may_evaluate):
        step = checkpoints.step_of(prefix)
        assert checkpoints.problem(prefix) is None
        self.calls.append((step, may_evaluate))
        self.run_dir.tidy(0, None)  # as an evaluator does
        return step == self._ends_at

    def run(self, save_steps, num_steps, save_seconds=0.0, step_seconds=0.0, stop_after=None):
        """Train, with a checkpoint every `save_steps` steps and every `save_seconds` seconds.

        Args:
          save_steps: steps between checkpoints.
          num_steps: global step at which training ends.
          save_seconds: longest time without a checkpoint; 0 for any.
          step_seconds: time of a step.
          stop_after: number of steps after which training is interrupted, if it is.
        """
        left_out = []
        with tf.Graph().as_default():
            weights = tf.get_variable("weights", initializer=1.0)
            step = tf.train.get_or_create_global_step()
            train_op = tf.group(tf.assign_add(step, 1), tf.assign_add(weights, 0.5))
            saver = tf.train.Saver(sharded=True)
            hook = SavingHook(
                saver,
                self.run_dir,
                save_steps,
                save_seconds,
                num_steps,
                self._on_saved,
                left_out.append,
            )
            latest = self.run_dir.latest()
            scaffold = tf.train.Scaffold(saver=saver)
            with tf.train.SingularMonitoredSession(
                [tf.train.StopAtStepHook(last_step=num_steps), hook],  # as in an Estimator
                scaffold=scaffold,
                checkpoint_filename_with_path=latest,
            ) as session:
                while not session.should_stop():
                    session.run(train_op)
                    time.sleep(step_seconds)
                    stop_after = stop_after and stop_after - 1
                    if stop_after == 0:
                        break
        return left_out

    @property
    def saved(self):
        """Steps of the checkpoints, each with whether it is only there to resume from."""
        return {
            checkpoints.step_of(prefix): checkpoints.is_only_to_resume(prefix)
            for prefix in self.run_dir.saved()
        }


@pytest.fixture
def training(tmp_path):
    """A training in a new directory."""
    return Training(tmp_path)


def weights_at(training, step):
    return tf.train.load_variable(training.run_dir.prefix(step), "weights")


def test_checkpoints_by_steps_and_at_the_end(training):
    left_out = training.run(save_steps=4, num_steps=10)
    assert training.saved == {4: False, 8: False, 10: False}
    # After the last step training is about to end, and evaluation comes later.
    assert training.calls == [(4, True), (8, True), (10, False)]
    assert [weights_at(training, step) for step in (4, 8, 10)] == [3.0, 5.0, 6.0]
    assert len(left_out) == 3
    assert min(left_out) > 0
    assert tf.train.latest_checkpoint(str(training.run_dir)) == training.run_dir.prefix(10)
    assert all(training.run_dir.path.joinpath(f"model.ckpt-{n}.meta").exists() for n in (4, 8, 10))


def test_checkpoints_by_time_are_only_there_to_resume_from(training):
    """Each goes when the next is saved, and none is evaluated."""
    training.run(save_steps=100, num_steps=7, save_seconds=0.2, step_seconds=0.11)
    steps = list(training.saved)
    assert training.saved[7] is False
    assert training.calls == [(7, False)]
    assert len(steps) <= 2
    assert all(training.saved[step] for step in steps[:-1])


def test_the_last_checkpoint_by_time_outlives_a_kill(training):
    class KilledError(Exception):
        """End of the process."""

    def killed_at_step_6(prefix, may_evaluate):
        raise KilledError

    training._on_saved = killed_at_step_6
    with pytest.raises(KilledError):
        training.run(save_steps=6, num_steps=7, save_seconds=0.2, step_seconds=0.11)
    assert training.saved.pop(6) is False
    (step,) = [step for step, only_to_resume in training.saved.items() if only_to_resume]
    assert 2 <= step < 6
    assert weights_at(training, step) == 1 + step / 2


def test_no_time_means_steps_alone(training):
    training.run(save_steps=100, num_steps=3, step_seconds=0.05)
    assert training.saved == {3: False}


def test_an_interrupted_training_can_resume(training):
    training.run(save_steps=4, num_steps=10, stop_after=6)
    assert training.saved == {4: False, 6: True}
    assert training.calls == [(4, True)]
    training.run(save_steps=4, num_steps=10)
    assert training.saved == {4: False, 8: False, 10: False}
    assert training.calls == [(4, True), (8, True), (10, False)]
    assert weights_at(training, 10) == 6.0


def test_an_evaluation_can_end_training(tmp_path):
    training = Training(tmp_path, ends_at=8)
    training.run(save_steps=4, num_steps=20)
    assert training.calls == [(4, True), (8, True)]
    assert training.saved == {4: False, 8: False}

"""Dry run: all checks of a run, and a small run in a temporary directory that shows what it takes.

The small run is a run like any other, of a few steps on some of the examples. So it finds what
checks alone do not, such as a batch that is too large for the memory, and it leaves the files that
the run would leave, which are listed before they are removed.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import resource
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence, TypeVar

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.cli import signals
from albert_tf.devices import distributed
from albert_tf.graph.prediction import Predictor
from albert_tf.io import files
from albert_tf.run import checks, data_summary
from albert_tf.run.context import Setup
from albert_tf.run.plan import EXPORT, RESULTS, TFLITE, Measured, Plan
from albert_tf.run.shards import ExampleShard, FileShard, open_shard
from albert_tf.run_dir import checkpoint_files, checkpoints
from albert_tf.tasks.base import DataSet, RecordFiles, Task
from albert_tf.tasks.options import RunSettings

# Trains, evaluates and predicts with a predictor and further session hooks of training.
Work = Callable[[Setup, Predictor, Sequence[tf.train.SessionRunHook]], Any]

AnyDataSet = TypeVar("AnyDataSet", bound="DataSet | RecordFiles")

_MOST_STEPS = 6  # the first of which builds the graph, and is not counted
_MOST_TRAIN_EXAMPLES = 2000  # enough to tell how long they are
_PREDICTED_BATCHES = 8  # per process
_LEAST_PREDICTED = 100  # examples, for metrics that need some of each label
_BYTES_OF_RSS = 1024  # the unit of the system's figure


def run(task_class: type[Task], settings: RunSettings, work: Work) -> None:
    """Check all inputs, try the run on a small scale, and print what it would do.

    All processes must call this function. Nothing stays in the directories of the run.

    Args:
      task_class: class of the task.
      settings: settings of the run and the task.
      work: function that does the work of a run.

    Raises:
      InputError: all problems with the settings and with the files they name, or that another run
        is working in the output directory.
    """
    with files.without_new_directories():
        with checks.only_run(settings):
            setup = checks.check(task_class, settings)
            plan = _plan(setup, work)
            if distributed.is_chief():
                print("\n".join(plan.lines()))
        if distributed.is_chief():
            distributed.wait_for_all()  # the directories of the others are in this one's
    if not distributed.is_chief():
        distributed.wait_for_all()


def _plan(setup: Setup, work: Work) -> Plan:
    """Try the run, and plan it by what has been measured."""
    own: str | None = None
    directory = setup.output_dir
    if distributed.is_chief():
        own = checkpoints.own_checkpoint(directory, setup.settings.do_train)
    with files.temporary_directory(Path(directory) / "dry_run") as temporary:
        small = _small_setup(setup, str(temporary), own or setup.init_checkpoint)
        timer = _StepTimer(setup.settings.gradient_accumulation_steps)
        predictor = _TimedPredictor(small)
        with _errors_alone():
            conversion = [_seconds_to_prepare(shard) for shard in small.shards]
            try:
                work(small, predictor, [timer])
            except signals.Stopped as stop:  # which names a checkpoint that is about to go
                raise signals.Stopped(stop.signal) from None
            finally:
                tf.summary.FileWriterCache.clear()
        measured = Measured(
            steps=timer.seconds,
            conversion=conversion,
            prediction=[predictor.seconds.get(shard, 0.0) for shard in small.shards],
            samples=[shard.num_examples for shard in small.shards],
            num_records=[sum(distributed.gather(_num_records(shard))) for shard in small.shards],
            summaries=data_summary.summaries(small),
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_OF_RSS,
            sizes=_sizes(temporary, small),
        )
    start_step = checkpoint_files.step_of(own) or 0 if own and setup.settings.do_train else 0
    return Plan(setup, own or setup.init_checkpoint, start_step, measured)


@contextlib.contextmanager
def _errors_alone() -> Iterator[None]:
    """Log nothing but errors in the block: its lines and warnings are about the small run."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _small_setup(setup: Setup, directory: str, checkpoint: str | None) -> Setup:
    """Setup of a small run.

    Args:
      setup: setup of the run.
      directory: output directory of the small run.
      checkpoint: prefix of the checkpoint to start from; only rank 0 reads it.
    """
    settings, steps = setup.settings, min(_MOST_STEPS, setup.schedule.steps)
    results_dir = directory
    if setup.results_dir != settings.output_dir:
        results_dir = str(Path(directory) / RESULTS)
        Path(results_dir).mkdir()
    settings = dataclasses.replace(
        settings,
        output_dir=directory,
        save_checkpoints_steps=max(steps, 1),
        early_stopping_evaluations=0,
        export_dir=settings.export_dir and str(Path(directory) / EXPORT),
        export_tflite=settings.export_tflite and str(Path(directory) / TFLITE),
    )
    task = copy.copy(setup.task)
    task.settings = settings
    task.eval_sets = [_predicted_part(data_set, results_dir) for data_set in task.eval_sets]
    task.test_sets = [_predicted_part(data_set, results_dir) for data_set in task.test_sets]
    if isinstance(task.train_set, DataSet):
        task.train_set = _part(task.train_set, _MOST_TRAIN_EXAMPLES, directory)
    counts: dict[str, int] = {}
    for shard in setup.shards:
        counts.update(shard.counts if isinstance(shard, FileShard) else {})

    def opened(data_sets: Iterable[DataSet | RecordFiles]) -> list[ExampleShard | FileShard]:
        return [open_shard(task, data_set, counts) for data_set in data_sets]

    return dataclasses.replace(
        setup,
        task=task,
        init_checkpoint=checkpoint,
        results_dir=results_dir,
        schedule=dataclasses.replace(
            setup.schedule, steps=steps, warmup_steps=min(steps, setup.schedule.warmup_steps)
        ),
        train_shards=opened([task.train_set] if task.train_set else []),
        eval_shards=opened(task.eval_sets),
        test_shards=opened(task.test_sets),
    )


def _predicted_part(data_set: AnyDataSet, directory: str) -> AnyDataSet:
    most = _PREDICTED_BATCHES * data_set.batch_size * distributed.size()
    return _part(data_set, max(most, _LEAST_PREDICTED), directory)


def _part(data_set: AnyDataSet, most: int, directory: str) -> AnyDataSet:
    """At most so many examples of a data set, whose files go to a directory."""
    part = copy.copy(data_set)
    part.limit(most)
    part.directory = directory
    if isinstance(part, DataSet):
        part.record_file = part.record_dir = part.companion_file = None
    return part


def _seconds_to_prepare(shard: ExampleShard | FileShard) -> float:
    start = time.time()
    shard.prepare()
    return time.time() - start


def _num_records(shard: ExampleShard | FileShard) -> int:
    """Number of records of this process's shard."""
    return shard.num_records if isinstance(shard, ExampleShard) else len(shard.examples)


def _sizes(directory: Path, small: Setup) -> dict[str, int]:
    """Bytes of the files that the small run has left, by path in its directory.

    Those of the records are left out: the run's own may lie elsewhere.
    """
    records = [str(Path(path)) for shard in small.shards for path in shard.paths]
    paths = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(directory)): path.stat().st_size
        for path in paths
        if str(path).replace(files.MANIFEST_SUFFIX, "") not in records
    }


class _StepTimer(tf.train.SessionRunHook):
    """Session hook that measures steps of training.

    Attributes:
      seconds: seconds of each step; the first includes building the graph.
    """

    def __init__(self, runs_per_step: int):
        self.seconds: list[float] = []
        self._runs_per_step = runs_per_step
        self._runs = 0
        self._start = time.time()

    def begin(self) -> None:
        self._start = time.time()

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        self._runs += 1
        if self._runs % self._runs_per_step == 0:
            now = time.time()
            self.seconds.append(now - self._start)
            self._start = now


class _TimedPredictor(Predictor):
    """Predictor that measures how long the examples take, with the graph built before.

    Attributes:
      seconds: seconds for the examples of a shard.
    """

    def __init__(self, setup: Setup):
        super().__init__(setup)
        self.seconds: dict[ExampleShard | FileShard, float] = {}

    def answers(self, checkpoint: str, shard: ExampleShard | FileShard) -> list[Any]:
        super().answers(checkpoint, shard)
        start = time.time()
        answers = super().answers(checkpoint, shard)
        self.seconds[shard] = time.time() - start
        return answers

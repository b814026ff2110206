"""Dry run: the run itself on a few examples, in a temporary directory, to see what it takes.

It finds what checks do not, such as a batch that is too large for the memory, and it leaves
the files that the run would leave, which are listed before they are removed.
"""

from __future__ import annotations

import dataclasses
import re
import resource
import statistics
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Counter, Iterator

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.cli import log, signals
from albert_tf.devices import distributed
from albert_tf.graph.prediction import Predictor
from albert_tf.io import files
from albert_tf.records import summaries
from albert_tf.records.shards import RecordShard, Shard
from albert_tf.run import checks
from albert_tf.run.context import RunContext
from albert_tf.run.description import USES, counted, source_of
from albert_tf.run_dir import checkpoints
from albert_tf.run_dir.run_dir import RunDir
from albert_tf.tasks.base import Problems, Task
from albert_tf.tasks.options import RunSettings

# From a context, its predictor and further session hooks to a clause for the log.
CarryOut = Callable[..., str]

_MOST_STEPS = 6  # the first of which builds the graph, and is not counted
_MOST_TRAIN_EXAMPLES = 2000  # enough to tell how long they are
_PREDICTED_BATCHES = 8  # per process
_LEAST_PREDICTED = 100  # examples, for metrics that need some of each label
_BYTES_OF_RSS = 1024  # the unit of the system's figure
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# Names in the directory of the small run, for what may lie outside of the output directory.
_RESULTS, _EXPORT, _TFLITE = "results", "export", "exported.tflite"
_RECORDS = re.compile(r"\.tf_?record")
_STEPS = "model.ckpt-N.*"
_SHOWN_NAMES = {
    r"model\.ckpt-\d+\..+": _STEPS,
    r"model\.ckpt-best\..+": "model.ckpt-best.*",
    r"(events\.out\.tfevents\.).+": r"\1*",
    r"evaluations/.+": "evaluations/*",
    rf"^{_EXPORT}/.+": _EXPORT,
}


def run(task_class: type[Task], settings: RunSettings, carry_out: CarryOut) -> None:
    """Check all inputs, try the run on a small scale, and print what it would do.

    All processes must call this function. Nothing stays in the directories of the run.

    Args:
      task_class: class of the task.
      settings: settings of the run and the task.
      carry_out: function that carries out the small run; see `run.carry_out`.

    Raises:
      InputError: all problems with the settings and with the files they name.
    """
    context = checks.check(task_class, settings)
    own: str | None = None
    if distributed.is_chief():
        run_dir = context.run_dir
        own = run_dir.resume_point() if settings.do_train else run_dir.for_prediction()
    with files.temporary_directory(_existing(context.run_dir.path) / "dry_run") as directory:
        trial = _Trial(_small(context, directory, own or context.init_checkpoint))
        trial.run(carry_out)
        if distributed.is_chief():
            print("\n".join(_plan(context, own, trial, directory)))
        distributed.wait_for_all()


def _existing(path: Path) -> Path:
    """The directory itself, or the nearest above it that exists."""
    return next(found for found in (path, *path.absolute().parents) if found.is_dir())


def _small(context: RunContext, directory: Path, checkpoint: str | None) -> RunContext:
    """Context of a small run.

    Args:
      context: context of the run.
      directory: output directory of the small run.
      checkpoint: prefix of the checkpoint to start from; only rank 0 reads it.
    """
    task, steps = context.task, min(_MOST_STEPS, context.schedule.steps)
    warmup_steps = min(steps, context.schedule.warmup_steps)
    settings = dataclasses.replace(
        task.settings,
        output_dir=str(directory),
        save_checkpoints_steps=max(steps, 1),
        early_stopping_evaluations=0,
        export_dir=task.settings.export_dir and str(directory / _EXPORT),
        export_tflite=task.settings.export_tflite and str(directory / _TFLITE),
    )

    def predicted(splits: Any) -> list[Any]:
        most = _PREDICTED_BATCHES * distributed.size()
        return [_part(split, max(most * split.batch_size, _LEAST_PREDICTED)) for split in splits]

    splits = dataclasses.replace(
        task.splits,
        train=task.splits.train and _part(task.splits.train, _MOST_TRAIN_EXAMPLES),
        dev=predicted(task.splits.dev),
        test=predicted(task.splits.test),
    )
    is_elsewhere = context.results.path != context.run_dir.path
    results = RunDir(directory / _RESULTS if is_elsewhere else directory)
    small = dataclasses.replace(
        context,
        task=type(task)(settings, task.config, task.tokenizer, splits),
        init_checkpoint=checkpoint,
        run_dir=RunDir(directory),
        results=results,
        schedule=dataclasses.replace(context.schedule, steps=steps, warmup_steps=warmup_steps),
    )
    return checks.with_shards(small, Problems())


def _part(split: Any, most: int) -> Any:
    """At most so many examples of a split, whose files go to the directory of the small run."""
    part = split.limited(most)
    if hasattr(part, "record_file"):
        return dataclasses.replace(part, record_file=None, record_dir=None, companion_file=None)
    return part


class _Trial(Predictor, tf.train.SessionRunHook):
    """A small run, as a predictor and a session hook that measure it.

    Attributes:
      context: context of the small run.
      conversion: seconds to convert each shard.
      steps: seconds of each training step; the first includes building the graph.
      prediction: seconds to predict each shard, with the graph built before.
    """

    def __init__(self, context: RunContext):
        super().__init__(context.task, context.device, context.conversion, context.length_buckets)
        self.context = context
        self.conversion: list[float] = []
        self.steps: list[float] = []
        self.prediction: dict[Shard, float] = {}
        self._runs = 0

    def run(self, carry_out: CarryOut) -> None:
        """Run, and log nothing but errors: lines and warnings are about the small run."""
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            for shard in self.context.shards:
                start = time.time()
                shard.prepare()
                self.conversion.append(time.time() - start)
            carry_out(self.context, self, [self])
        except signals.Stopped as stop:  # which names a checkpoint that is about to go
            raise signals.Stopped(stop.signal) from None
        finally:
            logging.set_verbosity(verbosity)
            tf.summary.FileWriterCache.clear()

    def begin(self) -> None:
        self._start = time.time()

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        self._runs += 1
        if self._runs % self.context.settings.gradient_accumulation_steps == 0:
            now = time.time()
            self.steps.append(now - self._start)
            self._start = now

    def predictions(self, checkpoint: str, shard: Shard) -> list[Any]:
        super().predictions(checkpoint, shard)
        start = time.time()
        predictions = super().predictions(checkpoint, shard)
        self.prediction[shard] = time.time() - start
        return predictions


def _plan(context: RunContext, own: str | None, trial: _Trial, directory: Path) -> Iterator[str]:
    """Yield the lines about what a run would do, by the measures of a small one.

    Args:
      context: context of the run.
      own: prefix of the checkpoint that it resumes from or predicts with, if any.
      trial: the small run.
      directory: its directory.
    """
    settings, schedule, num_devices = context.settings, context.schedule, distributed.size()
    start_step = checkpoints.step_of(own) or 0 if own and settings.do_train else 0
    num_steps = max(0, schedule.steps - start_step) if settings.do_train else 0
    every = settings.save_checkpoints_steps
    num_checkpoints = -(-schedule.steps // every) - start_step // every if settings.do_train else 1
    yield f"dry run: {context.run_dir} is unchanged; the run would do the following"
    for shard, small in zip(context.shards, trial.context.shards):
        yield f"{USES[shard.split.name]}: {_data(shard, small)}"
    checkpoint = own or context.init_checkpoint or "random weights"
    if num_steps:
        examples = counted(settings.train_batch_size * num_devices, "example")
        on_devices = f" on {num_devices} devices" if num_devices > 1 else ""
        yield (
            f"{counted(num_steps, 'step')} of {examples}{on_devices}, from {checkpoint}, with "
            f"{counted(num_checkpoints, 'checkpoint')}"
        )
    elif settings.do_train:
        yield f"no training, which has finished: {checkpoint}"
    else:
        yield f"no training, with {checkpoint}"
    yield from _times(context, trial, num_steps, num_checkpoints)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_OF_RSS
    of_device = "" if context.device.name == "cpu" else "; the memory of the device was sufficient"
    yield f"memory: at most {_size(peak)} in this process{of_device}"
    most = settings.keep_checkpoint_max or num_checkpoints
    yield from _files(context, directory, min(num_checkpoints, most))


def _data(shard: Shard, small: Shard) -> str:
    """Size of a split, and the lengths of its records."""
    text = source_of(shard)
    if isinstance(shard, RecordShard):
        return text
    sample = small.num_examples
    records = round(small.num_records * shard.num_examples / max(sample, 1) * distributed.size())
    if records != shard.num_examples:
        about = "" if shard.num_examples == sample else "about "
        text += f", {about}{counted(records, 'record')}"
    if not small.num_records:
        return text
    found = summaries.summary(small.paths[0], small.fields["input_mask"].shape[-1])
    looked_at = "" if shard.num_examples == sample else f"of the first {sample:,}: "
    return f"{text}; {looked_at}{found.text()}"


def _times(
    context: RunContext, trial: _Trial, num_steps: int, num_checkpoints: int
) -> Iterator[str]:
    """Estimate the time of each part of the run."""
    seconds = {"features": 0.0, **dict.fromkeys(USES.values(), 0.0)}
    details = dict.fromkeys(seconds, "")
    for shard, small, conversion in zip(context.shards, trial.context.shards, trial.conversion):
        scale = shard.num_examples / max(small.num_examples, 1)
        if not shard.are_made():
            seconds["features"] += conversion * scale
        seconds[USES[shard.split.name]] += trial.prediction.get(small, 0.0) * scale
    seconds["evaluation"] *= num_checkpoints
    details["evaluation"] = f" for {counted(num_checkpoints, 'checkpoint')}"
    if num_steps:
        others = trial.steps[1:] or trial.steps
        step = statistics.median(others)
        seconds["training"] = trial.steps[0] + step * (num_steps - 1)
        details["training"] = (
            f": {_time(trial.steps[0])} for the first step, {step:.3g} s for each other (the "
            f"median of {len(others)})"
        )
    yield f"time: about {_time(sum(seconds.values()))}"
    yield from (f"  {name} {_time(time)}{details[name]}" for name, time in seconds.items() if time)


def _files(context: RunContext, directory: Path, num_kept: int) -> Iterator[str]:
    """List the files that the run would leave, by directory."""
    settings = context.settings
    sizes: Counter[str] = Counter()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not _RECORDS.search(path.name):
            name = str(path.relative_to(directory))
            for pattern, shown in _SHOWN_NAMES.items():
                name = re.sub(pattern, shown, name)
            sizes[name] += path.stat().st_size
    listed: dict[str, dict[str, str]] = {str(context.run_dir): {log.FILE_NAME: ""}}
    for name, size in sizes.items():
        owner, note = str(context.run_dir), ""
        if name.startswith(f"{_RESULTS}/"):
            owner, name = str(context.results), name[len(_RESULTS) + 1 :]
        elif name.startswith("model.ckpt-"):
            many = f"{num_kept:,} of " if name == _STEPS else ""
            note = f", {many}{_size(size)}"
        elif name == _EXPORT:
            owner, name, note = settings.export_dir or "", "a SavedModel", f", {_size(size)}"
        elif name == _TFLITE:
            exported = Path(settings.export_tflite or "")
            owner, name, note = str(exported.parent), exported.name, f", {_size(size)}"
        listed.setdefault(owner, {})[name] = note
    for shard in context.shards:
        if not isinstance(shard, RecordShard):
            for record_file in map(Path, shard.paths):
                note = ", there already" if shard.are_made() else ""
                inside = listed.setdefault(str(record_file.parent), {})
                inside[record_file.name] = inside[record_file.name + files.MANIFEST_SUFFIX] = note
    for owner, names in listed.items():
        yield f"files in {owner}"
        yield from (f"  {name}{names[name]}" for name in sorted(names))


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.1f} s"


def _size(count: int) -> str:
    """Bytes with three digits and a unit."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"

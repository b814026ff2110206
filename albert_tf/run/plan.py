"""Text of a dry run: what a run would do, by the measures of a small one."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

from albert_tf.cli import log
from albert_tf.devices import distributed
from albert_tf.io import files
from albert_tf.run.context import Setup
from albert_tf.run.shards import ExampleShard, FileShard

# Names in the directory of the small run, for what may lie outside of the output directory.
RESULTS, EXPORT, TFLITE = "results", "export", "exported.tflite"

_TRAINING, _EVALUATION, _PREDICTION = "training", "evaluation", "prediction"
_CHECKPOINT = re.compile(r"model\.ckpt-(\d+|best)\..+")
_EVENTS = re.compile(r"(events\.out\.tfevents\.).+$")
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Measured:
    """Measures of a small run. Those of data sets are in the order of `Setup.shards`.

    Attributes:
      steps: seconds of each training step; the first includes building the graph.
      conversion: seconds to convert the samples to records.
      prediction: seconds to predict the samples; 0 for a set that is not predicted.
      samples: numbers of examples of the samples.
      num_records: numbers of records of the samples.
      summaries: summaries of the training and evaluation sets; see `data_summary`.
      peak_memory: largest memory of this process, in bytes.
      sizes: bytes of the files, by path in the directory of the small run, without records.
    """

    steps: Sequence[float]
    conversion: Sequence[float]
    prediction: Sequence[float]
    samples: Sequence[int]
    num_records: Sequence[int]
    summaries: Sequence[Mapping[str, Any]]
    peak_memory: int
    sizes: Mapping[str, int]


class Plan:
    """Plan of a run: its data, steps, time, memory and files."""

    def __init__(self, setup: Setup, checkpoint: str | None, start_step: int, measured: Measured):
        """Make the plan.

        Args:
          setup: setup of the run.
          checkpoint: prefix of the checkpoint that the run starts from; None for random weights.
          start_step: step that training resumes from.
          measured: measures of a small run.
        """
        self._setup = setup
        self._settings = setup.settings
        self._checkpoint = checkpoint
        self._start_step = start_step
        self._measured = measured
        self._uses = [
            *(_TRAINING for _ in setup.train_shards),
            *(_EVALUATION for _ in setup.eval_shards),
            *(_PREDICTION for _ in setup.test_shards),
        ]

    def lines(self) -> list[str]:
        """Text of the plan."""
        memory = f"memory: at most {_size(self._measured.peak_memory)} in this process"
        if self._setup.device.name != "cpu":
            memory += "; that of the card sufficed, and is not measured"
        return [
            f"dry run: {self._settings.output_dir} is as it was; the run would do this",
            *self._data_lines(),
            self._work(),
            *self._times(),
            memory,
            *self._files(),
        ]

    @property
    def _num_steps(self) -> int:
        """Number of steps that are left to train."""
        if not self._settings.do_train:
            return 0
        return max(0, self._setup.schedule.steps - self._start_step)

    @property
    def _num_checkpoints(self) -> int:
        """Number of checkpoints to save, or to evaluate."""
        if not self._settings.do_train:
            return 1
        every = self._settings.save_checkpoints_steps
        return -(-self._setup.schedule.steps // every) - self._start_step // every

    def _data_lines(self) -> Iterator[str]:
        for index, (use, shard) in enumerate(zip(self._uses, self._setup.shards)):
            if isinstance(shard, FileShard):
                count, paths = _counted(shard.num_examples, "record"), shard.paths
                yield f"{use}: {count} in {_counted(len(paths), 'file')}, {paths[0]}" + (
                    " and others" if len(paths) > 1 else ""
                )
            else:
                yield f"{use}: {self._data(index, shard)}"

    def _data(self, index: int, shard: ExampleShard) -> str:
        """Size of a data set, and the lengths of its examples if they are known."""
        count, sample = shard.num_examples, self._measured.samples[index]
        text = f"{_counted(count, 'example')} of {', '.join(shard.data_set.inputs.values())}"
        records = round(self._measured.num_records[index] * count / max(sample, 1))
        if records != count:
            text += f", {'' if count == sample else 'about '}{_counted(records, 'record')}"
        summaries = self._measured.summaries[index : index + 1]
        lengths = summaries[0].get("lengths") if summaries else None
        if not lengths:
            return text
        text += f"; median {lengths['median']:,} pieces, longest {lengths['longest']:,}, "
        longer = f"{lengths['longer']:,}" if lengths["longer"] else "none"
        if count != sample:
            longer += f" of {sample:,} looked at"
        fate = f": {lengths['fate']}" if lengths["longer"] else ""
        return f"{text}{longer} longer than {lengths['limit']:,}{fate}"

    def _work(self) -> str:
        settings, cards = self._settings, distributed.size()
        start = self._checkpoint or "random weights"
        if not settings.do_train:
            return f"no training, with {start}"
        if not self._num_steps:
            return f"no training, which has finished: {start}"
        examples = _counted(settings.train_batch_size * cards, "example")
        return (
            f"{_counted(self._num_steps, 'step')} of {examples}"
            f"{f' on {cards} cards' if cards > 1 else ''}, from {start}, with "
            f"{_counted(self._num_checkpoints, 'checkpoint')}"
        )

    def _times(self) -> Iterator[str]:
        """Estimate the time of each part of the run."""
        measured, steps = self._measured, self._measured.steps
        seconds = {"features": 0.0, _TRAINING: 0.0, _EVALUATION: 0.0, _PREDICTION: 0.0}
        details = dict.fromkeys(seconds, "")
        for index, (use, shard) in enumerate(zip(self._uses, self._setup.shards)):
            scale = shard.num_examples / max(measured.samples[index], 1)
            if not shard.are_made():
                seconds["features"] += measured.conversion[index] * scale
            seconds[use] += measured.prediction[index] * scale
        seconds[_EVALUATION] *= self._num_checkpoints
        details[_EVALUATION] = f" for {_counted(self._num_checkpoints, 'checkpoint')}"
        if self._num_steps:
            step = statistics.median(steps[1:] or steps)
            seconds[_TRAINING] = steps[0] + step * (self._num_steps - 1)
            details[_TRAINING] = (
                f": {_time(steps[0])} for the first step, {step:.3g} s for each other (the median "
                f"of {len(steps[1:] or steps)})"
            )
        yield f"time: about {_time(sum(seconds.values()))}"
        yield from (
            f"  {name} {_time(time)}{details[name]}" for name, time in seconds.items() if time
        )

    def _files(self) -> Iterator[str]:
        """List the files, by directory."""
        listed: dict[str, dict[str, str]] = {}

        def add(directory: str | Path, name: str, note: str = "") -> None:
            listed.setdefault(str(directory), {})[name] = note

        add(self._setup.output_dir, log.FILE_NAME)
        for path in self._measured.sizes:
            self._add_file(path, add)
        for shard in self._setup.shards:
            if isinstance(shard, FileShard):
                continue
            note = ", there already" if shard.are_made() else ""
            for file in map(Path, shard.paths):
                add(file.parent, file.name, note)
                add(file.parent, file.name + files.MANIFEST_SUFFIX, note)
        for directory, names in listed.items():
            yield f"files in {directory}"
            yield from (f"  {name}{names[name]}" for name in sorted(names))

    def _add_file(self, path: str, add: Callable[..., None]) -> None:
        """Add a file of the small run under the name that it would have."""
        settings, sizes = self._settings, self._measured.sizes
        first, *rest = Path(path).parts
        checkpoint = _CHECKPOINT.match(path)
        if first == EXPORT:
            size = sum(size for name, size in sizes.items() if Path(name).parts[0] == EXPORT)
            add(settings.export_dir or "", f"a SavedModel, {_size(size)}")
        elif first == TFLITE:
            exported = Path(settings.export_tflite or "")
            add(exported.parent, exported.name, f", {_size(sizes[path])}")
        elif checkpoint:
            is_best = checkpoint[1] == "best"
            size = sum(
                n for name, n in sizes.items() if name.startswith(f"model.ckpt-{checkpoint[1]}.")
            )
            name, number = ("best", "") if is_best else ("N", self._number_kept())
            add(self._setup.output_dir, f"model.ckpt-{name}.*", f", {number}{_size(size)}")
        else:
            directory = self._setup.results_dir if first == RESULTS else self._setup.output_dir
            name = str(Path(*rest)) if first == RESULTS else path
            add(directory, _EVENTS.sub(r"\1*", name))

    def _number_kept(self) -> str:
        most = self._settings.keep_checkpoint_max or self._num_checkpoints
        kept = min(self._num_checkpoints, most)
        return f"{kept:,} of " if kept else ""


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.1f} s"


def _size(count: int) -> str:
    """Bytes with three digits and a unit."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"

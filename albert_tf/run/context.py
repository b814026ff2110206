"""Everything a run needs, read and checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from albert_tf.devices.bfloat16 import ConversionConfig
from albert_tf.devices.device import Device
from albert_tf.records.shards import ExampleShard, Shard
from albert_tf.run_dir import model_folder
from albert_tf.run_dir.run_dir import RunDir
from albert_tf.tasks.base import ResolvedSchedule, Task
from albert_tf.tasks.options import RunSettings


@dataclass(frozen=True)
class RunContext:
    """A task and all that its run needs.

    Attributes:
      task: the task.
      device: device for training and prediction.
      conversion: op types to run in bfloat16; None for none.
      init_checkpoint: prefix of the checkpoint to start from, or None; only rank 0 reads it.
      length_buckets: lengths to pad to in prediction, ascending; empty to sort the records by
        length instead.
      run_dir: output directory of this process.
      results: directory of this process for results and predictions.
      schedule: the task's schedule, in steps of this run.
      train: this process's shard of the training split; None without training.
      dev: this process's shards of the splits to evaluate on.
      test: this process's shards of the splits that are predicted but not evaluated.
    """

    task: Task
    device: Device
    conversion: ConversionConfig | None
    init_checkpoint: str | None
    length_buckets: Sequence[int]
    run_dir: RunDir
    results: RunDir
    schedule: ResolvedSchedule
    train: Shard | None = None
    dev: Sequence[Shard] = ()
    test: Sequence[ExampleShard] = ()

    @property
    def settings(self) -> RunSettings:
        """Settings of the run and of the task."""
        return self.task.settings

    @property
    def shards(self) -> list[Shard]:
        """All shards of this process."""
        return [*([self.train] if self.train else []), *self.dev, *self.test]

    @property
    def prediction_checkpoint(self) -> str | None:
        """Prefix of the checkpoint to predict with; only rank 0 has one."""
        return self.run_dir.for_prediction() or self.init_checkpoint

    @property
    def model_files(self) -> dict[str, str]:
        """Paths of the files to keep with a model, by their names in its directory."""
        settings = self.settings
        return model_folder.named_files(
            settings.albert_config_file or "", settings.spm_model_file, settings.vocab_file
        )

    @property
    def model_settings(self) -> dict[str, object]:
        """Settings to keep with a model, for its later use, by name."""
        return {**self.settings.record_settings, **self.settings.prediction_settings}

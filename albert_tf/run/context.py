"""Everything a run needs, read and checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from albert_tf.devices.bfloat16 import ConversionConfig
from albert_tf.devices.device import Device
from albert_tf.run.shards import ExampleShard, FileShard
from albert_tf.tasks.base import ResolvedSchedule, Task
from albert_tf.tasks.options import RunSettings


@dataclass(frozen=True)
class Setup:
    """A task and all that its run needs.

    Attributes:
      task: the task.
      device: device for training and prediction.
      bfloat16: op types to run in bfloat16; None for none.
      init_checkpoint: prefix of the checkpoint to start from, or None; only rank 0 reads it.
      length_buckets: lengths to pad to in prediction, ascending; empty to sort the examples by
        length instead.
      results_dir: directory of this process for the results and predictions.
      schedule: the task's schedule, in steps of this run.
      train_shards: this process's shard of the training set; empty without training.
      eval_shards: this process's shards of the evaluation sets.
      test_shards: this process's shards of the test sets, which are predicted but not evaluated.
    """

    task: Task
    device: Device
    bfloat16: ConversionConfig | None
    init_checkpoint: str | None
    length_buckets: list[int]
    results_dir: str
    schedule: ResolvedSchedule
    train_shards: list[ExampleShard | FileShard]
    eval_shards: list[ExampleShard | FileShard]
    test_shards: list[ExampleShard | FileShard]

    @property
    def settings(self) -> RunSettings:
        """Settings of the run and of the task."""
        return self.task.settings

    @property
    def output_dir(self) -> str:
        """Output directory of this process."""
        assert self.settings.output_dir is not None
        return self.settings.output_dir

    @property
    def albert_config_file(self) -> str:
        """Path of the model's config."""
        assert self.settings.albert_config_file is not None
        return self.settings.albert_config_file

    @property
    def shards(self) -> list[ExampleShard | FileShard]:
        """All shards of this process."""
        return [*self.train_shards, *self.eval_shards, *self.test_shards]

    @property
    def record_paths(self) -> list[str]:
        """Paths of all record files of this process."""
        return [path for shard in self.shards for path in shard.paths]

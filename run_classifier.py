"""Fine-tunes ALBERT on a GLUE task or on custom data, evaluates it and predicts test rows."""

from __future__ import annotations

if __name__ == "__main__":
    from albert_tf.cli import loading

    loading.end_quietly()  # a signal while the modules below load

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.launch import launch
from albert_tf.cli.settings import setting
from albert_tf.tasks.custom.settings import TASK_NAME, CustomSettings
from albert_tf.tasks.glue.data import TASKS
from albert_tf.tasks.glue.settings import GlueSettings


@dataclass(frozen=True)
class Settings(GlueSettings, CustomSettings):
    """Settings of a GLUE task or of custom data."""

    task_name: Optional[str] = setting(
        None,
        f"Name of the task: {', '.join(TASKS)}; or {TASK_NAME}, the default with custom data.",
        affects_records=True,
    )

    @property
    def has_own_data(self) -> bool:
        """Whether the task is on custom data."""
        return self.task_name == TASK_NAME or bool(not self.task_name and self.own_files)


def main(settings: Settings) -> None:
    """Train, evaluate each checkpoint, predict and export, as the settings say."""
    from albert_tf.run.run import run  # imports TensorFlow, so only after the flags

    if settings.has_own_data:
        from albert_tf.tasks.custom.task import CustomTask

        run(CustomTask, settings)
    else:
        from albert_tf.tasks.glue.task import ClassifierTask

        run(ClassifierTask, settings)


if __name__ == "__main__":
    launch(main, Settings)

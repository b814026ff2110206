"""Fine-tunes ALBERT on a GLUE task or on custom data, evaluates it and predicts test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.cli.settings import setting, settings_of
from albert_tf.tasks.custom.settings import TASK_NAME, CustomSettings
from albert_tf.tasks.glue.data import TASKS, find_task
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
    def is_custom(self) -> bool:
        """Whether the task is on custom data."""
        if self.task_name:
            return self.task_name == TASK_NAME
        return bool(self.train_file or self.dev_file or self.test_file)

    @property
    def record_settings(self) -> dict[str, Any]:
        """The settings that records depend on, by name."""
        name = TASK_NAME if self.is_custom else find_task(self.task_name or "").name
        return {**super().record_settings, "task_name": name}

    @property
    def prediction_settings(self) -> dict[str, Any]:
        """The further settings that predictions depend on, by name; without those not given."""
        of_task = settings_of(CustomSettings if self.is_custom else GlueSettings)
        return {name: x for name, x in super().prediction_settings.items() if name in of_task}


def main(settings: Settings) -> None:
    """Train, evaluate each checkpoint, predict and export, as the settings say."""
    load_tensorflow()
    from albert_tf.run.run import run

    if settings.is_custom:
        from albert_tf.tasks.custom.task import CustomTask

        run(CustomTask, settings)
    else:
        from albert_tf.tasks.glue.task import ClassifierTask

        run(ClassifierTask, settings)


if __name__ == "__main__":
    launch(main, Settings)

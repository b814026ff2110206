"""Settings of the GLUE tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_tf.classification.settings import ClassificationSettings
from albert_tf.glue.data import TASKS
from albert_tf.runs.settings import FILES, path_setting, setting


@dataclass(frozen=True)
class GlueSettings(ClassificationSettings):
    """Task and its files."""

    WITHOUT_INFLUENCE: ClassVar = ("data_dir",)
    HELP_GROUPS: ClassVar = {FILES: ("task_name", "data_dir")}

    data_dir: str | None = path_setting("Folder of the task's data, or its parent folder.")
    task_name: str | None = setting(None, f"Name of the task: {', '.join(TASKS)}.")

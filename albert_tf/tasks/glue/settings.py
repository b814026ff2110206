"""Settings of the GLUE tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.settings import Group, path_setting, setting
from albert_tf.tasks.classification.settings import ClassificationSettings
from albert_tf.tasks.glue.data import TASKS


@dataclass(frozen=True)
class GlueSettings(ClassificationSettings):
    """Task and its files."""

    task_name: Optional[str] = setting(
        None,
        f"Name of the task: {', '.join(TASKS)}.",
        group=Group.FILES,
        affects_records=True,
    )
    data_dir: Optional[str] = path_setting(
        "Directory of the task's data, or its parent directory.", must_exist=True
    )

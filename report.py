"""Makes the report page of a run again, report.html in its output directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.cli.paths import CHECKPOINT_PATH
from albert_tf.cli.settings import path_setting
from albert_tf.io.errors import InputError


@dataclass(frozen=True)
class Settings:
    """The run."""

    output_dir: Optional[str] = path_setting(
        "Output directory of the run, or --prediction_dir of a prediction.",
        kind=CHECKPOINT_PATH,
        must_exist=True,
    )


def main(settings: Settings) -> None:
    """Make the page, and print its path."""
    if not settings.output_dir:
        raise InputError("--output_dir is missing: give the output directory of a run")
    load_tensorflow()
    from albert_tf.report import collect

    print(collect.write(settings.output_dir))


if __name__ == "__main__":
    launch(main, Settings)

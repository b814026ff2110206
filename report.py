"""Makes the report page of a run again, report.html in its output directory."""

from __future__ import annotations

if __name__ == "__main__":
    from albert_tf.cli import loading

    loading.end_quietly()  # a signal while the modules below load

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.launch import launch
from albert_tf.cli.paths import CHECKPOINT_PATH
from albert_tf.cli.settings import path_setting
from albert_tf.io.errors import InputError


@dataclass(frozen=True)
class Settings:
    """The run."""

    output_dir: Optional[str] = path_setting(
        "Output directory of the run, or --prediction_dir of a prediction.",
        kind=CHECKPOINT_PATH,
    )


def main(settings: Settings) -> None:
    """Make the page, and print its path."""
    if not settings.output_dir:
        raise InputError("--output_dir is missing: give the output directory of a run")
    from albert_tf.report import collect  # imports TensorFlow, so only after parsing the flags

    print(collect.write(settings.output_dir))


if __name__ == "__main__":
    launch(main, Settings)

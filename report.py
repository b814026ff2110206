"""Makes the report page of a run again, report.html in its output directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.cli.paths import CHECKPOINT_PATH
from albert_tf.cli.settings import path_setting


@dataclass(frozen=True)
class Settings:
    """The run."""

    output_dir: Optional[str] = path_setting(
        "Output directory of the run, or --prediction_dir of a prediction.",
        kind=CHECKPOINT_PATH,
        is_needed=True,
        read_if=(),
    )


def main(settings: Settings) -> None:
    """Make the page, and print its path."""
    assert settings.output_dir  # which is needed
    load_tensorflow()
    from albert_tf.run import reporting

    print(reporting.write(settings.output_dir))


if __name__ == "__main__":
    launch(main, Settings)

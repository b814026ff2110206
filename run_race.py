"""Fine-tunes ALBERT on RACE, multiple-choice questions about articles, and evaluates it."""

from __future__ import annotations

if __name__ == "__main__":
    from albert_tf.cli import loading

    loading.end_quietly()  # a signal while the modules below load

from albert_tf.cli.launch import launch
from albert_tf.tasks.race.settings import RaceSettings


def main(settings: RaceSettings) -> None:
    """Train, evaluate each checkpoint, predict and export, as the settings say."""
    from albert_tf.run.run import run
    from albert_tf.tasks.race.task import RaceTask  # imports TensorFlow, so only after the flags

    run(RaceTask, settings)


if __name__ == "__main__":
    launch(main, RaceSettings)

"""Fine-tunes ALBERT on RACE, multiple-choice questions about articles, and evaluates it."""

from __future__ import annotations

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.tasks.race.settings import RaceSettings


def main(settings: RaceSettings) -> None:
    """Train, evaluate each checkpoint, predict and export, as the settings say."""
    load_tensorflow()
    from albert_tf.run.run import run
    from albert_tf.tasks.race.task import RaceTask

    run(RaceTask, settings)


if __name__ == "__main__":
    launch(main, RaceSettings)

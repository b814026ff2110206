"""Fine-tunes ALBERT on RACE, multiple-choice questions about articles, and evaluates it."""

from __future__ import annotations

if __name__ == "__main__":
    from albert_tf import loading

    loading.end_quietly()  # a signal while the modules below load

from albert_tf.race.settings import RaceSettings
from albert_tf.runs.launch import launch


def main(settings: RaceSettings) -> None:
    """Train, evaluate each checkpoint, predict and export, as the settings say."""
    from albert_tf.race.task import RaceTask  # imports TensorFlow, so only after the flags
    from albert_tf.runs.loop import run

    run(RaceTask, settings)


if __name__ == "__main__":
    launch(main, RaceSettings)

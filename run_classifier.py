"""Fine-tunes ALBERT on a task of the GLUE benchmark, evaluates it and predicts the test set."""

from __future__ import annotations

if __name__ == "__main__":
    from albert_tf import stopping

    stopping.end_quietly()  # a signal while the modules below load

from albert_tf.glue.settings import ClassifierSettings
from albert_tf.runs.launch import launch


def main(settings: ClassifierSettings) -> None:
    """Train, evaluate each checkpoint, predict and export, as the settings say."""
    from albert_tf.glue.task import ClassifierTask  # imports TensorFlow, so only after the flags
    from albert_tf.runs.loop import run

    run(ClassifierTask, settings)


if __name__ == "__main__":
    launch(main, ClassifierSettings)

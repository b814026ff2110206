"""Fine-tunes ALBERT on SQuAD v2.0, predicts answers, or that there is none, and evaluates them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.tasks.squad.settings import SquadV2Settings


@dataclass(frozen=True)
class Settings(SquadV2Settings):
    """Settings of a SQuAD v2.0 run, with the defaults of this script."""

    do_predict: bool = False
    output_dir: Optional[str] = str(Path.home() / "tmp")
    num_train_epochs: float = 3.0
    save_checkpoints_steps: int = 1000


def main(settings: Settings) -> None:
    """Train, evaluate each checkpoint and export the best, as the settings say."""
    load_tensorflow()
    from albert_tf.run.run import run
    from albert_tf.tasks.squad.v2 import SquadV2Task

    run(SquadV2Task, settings)


if __name__ == "__main__":
    launch(main, Settings)

"""Fine-tunes ALBERT on SQuAD v1.1, predicts answers and evaluates them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.tasks.squad.settings import SquadSettings


@dataclass(frozen=True)
class Settings(SquadSettings):
    """Settings of a SQuAD run, with the defaults of this script."""

    do_train: bool = True
    output_dir: Optional[str] = str(Path.home() / "tmp")


def main(settings: Settings) -> None:
    """Train, evaluate each checkpoint and export the best, as the settings say."""
    load_tensorflow()
    from albert_tf.run.run import run
    from albert_tf.tasks.squad.v1 import SquadV1Task

    run(SquadV1Task, settings)


if __name__ == "__main__":
    launch(main, Settings)

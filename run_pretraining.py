"""Pre-trains ALBERT on masked n-grams and the order of two segments.

Lan et al. 2019 (https://arxiv.org/abs/1909.11942), section 3. The records come from
`create_pretraining_data.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from albert_tf.cli import flags
from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.tasks.pretraining.settings import PretrainingSettings

_BUILDERS = (
    "gather_indexes",
    "get_masked_lm_output",
    "get_sentence_order_output",
    "input_fn_builder",
    "model_fn_builder",
)


@dataclass(frozen=True)
class Settings(PretrainingSettings):
    """Settings of a pre-training run, with the defaults of this script."""

    do_train: bool = True
    train_batch_size: int = 4096
    learning_rate: float = 0.00176


flags.define(Settings)  # existing programs import this module and set its flags


def main(settings: Settings | None) -> None:
    """Train, evaluate each checkpoint and export the best, as the settings say.

    Args:
      settings: settings of the run; None to read them from the flags.
    """
    load_tensorflow()
    from albert_tf.run.run import run
    from albert_tf.tasks.pretraining.task import PretrainingTask

    run(PretrainingTask, settings or flags.read(Settings))


def __getattr__(name: str) -> Any:
    """Load a function that existing programs import from this module; imports TensorFlow."""
    if name not in _BUILDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from albert_tf.graph import pretraining as builders

    return getattr(builders, name)


if __name__ == "__main__":
    launch(main, Settings)

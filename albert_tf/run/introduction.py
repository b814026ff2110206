"""First block of a run's log: versions, settings, model, data and length of training."""

from __future__ import annotations

import math
from typing import Iterator, Mapping, Sequence

from absl import logging

from albert_tf.cli.settings import changed_values
from albert_tf.devices import distributed
from albert_tf.graph.model import peak_learning_rate
from albert_tf.run.context import Setup
from albert_tf.run_dir import run_record
from albert_tf.tasks.base import DataSet, RecordFiles


def log(setup: Setup, shapes: Mapping[str, Sequence[int]]) -> None:
    """Log what is about to run.

    Args:
      setup: setup of the run.
      shapes: shapes of the model's variables, by name; empty on ranks other than 0.
    """
    settings, task = setup.settings, setup.task
    versions = run_record.versions(settings, setup.device.name).items()
    logging.info("versions: %s", ", ".join(" ".join(pair) for pair in versions))
    logging.info("settings other than the defaults:")
    for name, value in changed_values(settings).items():
        logging.info("  %s=%s", name, value)
    if shapes:
        logging.info(
            "model: %d layers of width %d, %s parameters with the head",
            task.needed_config.num_hidden_layers,
            task.needed_config.hidden_size,
            f"{sum(math.prod(shape) for shape in shapes.values()):,}",
        )
    for name, data_sets in (
        ("training", [task.train_set] if task.train_set else []),
        ("evaluation", task.eval_sets),
        ("prediction", task.test_sets),
    ):
        for line in _data_lines(data_sets):
            logging.info("%s data: %s", name, line)
    if settings.do_train:
        _log_schedule(setup)


def _data_lines(data_sets: Sequence[DataSet | RecordFiles]) -> Iterator[str]:
    """Describe data sets: their files, and the number of examples where it is known."""
    for data_set in data_sets:
        if isinstance(data_set, RecordFiles):
            count, paths = f"{len(data_set.paths)} record files", data_set.paths
        else:
            count, paths = f"{len(data_set.examples)} examples", [*data_set.inputs.values()]
        yield f"{count} of {paths[0]}{' and others' if len(paths) > 1 else ''}"


def _log_schedule(setup: Setup) -> None:
    settings, cards = setup.settings, distributed.size()
    rate = peak_learning_rate(settings)
    logging.info(
        "training takes %d steps of %d examples%s, with a learning rate of up to %.4g%s",
        setup.schedule.steps,
        settings.train_batch_size * cards,
        f" ({settings.train_batch_size} per card)" if cards > 1 else "",
        rate,
        f" ({settings.learning_rate:.4g} times {cards} cards)"
        if rate != settings.learning_rate
        else "",
    )

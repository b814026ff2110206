"""Program of several runs one after the other, in each of several processes.

It saves the start of Python, TensorFlow and Horovod for each run:

  horovodrun -np 2 python tests/horovod_tasks.py runs.json

The file has a list of runs, each a list of the task's name in `task_factory` (or "toy"), the output
directory and flags that override those of the sample. `{rank}` in a flag is the rank. A run that is
refused says so in the log; the others go on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # folder of albert_tf

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()

from absl import app, logging

import toy_task
from albert_tf.devices import distributed
from albert_tf.io.errors import InputError
from albert_tf.run import run as a_run
from task_factory import make_settings, task_and_settings


def main(arguments: list[str]) -> None:
    """Carry out the runs."""
    logging.set_verbosity(logging.INFO)
    distributed.initialize(True)
    for name, output_dir, flags in json.loads(Path(arguments[1]).read_text(encoding="utf-8")):
        try:
            run(name, output_dir, {name: of_rank(value) for name, value in flags.items()})
        except InputError as error:
            if distributed.is_chief():
                logging.info("refused: %s", error)


def of_rank(value: Any) -> Any:
    """Value of a flag on this rank."""
    return value.replace("{rank}", str(distributed.rank())) if isinstance(value, str) else value


def run(name: str, output_dir: str, flags: dict[str, Any]) -> None:
    """Carry out one run."""
    if name == "toy":
        settings = toy_task.Settings(output_dir=output_dir, use_horovod=True, **flags)
        a_run.run(toy_task.LongerTextTask, settings)
    else:
        task_class, _ = task_and_settings(name)
        a_run.run(task_class, make_settings(name, Path(output_dir), use_horovod=True, **flags))


if __name__ == "__main__":
    app.run(main)

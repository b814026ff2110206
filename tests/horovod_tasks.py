"""Program of several runs one after the other, in each of several processes.

It saves the start of Python, TensorFlow and Horovod for each run:

  horovodrun -np 2 python tests/horovod_tasks.py runs.json

The file has a list of runs, each a list of the script's name in `task_factory`, the output
directory and flags that override those of the sample.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # folder of albert_tf

from albert_tf.runs.launch import prepare_environment

prepare_environment()  # before the import of TensorFlow

from absl import app, logging

from albert_tf.runs import loop
from task_factory import make_settings, task_and_settings


def main(arguments: list[str]) -> None:
    """Carry out the runs."""
    logging.set_verbosity(logging.INFO)
    for script, output_dir, flags in json.loads(Path(arguments[1]).read_text(encoding="utf-8")):
        task_class, _ = task_and_settings(script)
        loop.run(task_class, make_settings(script, Path(output_dir), use_horovod=True, **flags))


if __name__ == "__main__":
    app.run(main)

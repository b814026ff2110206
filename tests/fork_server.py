"""Server that runs scripts in forked processes, which have TensorFlow imported already.

Each line of its standard input is a request, a JSON object with `script` (a path), `arguments`,
`environment`, `directory`, `stdout` and `stderr` (paths of files) and `has_file_events` (whether
the changes to files are logged). The answers are a line with the id of the new process, and another
with its wait status. The process leads a session of its own. No graph or session exists before the
fork.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # folder of the scripts
sys.path.insert(1, str(Path(__file__).resolve().parent))

from albert_tf.cli.launch import load_tensorflow

_LOADED = (
    "albert_tf.tasks.glue.task",
    "albert_tf.huggingface.folders",
    "albert_tf.tasks.custom.task",
    "albert_tf.tasks.pretraining.task",
    "albert_tf.tasks.pretraining.writing",
    "albert_tf.tasks.race.task",
    "albert_tf.report.page",
    "albert_tf.run.run",
    "albert_tf.tasks.squad.v1",
    "albert_tf.tasks.squad.v2",
    "sklearn.metrics",
    "scipy.stats",
)


def main() -> dict:
    """Serve requests; returns only in a forked process, with its request."""
    load_tensorflow()
    for name in _LOADED:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            return json.loads(line)
        print(process, flush=True)
        print(os.waitpid(process, 0)[1], flush=True)
    sys.exit()


if __name__ == "__main__":
    request = main()
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    outputs = [
        os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for name in ("stdout", "stderr")
    ]
    for target, source in enumerate((nothing, *outputs)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    if request["has_file_events"]:
        ctypes.CDLL(None).file_events_start()
    sys.argv = [request["script"], *request["arguments"]]
    runpy.run_path(request["script"], run_name="__main__")

"""Runs run_classifier.py and kills it with SIGKILL before a chosen file operation.

python tests/killed_run.py <event> <regular expression> <count> --flag=value …

The event is one of Python's audit events, such as os.rename or os.remove. The process is killed
when as many of them as `count` have had an argument that matches.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # folder of run_classifier

import run_classifier
from albert_tf.runs.launch import launch


def kill_before(event: str, pattern: str, count: int) -> None:
    """Kill this process before the operation described above."""
    remaining = [count]

    def hook(name, arguments):
        if name != event:
            return
        if any(isinstance(a, (str, os.PathLike)) and re.search(pattern, str(a)) for a in arguments):
            remaining[0] -= 1
            if not remaining[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    kill_before(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    del sys.argv[1:4]
    launch(run_classifier.main, run_classifier.Settings)

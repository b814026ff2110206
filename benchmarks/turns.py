"""Worker processes that take turns, so that several programs can be measured in one run.

A worker reads commands from its standard input, a line of JSON each, and answers each with a line
on its standard output. Between its turns it is stopped (SIGSTOP), so that its idle threads take no
time of the others. This file uses the standard library alone, as workers run in environments of
their own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Iterator, Mapping

_ANSWER = "answer: "


class Worker:
    """A worker process, stopped while it is not its turn."""

    def __init__(self, command: list[str], environment: Mapping[str, str]):
        """Start the process.

        Args:
          command: command line of the worker.
          environment: variables to add to the environment.
        """
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, **command: Any) -> Any:
        """Let the process carry out a command, and return its answer."""
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(_ANSWER):
                self._process.send_signal(signal.SIGSTOP)
                return json.loads(line[len(_ANSWER) :])
        raise SystemExit(f"{' '.join(self._process.args)}: exit code {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def commands() -> Iterator[dict[str, Any]]:
    """Yield the commands to this worker."""
    for line in sys.stdin:
        yield json.loads(line)


def answer(value: Any) -> None:
    """Answer a command to this worker."""
    sys.stdout.write(f"{_ANSWER}{json.dumps(value)}\n")
    sys.stdout.flush()


class Turn:
    """Measurement of a turn of this worker, from its creation on."""

    def __init__(self):
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    def end(self, tokens: int) -> None:
        """Answer the command with the measurements.

        Args:
          tokens: number of tokens of the turn.
        """
        seconds = time.perf_counter() - self._start
        cores = (time.process_time() - self._cpu_start) / seconds
        answer({"tokens": tokens, "seconds": seconds, "cores": cores, "memory": _peak_memory()})


def _peak_memory():
    """Largest resident memory of this process so far, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

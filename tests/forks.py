"""Client of `fork_server.py`: scripts start without importing TensorFlow, which takes seconds."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Mapping, Sequence

_START_SECONDS = 300
_OF_PYTEST = "PYTEST_CURRENT_TEST"  # changes with every test


class ForkServer:
    """Server process, which runs one script at a time."""

    def __init__(self, environment: Mapping[str, str], run_by: Sequence[str] = ()):
        """Start the server.

        Args:
          environment: its environment.
          run_by: command that runs the command given as its arguments, such as `unshare`.
        """
        self.environment = dict(environment)
        self._process = subprocess.Popen(
            [*run_by, sys.executable, str(Path(__file__).with_name("fork_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            bufsize=0,  # else a line may be here that `select` does not see
        )
        assert self._answer(_START_SECONDS) == "ready"

    def start(
        self,
        arguments: Sequence[str],
        stdout: Path,
        stderr: Path,
        environment: Mapping[str, str] | None = None,
        has_file_events: bool = False,
    ) -> int:
        """Start a script.

        Args:
          arguments: path of the script, and its arguments.
          stdout: file for its standard output, which is appended.
          stderr: file for its standard error.
          environment: variables added to those of the server.
          has_file_events: whether the preloaded library logs changes to files.

        Returns:
          Id of the process.
        """
        request = {
            "script": arguments[0],
            "arguments": list(arguments[1:]),
            "environment": {**self.environment, **(environment or {})},
            "directory": os.getcwd(),
            "stdout": str(stdout),
            "stderr": str(stderr),
            "has_file_events": has_file_events,
        }
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return int(self._answer(_START_SECONDS))

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end of the script that was started.

        Returns:
          Its exit code, the negative number of the signal that ended it, or None if it has not
          ended in time.
        """
        answer = self._answer(seconds)
        if answer is None:
            return None
        status = int(answer)
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def close(self) -> None:
        """End the server."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self, seconds):
        """Next line of the server; None if there is none in time."""
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        return self._process.stdout.readline().decode().strip()


def current_environment() -> dict[str, str]:
    """Environment of this process, as far as it does not change from test to test by itself."""
    return {name: value for name, value in os.environ.items() if name != _OF_PYTEST}

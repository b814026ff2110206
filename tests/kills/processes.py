"""Processes of scripts that log the changes to their files, and get a signal at one of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from forks import ForkServer
from scripts import command

FOLDER = Path(__file__).parent
_DEADLINE_SECONDS = 300
_WORKERS_END_SECONDS = 60  # after their parent


@dataclass(frozen=True)
class Change:
    """A change that a process is about to make to a file.

    Attributes:
      seconds: time on the monotonic clock.
      operation: `open`, `write`, `flush`, `close`, `rename`, `remove`, `mkdir`, …
      path: path under the watched folder, the new one of a renamed file.
    """

    seconds: float
    operation: str
    path: str


@dataclass(frozen=True)
class Strike:
    """A signal at a change.

    Attributes:
      number: number of the change, from 1, before which it is sent.
      delay: seconds to wait then.
      signal: the signal.
      hits_worker: whether a child of the process gets it.
    """

    number: int
    delay: float = 0.0
    signal: int = signal.SIGKILL
    hits_worker: bool = False


@dataclass(frozen=True)
class Ended:
    """A process that has ended.

    Attributes:
      status: exit code, or the negative number of the signal that ended it.
      log: its standard output and error.
      changes: all changes to its files.
    """

    status: int
    log: str
    changes: Sequence[Change]


def compile_library(directory: Path) -> Path:
    """Compile the library that logs changes; needs a C compiler."""
    library = directory / "file_events.so"
    compiler = os.environ.get("CC", "cc")
    source = str(FOLDER / "file_events.c")
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library)]
    libraries = ["-ldl", "-lrt", "-lpthread"]
    subprocess.run([compiler, *options, source, *libraries], check=True)
    return library


class Runner:
    """Runs scripts whose changes to the files under a folder are logged."""

    def __init__(self, directory: Path):
        """Compile the library; `directory` is for logs."""
        self._directory = directory
        self._library = compile_library(directory)
        self._server = None

    def close(self) -> None:
        """End the fork server."""
        if self._server:
            self._server.close()
            self._server = None

    def run(
        self,
        script: str,
        flags: dict,
        root: Path,
        strike: Strike | None = None,
        forked: bool = True,
    ) -> Ended:
        """Run a script to its end.

        Args:
          script: file name of the script.
          flags: its flags.
          root: folder to watch.
          strike: signal to send, if any.
          forked: whether to fork a process that has TensorFlow imported, to save time.
        """
        log, changes = self._directory / "log.txt", self._directory / "changes.txt"
        log.write_text("")
        changes.write_text("")
        environment = {"FILE_EVENTS_ROOT": str(root), "FILE_EVENTS_LOG": str(changes)}
        if strike:
            sent = signal.SIGSTOP if strike.hits_worker else strike.signal
            environment["FILE_EVENTS_SIGNAL"] = str(int(sent))
            environment["FILE_EVENTS_AT"] = str(strike.number)
            environment["FILE_EVENTS_DELAY"] = str(round(strike.delay * 1e6))
        start = self._forked if forked else self._plain
        with start(command(script, flags)[1:], environment, log) as (process, wait):
            if strike and strike.hits_worker:
                _strike_worker(process, strike.signal)
            status = wait(_DEADLINE_SECONDS)
            assert status is not None, (
                f"still running after {_DEADLINE_SECONDS} s:\n{log.read_text()}"
            )
        return Ended(status, log.read_text(), read_changes(changes))

    @contextlib.contextmanager
    def _plain(self, arguments, environment, log):
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment, "LD_PRELOAD": str(self._library)},
                start_new_session=True,
            )

        def wait(seconds):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(seconds)

        with _whole_session_ends(process.pid):
            yield process.pid, wait

    @contextlib.contextmanager
    def _forked(self, arguments, environment, log):
        if self._server is None:
            self._server = ForkServer({**os.environ, "LD_PRELOAD": str(self._library)})
        process = self._server.start(arguments, log, log, environment, has_file_events=True)
        try:
            with _whole_session_ends(process):
                yield process, self._server.wait
        except BaseException:
            self.close()  # its answers would be taken for those to the next request
            raise


@contextlib.contextmanager
def _whole_session_ends(leader: int) -> Iterator[None]:
    """Assert after the block that no process of a session is left, and end those that are."""
    try:
        yield
        deadline = time.time() + _WORKERS_END_SECONDS
        while _session(leader) and time.time() < deadline:
            time.sleep(0.02)
        assert not _session(leader), "the process has ended, but not all of its workers"
    finally:
        for process in _session(leader):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _strike_worker(process, signal_number):
    """Wait until a process has stopped itself, send a signal to a child, and let it go on."""
    deadline = time.time() + _DEADLINE_SECONDS
    while _field(process, "State") not in ("T", None):
        assert time.time() < deadline
        time.sleep(0.01)
    workers = [other for other in _session(process) if other != process]
    if workers:
        os.kill(min(workers), signal_number)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


def _session(leader):
    """Running processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == leader:
                    found.append(int(entry.name))
    return [process for process in found if _field(process, "State") not in ("Z", None)]


def _field(process, name):
    """First letter of a field in a process's status; None if the process is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.split()[1]
    return None


def read_changes(path: Path) -> list[Change]:
    """Read a log of changes."""
    changes = []
    for line in path.read_text().splitlines():
        nanoseconds, operation, name = line.split(" ", 2)
        changes.append(Change(int(nanoseconds) / 1e9, operation, name))
    return changes

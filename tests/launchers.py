"""Launchers of runs with several processes: Open MPI, and Horovod's own launcher with Gloo."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 300  # a run takes about 20 s
_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# The processes share the cores, so waiting ones must yield.
_MPI_FLAGS = ("--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1")


def started_by(launcher: str, processes: int, command: list[str]) -> list[str]:
    """Command line that starts several processes of a command.

    Args:
      launcher: "mpi" or "gloo".
      processes: number of processes.
      command: command line of each process.
    """
    if launcher == "gloo":
        horovodrun = str(Path(sys.executable).with_name("horovodrun"))
        _find(horovodrun, "run `make horovod`")
        return [horovodrun, "--gloo", "-np", str(processes), *command]
    return ["mpirun", *mpi_flags(), "-np", str(processes), *command]


def mpi_flags() -> tuple[str, ...]:
    """Flags of `mpirun` for this machine."""
    _find("mpirun", "apt-get install openmpi-bin libopenmpi-dev, then rebuild Horovod")
    return _MPI_FLAGS


def _find(program, remedy):
    if not shutil.which(program):
        pytest.fail(f"{program} is missing: {remedy}")


def start(command: list[str], **options) -> subprocess.Popen:
    """Start a command line of `started_by`, with its output in pipes."""
    environment = {**os.environ, **_ENVIRONMENT, **options.pop("env", {})}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def descendants(process_id: int) -> list[int]:
    """Ids of the processes that a process has started, and of those that these have started."""
    found = []
    for task in Path(f"/proc/{process_id}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def rank_processes(launcher: subprocess.Popen, script: str) -> dict[int, int]:
    """Ids of the Python processes that a launcher runs a script in, by rank."""
    ranks = {}
    for process_id in descendants(launcher.pid):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{process_id}/cmdline").read_text().split("\0")
            environment = Path(f"/proc/{process_id}/environ").read_text().split("\0")
            if command[1:2] and command[1].endswith(script):
                values = dict(item.partition("=")[::2] for item in environment)
                rank = values.get("OMPI_COMM_WORLD_RANK") or values["HOROVOD_RANK"]
                ranks[int(rank)] = process_id
    return ranks


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Wait for a started process to end; fail the test after `TIMEOUT_SECONDS`."""
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher then ends its processes
        stdout, stderr = process.communicate()
        pytest.fail(f"the run hangs:\n{stderr}")
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def launch(
    launcher: str, processes: int, command: list[str], **options
) -> subprocess.CompletedProcess:
    """Start several processes of a command, and wait for them to end."""
    return finish(start(started_by(launcher, processes, command), **options))

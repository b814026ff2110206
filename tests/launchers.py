"""Starting several processes of one run, by Open MPI or by Horovod's own launcher with Gloo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 300  # a run that hangs must end some time; it takes about 20 s
_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# The processes share the cores: those that wait must let the others work.
_MPI_FLAGS = ("--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1")


def started_by(launcher: str, processes: int, command: list[str]) -> list[str]:
    """The command line that starts several processes of a command.

    Args:
      launcher: "mpi" or "gloo".
      processes: number of processes.
      command: the command line of one.
    """
    if launcher == "gloo":
        horovodrun = str(Path(sys.executable).with_name("horovodrun"))
        _find(horovodrun, "`make horovod` builds it")
        return [horovodrun, "--gloo", "-np", str(processes), *command]
    return ["mpirun", *mpi_flags(), "-np", str(processes), *command]


def mpi_flags() -> tuple[str, ...]:
    """The flags of `mpirun` for this machine."""
    _find("mpirun", "apt-get install openmpi-bin libopenmpi-dev, then build Horovod anew")
    return _MPI_FLAGS


def _find(program, remedy):
    if not shutil.which(program):
        pytest.fail(f"{program} is missing: {remedy}")


def start(command: list[str], **options) -> subprocess.Popen:
    """Start a command line of `started_by`; its standard error goes to a pipe."""
    environment = {**os.environ, **_ENVIRONMENT, **options.pop("env", {})}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Wait for the end of what was started."""
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # launchers end what they have started
        stdout, stderr = process.communicate()
        pytest.fail(f"the run hangs:\n{stderr}")
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def launch(
    launcher: str, processes: int, command: list[str], **options
) -> subprocess.CompletedProcess:
    """Start several processes of a command and wait for their end."""
    return finish(start(started_by(launcher, processes, command), **options))

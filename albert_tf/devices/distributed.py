"""Processes of a run: rank, size, and exchange of values.

Only this module and `reductions` use Horovod. All functions also work in a run of one process,
which has rank 0, so callers need not know whether Horovod is in use.

Functions documented with "all processes" are collective: every process must call them, in the same
order.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import json
import logging as python_logging
import os
import re
import socket
import sys
import threading
import time
from types import ModuleType
from typing import Any, Callable, Iterator, NoReturn

import numpy as np
from absl import logging

from albert_tf.io.errors import InputError

# Set by launchers to the number of processes.
_LAUNCHED_SIZES = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE")
# A process that is missing for this long has hung, or its host is down. Horovod looks for missing
# processes, and warns of them, each time the second limit has passed.
_STALL_SHUTDOWN = "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS"
_STALL_SHUTDOWN_SECONDS = 1800
_STALL_CHECK_SECONDS = 60
_TICK_SECONDS = 1.0
_SHUTDOWN_SECONDS = 5.0
_MARGIN_SECONDS = 1.0
_FAILURE_ELSEWHERE = re.compile("Horovod has been shut down|gloo/|Connection (closed|reset)")
_INSTALL = "run `make horovod`, or see docs/distributed.md"


class _Watchdog:
    """Thread that ends this process if it has waited too long for the other processes of the run.

    Horovod's own limit only applies to processes that still answer: a suspended process, or a host
    that has vanished, also stops Horovod's check in all others. The launcher ends the run when one
    process ends.

    The thread counts its own ticks, not the clock's: a process that was itself suspended has not
    waited.
    """

    def __init__(self, limit: int):
        """Start the thread.

        Args:
          limit: seconds that a wait may take; 0 for any time.
        """
        self._limit = limit
        self._waits = 0
        self._ticks = 0.0
        if limit:
            threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Limit the time that the block may take."""
        self._ticks = 0.0
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            self._ticks = 0.0

    def _watch(self) -> None:
        while self._ticks <= self._limit:
            time.sleep(_TICK_SECONDS)
            self._ticks = self._ticks + _TICK_SECONDS if self._waits else 0.0
        logging.error(
            "the other processes have not answered for %d s: one has hung or was suspended, or its "
            "host is down; the same command resumes from the last checkpoint (%s sets the limit)",
            self._limit,
            _STALL_SHUTDOWN,
        )
        os._exit(1)


_horovod: Any = None  # the module `horovod.tensorflow` after `initialize`
_watchdog = _Watchdog(0)


def initialize(use_horovod: bool) -> None:
    """Connect to the other processes of the run. Call this before creating any session.

    Args:
      use_horovod: value of --use_horovod.

    Raises:
      InputError: if Horovod cannot be loaded or does not see the launched processes, or if several
        processes were launched without it.
    """
    global _horovod, _watchdog
    if _horovod is not None:
        return
    launched = launched_processes()
    if not use_horovod:
        if launched > 1:
            raise InputError(
                f"{launched} processes were launched without --use_horovod: each would train by "
                "itself and write the same files; add --use_horovod"
            )
        return
    stall_limit = _set_stall_limits()
    horovod = _load_horovod()
    horovod.init()
    if launched > 1 and horovod.size() == 1:
        raise InputError(
            f"{launched} processes were launched, but Horovod sees only one: it was built without "
            "support for this launcher; use `horovodrun --gloo`, or install Open MPI with its "
            "compiler (mpicxx) and rebuild Horovod"
        )
    _horovod = horovod
    if size() == 1:
        return
    _watchdog = _Watchdog(stall_limit)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(own_cores()))
    if not is_chief():  # which logs for all, except for warnings and errors
        if logging.get_verbosity() <= logging.INFO:
            logging.get_absl_handler().setLevel(python_logging.WARNING)
        python_logging.captureWarnings(True)
    hosts()


def _set_stall_limits() -> int:
    """Set Horovod's limits, unless the user has, and return the watchdog's, in seconds.

    Horovod ignores its limit if it is below the time between its checks. It ends a run in which a
    process answers but takes no part, and names it; so it comes first.
    """
    shutdown = _seconds(_STALL_SHUTDOWN, _STALL_SHUTDOWN_SECONDS)
    check_seconds = min(_STALL_CHECK_SECONDS, max(1, shutdown // 2))
    check = _seconds("HOROVOD_STALL_CHECK_TIME_SECONDS", check_seconds)
    return shutdown + check if shutdown else 0


def _seconds(variable: str, default: int) -> int:
    """Value of an environment variable, which is set to the default if it is missing."""
    text = os.environ.setdefault(variable, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"{variable}={text}: give an integer number of seconds") from error


def watching() -> contextlib.AbstractContextManager[None]:
    """Context in which this process waits for others, and ends if that takes too long."""
    return _watchdog.watching()


def launched_processes() -> int:
    """Number of processes that a launcher has started, known before `initialize`."""
    return max(int(os.environ.get(name) or 1) for name in _LAUNCHED_SIZES)


def _load_horovod() -> ModuleType:
    try:
        return importlib.import_module("horovod.tensorflow")
    except ModuleNotFoundError as error:
        raise InputError(f"--use_horovod: Horovod is not installed; {_INSTALL}") from error
    except Exception as error:  # a library built for another TensorFlow raises tf.errors too
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--use_horovod: Horovod cannot be loaded ({reason}); rebuild it after changing the "
            f"TensorFlow version: {_INSTALL}"
        ) from error


def own_cores() -> int:
    """Number of cores for this process: all that it may run on, or its share of them.

    A process that may run on all cores of its launcher shares them with the other ranks.
    """
    cores = os.sched_getaffinity(0)
    if size() > 1 and cores == os.sched_getaffinity(os.getppid()):
        return max(1, len(cores) // _horovod.local_size())
    return len(cores)


def log_processes() -> None:
    """Log the hosts of all processes, in a run of several processes."""
    if size() > 1:
        counts = collections.Counter(hosts())
        logging.info(
            "%d processes connected by %s: %s",
            size(),
            "MPI" if _horovod.mpi_enabled() else "Gloo",
            ", ".join(f"{count} on {host}" for host, count in counts.items()),
        )


@functools.lru_cache(maxsize=None)
def hosts() -> tuple[str, ...]:
    """Names of the hosts of all processes, ordered by rank."""
    return tuple(gather(socket.gethostname()))


def shares_host_with_chief() -> bool:
    """Whether this process runs on the host of rank 0."""
    return hosts()[rank()] == hosts()[0]


def horovod_module() -> Any:
    """The module `horovod.tensorflow`, or None in a run of one process."""
    return _horovod if size() > 1 else None


def rank() -> int:
    """Rank of this process, from 0."""
    return _horovod.rank() if _horovod else 0


def size() -> int:
    """Number of processes in the run."""
    return _horovod.size() if _horovod else 1


def local_rank() -> int:
    """Rank of this process among the processes on the same host, from 0."""
    return _horovod.local_rank() if _horovod else 0


def is_chief() -> bool:
    """Whether this process (rank 0) writes the checkpoints, summaries and results."""
    return rank() == 0


def own_shard(count: int) -> range:
    """Indexes of this process's shard of `count` items."""
    return shard_of(count, rank(), size())


def shard_of(count: int, rank: int, size: int) -> range:
    """Indexes of one rank's shard of `count` items.

    Shards are contiguous. The first `count % size` ranks get one item more than the others.

    Example: `[shard_of(10, rank, 3) for rank in range(3)]` is 0 to 3, 4 to 6 and 7 to 9.

    Args:
      count: number of items in all shards.
      rank: rank of the process, from 0.
      size: number of processes.
    """
    quotient, remainder = divmod(count, size)
    start = rank * quotient + min(rank, remainder)
    return range(start, start + quotient + (rank < remainder))


def own_file(path: str) -> str:
    """Path of this process's shard of a file: `<path>_<rank>`, or `path` in a single process."""
    return path if size() == 1 else f"{path}_{rank()}"


def own_directory(path: str) -> str:
    """Working directory of this process: `path` for rank 0, `path/<rank>` for the others."""
    return path if is_chief() or not path else os.path.join(path, str(rank()))


def shard_setting() -> dict[str, str]:
    """Manifest setting that identifies this shard of a record file; empty in a single process."""
    return {} if size() == 1 else {"shard": f"{rank() + 1} of {size()}"}


@functools.lru_cache(maxsize=None)
def _all_gather() -> Callable[[np.ndarray], list[np.ndarray]]:
    """Function from the bytes of this process to the lengths and the bytes of all processes.

    Its session uses the CPU only, to leave the accelerator to the model.
    """
    import tensorflow.compat.v1 as tf  # slow to load, and needed only with Horovod

    with tf.Graph().as_default() as graph:
        own = tf.placeholder(tf.uint8, [None])
        lengths = _horovod.allgather(tf.shape(own), name="exchange_lengths")
        of_all = _horovod.allgather(own, name="exchange_bytes")
    session = tf.Session(graph=graph, config=tf.ConfigProto(device_count={"GPU": 0}))
    return session.make_callable([lengths, of_all], [own])


def gather(value: Any) -> list[Any]:
    """Gather a JSON value from all processes, ordered by rank."""
    if size() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    with watching():
        lengths, of_all = _all_gather()(data)
    parts = np.split(of_all, np.cumsum(lengths)[:-1])
    return [json.loads(part.tobytes()) for part in parts]


def broadcast(value: Any) -> Any:
    """Return the JSON value of rank 0 in all processes; the other ranks' values are ignored."""
    return gather(value if is_chief() else None)[0]


def sum_of_earlier(count: Callable[[], int]) -> int:
    """Sum of the counts of lower ranks; called by all processes.

    Args:
      count: computes the count of this process. Not called in a run of one process, where the sum
        is 0.
    """
    return 0 if size() == 1 else sum(gather(count())[: rank()])


def wait_for_all() -> None:
    """Wait until all processes have called this function (barrier)."""
    gather(None)


def with_rank(text: str) -> str:
    """Prefix each line of a text with the rank, except on rank 0."""
    if is_chief():
        return text
    return "\n".join(f"rank {rank()}: {line}" for line in text.splitlines())


def is_failure_elsewhere(error: Exception) -> bool:
    """Whether an error only reports that another process ended or is unreachable."""
    return size() > 1 and bool(_FAILURE_ELSEWHERE.search(getattr(error, "message", "")))


def exit_with_error(message: str, told_by_chief: bool = False) -> NoReturn:
    """End this process with exit code 1, and with it the run.

    Args:
      message: text for standard error.
      told_by_chief: whether all processes end here with the same message. Then only rank 0 prints
        it.
    """
    if size() == 1:
        sys.exit(message)
    if is_chief() or not told_by_chief:
        sys.stderr.write(f"{with_rank(message)}\n")
    if told_by_chief:
        _call_briefly(wait_for_all)  # the launcher kills all processes as soon as one ends
    exit_process(1)


def exit_after_others(message: str) -> NoReturn:
    """End this process with exit code 1 because another process ends.

    Launchers report the exit code of the process that ends first: it must be the other one's. They
    then end this process.

    Args:
      message: text for standard error.
    """
    sys.stderr.write(f"{with_rank(message)}\n")
    sys.stderr.flush()
    time.sleep(_SHUTDOWN_SECONDS + _MARGIN_SECONDS)
    exit_process(1)


def exit_process(code: int, is_shared: bool = False) -> NoReturn:
    """End this process, and with it the run.

    Args:
      code: exit code, other than 0.
      is_shared: whether all processes end here.
    """
    if size() == 1:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    # The shutdown makes the other processes' reductions fail, so they end too. A normal exit
    # of Python could hang.
    if not is_shared:
        _call_briefly(_horovod.shutdown)
    os._exit(code)


def _call_briefly(function: Callable[[], object]) -> None:
    """Call a function in a thread, and wait for at most a few seconds."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(_SHUTDOWN_SECONDS)

"""The processes of a run: how many there are, this one's rank, and what they tell each other.

Horovod is asked about here and in `reductions` alone. A run on one card has one process, rank 0:
every function works there too, so that callers need not know whether Horovod is in use.

Functions that say "all processes" are collective: all processes must call them, in the same order.
"""

from __future__ import annotations

import collections
import functools
import importlib
import json
import logging as python_logging
import os
import re
import socket
import sys
import threading
from typing import Any, Callable, NoReturn

import numpy as np
from absl import logging

from albert_tf.errors import InputError

# Where launchers say how many processes they have started.
_LAUNCHED_SIZES = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE")
# A process that has been waited for so long never comes: its server has gone, or it hangs.
_STALL_SHUTDOWN_SECONDS = 1800
_LEAVE_SECONDS = 5.0
_FAILURE_ELSEWHERE = re.compile("Horovod has been shut down|gloo/|Connection (closed|reset)")
_INSTALL = "`make horovod` builds it, or see README.md, Many cards and servers"

_horovod = None  # the module `horovod.tensorflow`, once this process has joined the others


def initialize(use_horovod: bool) -> None:
    """Join the other processes of the run; before any session is made.

    Raises:
      InputError: if Horovod cannot be loaded, or does not see the processes that were started.
    """
    global _horovod
    if _horovod is not None:
        return
    launched = _launched_processes()
    if not use_horovod:
        if launched > 1:
            raise InputError(
                f"{launched} processes have been started, but each would train alone and write "
                "the same files: give --use_horovod"
            )
        return
    os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", str(_STALL_SHUTDOWN_SECONDS))
    horovod = _load_horovod()
    horovod.init()
    if launched > 1 and horovod.size() == 1:
        raise InputError(
            f"{launched} processes have been started, but Horovod sees one: it was built without "
            "what started them; start them with `horovodrun --gloo`, or install Open MPI with its "
            "compiler (mpicxx) and build Horovod anew"
        )
    _horovod = horovod
    if size() == 1:
        return
    _share_cores(horovod.local_size())
    if not is_chief():
        _warn_only()


def _launched_processes():
    return max(int(os.environ.get(name) or 1) for name in _LAUNCHED_SIZES)


def _load_horovod():
    try:
        return importlib.import_module("horovod.tensorflow")
    except ModuleNotFoundError as error:
        raise InputError(f"--use_horovod: Horovod is not installed: {_INSTALL}") from error
    except Exception as error:  # TensorFlow's own kinds, too, for a library of another version
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--use_horovod: Horovod cannot be loaded ({reason}); it must be built anew after "
            f"another TensorFlow has been installed: {_INSTALL}"
        ) from error


def _share_cores(processes):
    """Give this process its share of the server's cores, unless the launcher has done so."""
    cores = os.sched_getaffinity(0)
    if cores == os.sched_getaffinity(os.getppid()):
        threads = max(1, len(cores) // processes)
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))


def log_processes() -> None:
    """Log the servers of all processes, if there are several."""
    servers = collections.Counter(gather(socket.gethostname()))
    if size() > 1:
        logging.info(
            "%d processes work together by %s: %s",
            size(),
            "MPI" if _horovod.mpi_enabled() else "Gloo",
            ", ".join(f"{count} on {server}" for server, count in servers.items()),
        )


def horovod_module() -> Any:
    """The module `horovod.tensorflow`; None in a run of one process."""
    return _horovod if size() > 1 else None


def rank() -> int:
    """Rank of this process, from 0."""
    return _horovod.rank() if _horovod else 0


def size() -> int:
    """Number of processes."""
    return _horovod.size() if _horovod else 1


def local_rank() -> int:
    """Rank of this process among those on the same server, from 0."""
    return _horovod.local_rank() if _horovod else 0


def is_chief() -> bool:
    """Whether this process writes the checkpoints, summaries and results."""
    return rank() == 0


def own_shard(count: int) -> range:
    """Indexes of this process's shard of `count` items in a row."""
    return shard_of(count, rank(), size())


def shard_of(count: int, rank: int, size: int) -> range:
    """Indexes of one rank's shard of `count` items in a row.

    Shards are contiguous; the first `count % size` ranks get one item more than the others.

    Example: `[shard_of(10, rank, 3) for rank in range(3)]` is 0 to 3, 4 to 6 and 7 to 9.
    """
    least, remainder = divmod(count, size)
    start = rank * least + min(rank, remainder)
    return range(start, start + least + (rank < remainder))


def own_file(path: str) -> str:
    """Path of this process's shard of a file: `<path>_<rank>`, or `path` if it is alone."""
    return path if size() == 1 else f"{path}_{rank()}"


def own_directory(path: str | None) -> str | None:
    """Directory that this process works in: `path`, or `path/<rank>` for all but rank 0."""
    return path if is_chief() or not path else os.path.join(path, str(rank()))


def shard_setting() -> dict[str, str]:
    """The setting that tells the shards of a record file apart; empty if there is one shard."""
    return {} if size() == 1 else {"shard": f"{rank() + 1} of {size()}"}


@functools.lru_cache(maxsize=None)
def _exchange():
    return _Exchange()


class _Exchange:
    """All-gather of bytes between the processes, in a small graph of its own.

    Its session has no device but the CPU: an accelerator belongs to the model.
    """

    def __init__(self):
        import tensorflow.compat.v1 as tf  # only Horovod's runs need it here

        with tf.Graph().as_default() as graph:
            self._length = tf.placeholder(tf.int64, [1])
            self._bytes = tf.placeholder(tf.uint8, [None])
            self._lengths = _horovod.allgather(self._length, name="exchange_lengths")
            self._all_bytes = _horovod.allgather(self._bytes, name="exchange_bytes")
        config = tf.ConfigProto(device_count={"GPU": 0})
        self._session = tf.Session(graph=graph, config=config)

    def gather(self, data: bytes) -> list[bytes]:
        """Bytes of all processes, in the order of their ranks."""
        lengths = self._session.run(self._lengths, {self._length: [len(data)]})
        own = np.frombuffer(data, np.uint8)
        together = self._session.run(self._all_bytes, {self._bytes: own})
        ends = np.cumsum(lengths)
        return [together[end - length : end].tobytes() for length, end in zip(lengths, ends)]


def gather(value: Any) -> list[Any]:
    """JSON values of all processes, in the order of their ranks."""
    if size() == 1:
        return [value]
    return [json.loads(data) for data in _exchange().gather(json.dumps(value).encode())]


def broadcast(value: Any) -> Any:
    """The JSON value of rank 0; those of the others of all processes are not used."""
    return gather(value if is_chief() else None)[0]


def sum_of_earlier(count: Callable[[], int]) -> int:
    """Sum of the counts of all processes with lower ranks.

    A process that is alone need not count, and gets 0.
    """
    return 0 if size() == 1 else sum(gather(count())[: rank()])


def wait_for_all() -> None:
    """Return when all processes have come here."""
    gather(None)


def _warn_only():
    """Let this process log warnings and errors alone, each line with its rank."""
    handler = logging.get_absl_handler()
    handler.setFormatter(_RankFormatter())
    if logging.get_verbosity() <= logging.INFO:
        handler.setLevel(python_logging.WARNING)
    python_logging.captureWarnings(True)


class _RankFormatter(logging.PythonFormatter):
    """absl's log lines, with the rank before each."""

    def format(self, record):
        return _with_rank(super().format(record))


def _with_rank(text):
    """A text with the rank before each line, but for rank 0."""
    if is_chief():
        return text
    return "\n".join(f"rank {rank()}: {line}" for line in text.splitlines())


def is_failure_elsewhere(error: Exception) -> bool:
    """Whether an error only says that another process has ended, or cannot be reached."""
    return size() > 1 and bool(_FAILURE_ELSEWHERE.search(getattr(error, "message", "")))


def exit_with_error(message: str, told_by_chief: bool = False) -> NoReturn:
    """End this process with exit code 1, and by that the run: no process waits for it any more.

    Args:
      message: text for standard error.
      told_by_chief: whether all processes end here with the same message, which rank 0 tells.
    """
    if size() == 1:
        sys.exit(message)
    if is_chief() or not told_by_chief:
        sys.stderr.write(f"{_with_rank(message)}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    if told_by_chief:
        _within_seconds(wait_for_all)  # the launcher ends all processes as soon as one has ended
    # Horovod tells the others, whose reductions fail then. Python's own way out may wait for ever.
    _within_seconds(_horovod.shutdown)
    os._exit(1)


def _within_seconds(function):
    """Call a function, and do not wait long for it to return."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(_LEAVE_SECONDS)

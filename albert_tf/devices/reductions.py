"""How many processes train together, which of them this is, and what they tell each other.

Horovod is asked about here and nowhere else. A run on one card has one process, rank 0: every
function works there too, so that callers need not know whether Horovod is in use.

Functions that say "all processes" must be called by all, in the same order: they wait for each
other.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import importlib
import io
import json
import logging as python_logging
import os
import re
import socket
import sys
import threading
from typing import Any, Callable, Mapping, NoReturn, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.errors import InputError

COMPRESSIONS = ("none", "fp16")
# Where launchers say how many processes they have started.
_LAUNCHED_SIZES = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE")
# A process that has been waited for so long never comes: its server has gone, or it hangs.
_STALL_SHUTDOWN_SECONDS = 1800
_LEAVE_SECONDS = 5.0
_FAILURE_ELSEWHERE = re.compile("Horovod has been shut down|gloo/|Connection (closed|reset)")
_INSTALL = "`make horovod` builds it, or see README.md, Many cards and servers"

_horovod = None  # the module `horovod.tensorflow`, once this process has joined the others


def initialize(use_horovod: bool) -> None:
    """Joins the other processes of the run; before any session is made.

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
    except (ImportError, OSError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--use_horovod: Horovod cannot be loaded ({reason}); it must be built anew after "
            f"another TensorFlow has been installed: {_INSTALL}"
        ) from error


def _share_cores(processes):
    """Gives this process its share of the server's cores, unless the launcher has done so."""
    cores = os.sched_getaffinity(0)
    if cores == os.sched_getaffinity(os.getppid()):
        threads = max(1, len(cores) // processes)
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))


def log_processes() -> None:
    """Logs on which servers all processes are, if there are several."""
    servers = collections.Counter(gather(socket.gethostname()))
    if size() > 1:
        logging.info(
            "%d processes work together by %s: %s",
            size(),
            "MPI" if _horovod.mpi_enabled() else "Gloo",
            ", ".join(f"{count} on {server}" for server, count in servers.items()),
        )


def rank() -> int:
    """The number of this process, from 0."""
    return _horovod.rank() if _horovod else 0


def size() -> int:
    """The number of processes."""
    return _horovod.size() if _horovod else 1


def local_rank() -> int:
    """The number of this process among those on the same server, from 0."""
    return _horovod.local_rank() if _horovod else 0


def is_chief() -> bool:
    """Whether this process writes the checkpoints, summaries and results."""
    return rank() == 0


def own_part(count: int) -> range:
    """The numbers of those of `count` things in a row that are for this process."""
    return part_of(count, rank(), size())


def part_of(count: int, rank: int, size: int) -> range:
    """The numbers of a rank's part of `count` things in a row, dealt out to `size` ranks: each gets
    a stretch of them, and the first `count % size` ranks get one more than the others."""
    least, remainder = divmod(count, size)
    start = rank * least + min(rank, remainder)
    return range(start, start + least + (rank < remainder))


def own_file(path: str) -> str:
    """The path of this process's part of a file: `<path>_<rank>`, or `path` if it is alone."""
    return path if size() == 1 else f"{path}_{rank()}"


def own_directory(path: str | None) -> str | None:
    """The directory that this process works in: `path`, or `path/<rank>` for all but rank 0."""
    return path if is_chief() or not path else os.path.join(path, str(rank()))


def part_setting() -> dict[str, str]:
    """What tells the parts of a file apart, as a setting of records; nothing if there is one."""
    return {} if size() == 1 else {"part": f"{rank() + 1} of {size()}"}


@functools.lru_cache(maxsize=None)
def _exchange():
    return _Exchange()


class _Exchange:
    """Moves bytes between the processes, in a small graph of its own.

    Its session has no device but the CPU: an accelerator belongs to the model.
    """

    def __init__(self):
        with tf.Graph().as_default() as graph:
            self._length = tf.placeholder(tf.int64, [1])
            self._bytes = tf.placeholder(tf.uint8, [None])
            self._lengths = _horovod.allgather(self._length, name="exchange_lengths")
            self._all_bytes = _horovod.allgather(self._bytes, name="exchange_bytes")
        config = tf.ConfigProto(device_count={"GPU": 0})
        self._session = tf.Session(graph=graph, config=config)

    def gather(self, data: bytes) -> list[bytes]:
        """What all processes give, in the order of their ranks."""
        lengths = self._session.run(self._lengths, {self._length: [len(data)]})
        own = np.frombuffer(data, np.uint8)
        together = self._session.run(self._all_bytes, {self._bytes: own})
        ends = np.cumsum(lengths)
        return [together[end - length : end].tobytes() for length, end in zip(lengths, ends)]


def gather(value: Any) -> list[Any]:
    """The JSON values that all processes give, in the order of their ranks."""
    if size() == 1:
        return [value]
    return [json.loads(data) for data in _exchange().gather(json.dumps(value).encode())]


def broadcast(value: Any) -> Any:
    """The JSON value that rank 0 gives; what the others of all processes give is not used."""
    return gather(value if is_chief() else None)[0]


def gather_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joins the arrays of all processes along their first axis, in the order of the ranks.

    Args:
      arrays: arrays by name; none from a process that has nothing to give.
    """
    if size() == 1:
        return dict(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    parts = []
    for data in _exchange().gather(buffer.getvalue()):
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            parts.append({name: file[name] for name in file.files})
    parts = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def sum_of_earlier(count: Callable[[], int]) -> int:
    """The sum of what the processes with lower ranks count, of all processes; 0 for one alone,
    which need not count."""
    return 0 if size() == 1 else sum(gather(count())[: rank()])


def wait_for_all() -> None:
    """Returns when all processes have come here."""
    gather(None)


def average(tensors: Sequence[tf.Tensor], name: str, compression: str = "none") -> list[tf.Tensor]:
    """The means of tensors over all processes, as a part of a graph that all of them run.

    Args:
      tensors: dense float tensors of the same shapes in all processes.
      name: tells these means from others in the graph.
      compression: "none", or "fp16" to send them as 16-bit floats.
    """
    if size() == 1:
        return list(tensors)
    return [
        _horovod.allreduce(
            tensor,
            op=_horovod.Average,
            compression=getattr(_horovod.Compression, compression),
            name=f"{name}_{number}",
        )
        for number, tensor in enumerate(tensors)
    ]


def session_hooks() -> list[tf.train.SessionRunHook]:
    """Hooks that let the variables of all processes start with the values of rank 0's."""
    return [] if size() == 1 else [_horovod.BroadcastGlobalVariablesHook(0)]


def training_hooks() -> list[tf.train.SessionRunHook]:
    """`session_hooks`, and one that compares the weights at the start and at the end."""
    return [] if size() == 1 else [*session_hooks(), _SameWeightsHook()]


class _SameWeightsHook(tf.train.SessionRunHook):
    """Tells whether all processes have the same weights, to the bit."""

    def after_create_session(self, session, coord):
        self._compare(session, "start from")

    def end(self, session):
        self._compare(session, "end with")

    def _compare(self, session, verb):
        sha256 = hashlib.sha256()
        for value in session.run(tf.trainable_variables()):
            sha256.update(value.tobytes())
        digests = gather(sha256.hexdigest())
        others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if not others:
            logging.info("all %d processes %s the same weights", size(), verb)
        elif is_chief():
            logging.warning(
                "rank %s: the weights are not those of rank 0, which count: the servers calculate "
                "differently; have they the same processors and the same software?",
                ", ".join(others),
            )


def configure_session(config: tf.ConfigProto, enable_scoped_allocator: bool) -> None:
    """Changes the configuration of a session for what this process has of its server.

    Args:
      config: changed in place: with several processes, each sees one GPU.
      enable_scoped_allocator: whether reductions share buffers, so that fewer are copied; not if
        the environment variable TF_DISABLE_SCOPED_ALLOCATOR is true.
    """
    if size() > 1:
        config.gpu_options.visible_device_list = str(local_rank())
    if enable_scoped_allocator and not _environment_is_true("TF_DISABLE_SCOPED_ALLOCATOR"):
        options = config.graph_options.rewrite_options
        options.scoped_allocator_optimization = options.ON
        options.scoped_allocator_opts.enable_op.append("HorovodAllreduce")


def _environment_is_true(name):
    return os.environ.get(name, "").strip().lower() in ("1", "true", "yes")


def _warn_only():
    """Lets this process log warnings and errors alone, each line with its rank."""
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
    return (
        size() > 1
        and isinstance(error, tf.errors.OpError)
        and bool(_FAILURE_ELSEWHERE.search(error.message))
    )


def exit_with_error(message: str, told_by_chief: bool = False) -> NoReturn:
    """Ends this process with exit code 1, and by that the run: no process waits for it any more.

    Args:
      message: what standard error gets.
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
    """Calls a function, and does not wait long for it to return."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(_LEAVE_SECONDS)

"""Worker processes, with results in the order of the tasks."""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, Iterable, Iterator, TypeVar

from albert_tf.errors import InputError

_TASKS_PER_WORKER = 2  # that wait, run, or have a result that is not yet asked for
_PARENT_CHECK_SECONDS = 1.0

Task = TypeVar("Task")
Result = TypeVar("Result")

_function = None  # what a worker process calls


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    """Yield the results of a function for tasks, in the order of the tasks.

    Tasks are asked for only as fast as results are taken, so that memory does not grow with their
    number.

    Args:
      function: takes a task; the processes inherit it, so it may hold anything.
      tasks: the tasks; like the results, they must be picklable if there are several workers.
      num_workers: number of processes; with 1, this process does the work.

    Raises:
      InputError: if a worker process was killed.
    """
    if num_workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(
        num_workers,
        multiprocessing.get_context("fork"),
        initializer=_start_worker,
        initargs=(function, os.getpid()),
    )
    try:
        pending = collections.deque()
        for task in tasks:
            pending.append(pool.submit(_call, task))
            if len(pending) >= _TASKS_PER_WORKER * num_workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, perhaps because memory ran out: lower --num_workers"
        ) from error
    finally:
        pool.shutdown()


def _start_worker(function, parent):
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells of an interruption
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent):
    """End a worker whose parent was killed; it would wait for tasks for ever."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


def _call(task):
    return _function(task)

"""Parallel map over worker processes, with results in task order."""

from __future__ import annotations

import collections
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, Iterable, Iterator, TypeVar

from albert_tf import stopping
from albert_tf.errors import InputError

_TASKS_PER_WORKER = 2  # waiting, running, or with a result not taken yet
_PARENT_CHECK_SECONDS = 1.0
_STOP_CHECK_SECONDS = 0.1

Task = TypeVar("Task")
Result = TypeVar("Result")

_function = None  # function of a worker process


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    """Map a function over tasks in worker processes; yield the results in task order.

    The tasks are consumed only as fast as the results, to keep memory bounded. A signal to stop
    ends the workers; it is deferred while the pool works on its own state, its locks and its list
    of processes, which an exception at any moment would leave half-changed.

    Args:
      function: function of a task. Workers inherit it by fork, so it need not be picklable.
      tasks: arguments of the function. With several workers, tasks and results must be picklable.
      num_workers: number of processes; 1 to run in this process.

    Raises:
      InputError: if a worker process was killed.
    """
    if num_workers == 1:
        yield from map(function, tasks)
        return
    with stopping.deferred():
        pool = ProcessPoolExecutor(
            num_workers,
            multiprocessing.get_context("fork"),
            initializer=_start_worker,
            initargs=(function, os.getpid()),
        )
    try:
        pending = collections.deque()
        for task in tasks:
            with stopping.deferred(), _without_collection():
                pending.append(pool.submit(_call, task))
            if len(pending) >= _TASKS_PER_WORKER * num_workers:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, perhaps for lack of memory; lower --num_workers"
        ) from error
    except BaseException:  # not to wait for the tasks that have begun
        for process in multiprocessing.active_children():
            process.kill()  # a process that has just been forked loses SIGTERM
        raise
    finally:
        with stopping.deferred():
            pool.shutdown()


def _result(future: Future) -> Result:
    """Wait for a result; raise `Stopped` between two looks if a signal has arrived."""
    while True:
        with stopping.deferred():
            done, _ = wait([future], timeout=_STOP_CHECK_SECONDS)
        if done:
            return future.result()


@contextlib.contextmanager
def _without_collection():
    """Keep garbage that a process forked within would otherwise collect, until it freezes it.

    The end of a session in a fork would wait for threads that only the parent has.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _start_worker(function, parent):
    global _function
    _function = function
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent):
    """End this worker if its parent is killed; otherwise it would wait for tasks indefinitely."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


def _call(task):
    return _function(task)

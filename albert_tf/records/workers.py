"""Parallel map over worker processes, with results in task order."""

from __future__ import annotations

import collections
import contextlib
import gc
import multiprocessing
import os
import pickle
import queue
import threading
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Callable, Generic, Iterable, Iterator, TypeVar

from albert_tf.cli import signals
from albert_tf.io.errors import InputError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_TASKS_PER_WORKER = 2  # waiting, running, or with a result not taken yet

Task = TypeVar("Task")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    """Map a function over tasks in worker processes; yield the results in task order.

    The workers take turns. The tasks are consumed only as fast as the results, to keep memory
    bounded. A signal to stop ends the workers.

    Args:
      function: function of a task. Workers inherit it by fork, so it need not be picklable.
      tasks: arguments of the function. With several workers, tasks and results must be picklable.
      num_workers: number of processes; 1 to run in this process.

    Raises:
      InputError: if a worker process was killed.
    """
    if num_workers == 1:
        for task in tasks:
            signals.check()
            yield function(task)
        return
    workers: list[_Worker[Task, Result]] = []
    pending: collections.deque[_Worker[Task, Result]] = collections.deque()
    try:
        for number, task in enumerate(tasks):
            signals.check()
            with signals.deferred():
                if number < num_workers:
                    workers.append(_Worker(function))
                worker = workers[number % num_workers]
                worker.send(task)
                pending.append(worker)
            if len(pending) >= _TASKS_PER_WORKER * num_workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        with signals.deferred():
            for worker in workers:
                worker.end()


class _Worker(Generic[Task, Result]):
    """Worker process with a pipe of its own.

    One that is killed in the middle of a message breaks its own pipe, and the wait for it ends. The
    queues of `concurrent.futures`, which its processes share, would be left with half a message.
    """

    def __init__(self, function: Callable[[Task], Result]):
        context = multiprocessing.get_context("fork")
        self._connection, its_connection = context.Pipe()
        arguments = (function, its_connection, self._connection)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        with _without_collection():
            self._process.start()
        its_connection.close()

    def send(self, task: Task) -> None:
        """Give a task to the worker, which reads it at once, whatever it is doing."""
        with _named_if_killed():
            self._connection.send(task)

    def result(self) -> Result:
        """Wait for the result of the earliest task without one, or raise the task's exception."""
        with _named_if_killed():
            result, error = self._connection.recv()
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """End the process, in the middle of a task too."""
        self._process.kill()  # a process that has just been forked loses SIGTERM
        self._process.join()
        self._process.close()  # or its destructor would, in which a signal cannot raise `Stopped`
        self._connection.close()


@contextlib.contextmanager
def _named_if_killed() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        signals.check()  # the signal may have gone to all processes
        raise InputError(
            "a worker process was killed, perhaps for lack of memory; lower --num_workers"
        ) from error


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
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


def _work(
    function: Callable[[Any], Any], connection: Connection, parents_connection: Connection
) -> None:
    """Carry out tasks in a worker process, until the parent ends it or ends itself."""
    gc.freeze()
    gc.enable()
    signals.leave_to_parent()
    parents_connection.close()  # its end must be the parent's end
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, tasks), daemon=True).start()
    while True:
        try:
            message = pickle.dumps((function(tasks.get()), None))
        except Exception as error:  # of the function, or a result that cannot be pickled
            message = pickle.dumps((None, ExceptionWithTraceback(error, error.__traceback__)))
        with contextlib.suppress(OSError):  # the parent has ended, and `_read` ends this process
            connection.send_bytes(message)


def _read(connection: Connection, tasks: queue.SimpleQueue[Any]) -> None:
    """Thread: read tasks ahead, so that the parent never waits to send one, up to its end."""
    while True:
        try:
            tasks.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)

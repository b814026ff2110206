"""Parallel map: order of results, consumption of tasks, errors, killed processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from albert_tf.io.errors import InputError
from albert_tf.records.workers import ordered_map
from scripts import ROOT


def slow_if_even(number):
    time.sleep(0.02 if number % 2 == 0 else 0)
    return number * number, os.getpid()


@pytest.mark.parametrize("num_workers", [1, 3])
def test_results_come_in_order(num_workers):
    results = list(ordered_map(slow_if_even, range(20), num_workers))
    assert [square for square, _ in results] == [n * n for n in range(20)]
    processes = {process for _, process in results}
    assert len(processes) == num_workers
    assert (os.getpid() in processes) == (num_workers == 1)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_tasks_are_consumed_as_results_are_taken(num_workers):
    consumed = []

    def tasks():
        for number in range(100):
            consumed.append(number)
            yield number

    results = ordered_map(str, tasks(), num_workers)
    assert next(results) == "0"
    assert len(consumed) <= 2 * num_workers
    assert next(results) == "1"
    assert len(consumed) <= 2 * num_workers + 1


@pytest.mark.parametrize("num_workers", [1, 2])
def test_errors_reach_the_caller(num_workers):
    def refuse(number):
        raise InputError(f"task {number} is wrong")

    with pytest.raises(InputError, match="task 0 is wrong"):
        list(ordered_map(refuse, range(10), num_workers))


def test_garbage_of_the_parent_stays(tmp_path):
    """Neither between the fork and a worker's first line nor later does a worker collect it."""

    class Garbage:
        def __init__(self):
            self.itself = self

        def __del__(self):
            (tmp_path / str(os.getpid())).touch()

    thresholds = gc.get_threshold()
    gc.collect()
    gc.set_threshold(1)  # the next object of any kind would start a collection
    gc.disable()
    try:
        Garbage()
        results = ordered_map(slow_if_even, range(4), 2)
        assert len(list(results)) == 4
    finally:
        gc.enable()
        gc.set_threshold(*thresholds)
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def test_a_killed_worker_is_an_error():
    def kill_itself(number):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(InputError, match=r"a worker process was killed.*lower --num_workers"):
        list(ordered_map(kill_itself, range(10), 2))


def test_a_worker_killed_in_the_middle_of_a_message_is_an_error():
    """The result is larger than the pipe, so the worker waits for this process to read it."""

    def large_result(number):
        if number == 1:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return bytes(10_000_000)

    results = ordered_map(large_result, range(4), 2)
    assert len(next(results)) == 10_000_000
    while len(multiprocessing.active_children()) == 2:
        time.sleep(0.05)
    with pytest.raises(InputError, match="a worker process was killed"):
        list(results)
    assert multiprocessing.active_children() == []


STOPPED_PROGRAM = """
import os, signal, sys, threading, time
from albert_tf.cli import signals
from albert_tf.records import workers

def stop():
    time.sleep(float(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGTERM)

signals.start()
list(workers.ordered_map(str, range(3), 2))
try:
    threading.Thread(target=stop, daemon=True).start()
    while True:
        list(workers.ordered_map(str, range(4), 2))
except signals.Stopped:
    print("stopped")
"""


def test_a_stop_while_workers_start_and_end():
    """No moment makes the script hang, lose the signal or fail."""
    for number in range(20):
        arguments = [sys.executable, "-c", STOPPED_PROGRAM, str(0.0025 * number)]
        process = subprocess.run(
            arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert (process.returncode, process.stdout, process.stderr) == (0, "stopped\n", "")


def test_workers_end_with_their_parent():
    code = """
import os, time
from albert_tf.records import workers
for process in workers.ordered_map(lambda _: os.getpid(), range(100), 2):
    print(process, flush=True)
    time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)
    parent.kill()
    parent.wait()
    deadline = time.time() + 30
    while is_running(worker):
        assert time.time() < deadline
        time.sleep(0.1)


def is_running(process):
    """Whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""Stops by signals in one process; for several processes see test_horovod.py."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launchers import descendants
from scripts import (
    CLASSIFIER_FLAGS,
    PRETRAINING_DATA_FLAGS,
    ROOT,
    StartedScript,
    assert_same_variables,
    command,
    interruptible,
    load,
    message_of,
    run_script,
    succeed,
)

STEPS = 60
REMEDY = "rerun the same command to continue"


def start(arguments, **options):
    """Start a process that takes SIGINT like one in a terminal."""
    return subprocess.Popen(
        interruptible(arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def read_until(process, text):
    """Read standard error up to the line with a text."""
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text}: not in the log")


def end(process):
    """Exit code of a process, and the line that tells of its stop."""
    _, log = process.communicate(timeout=120)
    return process.returncode, line_of_stop(log)


def line_of_stop(log):
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if "stopped by" in line or "ended at" in line]
    return line


def stop(script, flags, moment, number):
    """Start a script, and send it a signal; exit code, and the message that tells of its stop.

    Args:
      script: path of the script.
      flags: its flags.
      moment: text of the line of the log after which to send the signal.
      number: number of the signal.
    """
    started = StartedScript(script, flags)
    started.wait_for(lambda log: moment in log)
    started.send_signal(number)
    code, log = started.end()
    return code, message_of(line_of_stop(log))


TRAINING = "run_classifier.py"


def training(output_dir, **changes):
    """Flags of a classifier's training, with dropout and without checkpoints on the way."""
    return {
        **CLASSIFIER_FLAGS,
        "do_eval": False,
        "do_predict": False,
        "train_step": STEPS,
        "save_checkpoints_steps": 100_000,
        "output_dir": output_dir,
        "gradient_accumulation_steps": 2,
        **changes,
    }


def run(flags):
    return succeed(run_script(TRAINING, flags))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Output directory of a training that was not stopped."""
    directory = tmp_path_factory.mktemp("undisturbed")
    run(training(directory))
    return directory


@pytest.fixture(scope="module", params=["SIGTERM", "SIGINT"])
def stopped(request, tmp_path_factory):
    """Output directory and step of a training stopped by a signal."""
    directory = tmp_path_factory.mktemp("stopped")
    number = signal.Signals[request.param]
    code, message = stop(TRAINING, training(directory), "step 1 of", number)
    assert code == 128 + number
    step = int(message.partition(" at step ")[2].partition(";")[0])
    told = f"stopped by {request.param} at step {step}"
    assert message == f"{told}; {REMEDY}"
    return directory, step


def test_training_ends_after_the_step_with_a_checkpoint(stopped):
    directory, step = stopped
    assert 0 < step < STEPS
    assert (directory / f"model.ckpt-{step}.index").exists()
    (*_, last) = (directory / "log.txt").read_text().splitlines()
    assert last.endswith(f" at step {step}; {REMEDY}")


def test_a_stopped_run_ends_like_an_undisturbed_one(stopped, undisturbed):
    """Records and dropout continue where the run was stopped."""
    directory, step = stopped
    log = run(training(directory))
    assert f"resuming training from {directory}/model.ckpt-{step}" in log
    assert "other settings" not in log
    name = f"model.ckpt-{STEPS}"
    assert_same_variables(directory / name, undisturbed / name, rtol=1e-5, atol=1e-7)
    starts = load(directory / "run.json")["starts"]
    assert [entry["start"]["step"] for entry in starts] == [0, step]
    assert starts[1]["start"]["checkpoint"] == f"{directory}/model.ckpt-{step}"


def test_a_stop_while_a_checkpoint_is_judged(tmp_path):
    """It does not wait for the predictions, and loses nothing."""
    flags = {"do_eval": True, "train_step": 8, "save_checkpoints_steps": 4}
    judged, plain = (training(tmp_path / name, **flags) for name in ("judged", "plain"))
    code, message = stop(TRAINING, judged, "model.ckpt-4: saved", signal.SIGTERM)
    assert code == 143
    assert message == f"stopped by SIGTERM; {REMEDY}"
    assert not (tmp_path / "judged/eval_results.json").exists()
    assert f"resuming training from {tmp_path}/judged/model.ckpt-4" in run(judged)
    run(plain)
    for name in ("model.ckpt-8", "model.ckpt-best"):
        pair = (tmp_path / "judged" / name, tmp_path / "plain" / name)
        assert_same_variables(*pair, rtol=1e-5, atol=1e-7)
    results, others = (load(tmp_path / name / "eval_results.json") for name in ("judged", "plain"))
    assert results["accuracy"] == others["accuracy"]


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_warnings_of_schedulers_and_a_lost_connection(tmp_path, name):
    number = signal.Signals[name]
    code, message = stop(TRAINING, training(tmp_path), "step 1 of", number)
    assert code == 128 + number
    step = int(message.partition(" at step ")[2].partition(";")[0])
    assert message == f"stopped by {name} at step {step}; {REMEDY}"
    assert (tmp_path / f"model.ckpt-{step}.index").exists()


def test_a_lost_terminal(tmp_path):
    """Nothing can be written to it any more: neither the log nor a progress bar."""
    terminal, end_of_script = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *interruptible(command(TRAINING, training(tmp_path)))],
        stdin=end_of_script,
        stdout=end_of_script,
        stderr=end_of_script,
    )
    os.close(end_of_script)
    shown = b""
    while b"step 1 of" not in shown:
        shown += os.read(terminal, 1000)
    os.close(terminal)
    assert process.wait(120) == 128 + signal.SIGHUP
    (*_, last) = (tmp_path / "log.txt").read_text().splitlines()
    told = re.search(r"stopped by SIGHUP at step (\d+); ", last)
    assert told, last
    assert (tmp_path / f"model.ckpt-{told[1]}.index").exists()


STOPPABLE_PROGRAM = """
import sys, time
from albert_tf.cli import signals
signals.start()
try:
    with signals.deferred():
        print("ready", file=sys.stderr, flush=True)
        while signals.requested() is None:
            time.sleep(0.01)
        time.sleep(float(sys.argv[1]))
except signals.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


def stoppable(seconds, run_by=()):
    """Start `STOPPABLE_PROGRAM`, which defers a signal for some time, and wait until it can."""
    arguments = [sys.executable, "-c", STOPPABLE_PROGRAM, str(seconds)]
    process = start([*run_by, *arguments], cwd=ROOT)
    read_until(process, "ready")
    return process


def test_a_second_signal_ends_at_once():
    process = stoppable(seconds=60)
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "ended at once by a second signal, SIGINT")


def test_a_launcher_and_the_system_may_both_send_a_signal():
    process = stoppable(seconds=1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, f"stopped by SIGTERM; {REMEDY}")


def test_an_ignored_signal_stays_ignored():
    process = stoppable(seconds=0, run_by=["nohup"])
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, f"stopped by SIGTERM; {REMEDY}")


DESTRUCTOR_PROGRAM = """
import os, signal
from albert_tf.cli import signals
from albert_tf.records.workers import ordered_map

class Stopping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

def work(number):
    print("at work", number, flush=True)
    if number == 2:
        Stopping()

signals.start()
try:
    for _ in ordered_map(work, range(4), num_workers=1):
        pass
except signals.Stopped:
    print("stopped")
"""


def test_a_signal_in_a_destructor_is_not_lost():
    """Python drops exceptions of destructors, of which it only tells."""
    arguments = [sys.executable, "-c", DESTRUCTOR_PROGRAM]
    process = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.stdout == "at work 0\nat work 1\nat work 2\nstopped\n"
    assert process.returncode == 0


def wait_for_handlers(process):
    """Wait until a script handles SIGTERM; before, it ends without a word."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = re.search(r"SigCgt:\s*(\w+)", status.read_text())
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)


def test_a_signal_while_tensorflow_loads(tmp_path):
    process = start(command(TRAINING, training(tmp_path)))
    wait_for_handlers(process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    code, line = end(process)
    assert (code, message_of(line)) == (130, f"stopped by SIGINT; {REMEDY}")
    assert not [*tmp_path.iterdir()]


def test_workers_and_temporary_files_end_with_the_script(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("The keeper lit the lamp.\nThe tower stood by the sea.\n\n" * 50_000)
    flags = {
        **PRETRAINING_DATA_FLAGS,
        "input_file": corpus,
        "output_file": tmp_path / "records",
        "num_workers": 2,
        "dupe_factor": 40,
    }
    started = StartedScript("create_pretraining_data.py", flags)
    workers = started.wait_for(lambda log: descendants(started.pid))
    time.sleep(1)
    started.send_signal(signal.SIGTERM)
    code, log = started.end()
    told = message_of(line_of_stop(log)).partition(";")[0]
    assert (code, told) == (143, "stopped by SIGTERM")
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    # The lock of the output stays, for other processes that may wait for it.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "records.lock"]

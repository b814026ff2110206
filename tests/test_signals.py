"""Stops by SIGTERM and SIGINT in one process; for several processes see test_horovod.py."""

from __future__ import annotations

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
SCRIPTS = (
    "run_squad_v1.py",
    "run_squad_v2.py",
    "run_classifier.py",
    "run_pretraining.py",
    "create_pretraining_data.py",
    "ask.py",
    "convert_checkpoint.py",
    "download/download_dataset.py",
    "download/download_pretrained_model.py",
)


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
    assert message == f"{told}; the same command resumes from there"
    return directory, step


def test_training_ends_after_the_step_with_a_checkpoint(stopped):
    directory, step = stopped
    assert 0 < step < STEPS
    assert (directory / f"model.ckpt-{step}.index").exists()
    (*_, last) = (directory / "log.txt").read_text().splitlines()
    assert last.endswith(f" at step {step}; the same command resumes from there")


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
    assert message == "stopped by SIGTERM; the same command goes on where it can"
    assert not (tmp_path / "judged/eval_results.json").exists()
    assert f"resuming training from {tmp_path}/judged/model.ckpt-4" in run(judged)
    run(plain)
    for name in ("model.ckpt-8", "model.ckpt-best"):
        pair = (tmp_path / "judged" / name, tmp_path / "plain" / name)
        assert_same_variables(*pair, rtol=1e-5, atol=1e-7)
    results, others = (load(tmp_path / name / "eval_results.json") for name in ("judged", "plain"))
    assert results["accuracy"] == others["accuracy"]


# "busy" puts the main thread into one native call for minutes.
BUSY_PROGRAM = """
import hashlib, os, sys, threading, time
from albert_tf.cli import stopping
stopping.start()
stopping._GRACE_SECONDS = 3.0
try:
    with stopping.deferred() if sys.argv[1] == "deferred" else stopping.at_once():
        # In a second the main thread is in the call even on a busy machine.
        threading.Timer(1.0, os.write, (2, b"ready\\n")).start()
        if sys.argv[2] == "busy":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
        while stopping.requested() is None:
            time.sleep(0.01)
        time.sleep(0.5)
except stopping.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


def busy(*arguments):
    """Start `BUSY_PROGRAM`, and wait until it is ready."""
    process = start([sys.executable, "-c", BUSY_PROGRAM, *arguments], cwd=ROOT)
    read_until(process, "ready")
    return process


def test_a_second_signal_ends_at_once():
    process = busy("deferred", "busy")
    process.send_signal(signal.SIGTERM)
    time.sleep(4)  # longer than the time in which the main thread must react if it may
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "ended at once by a second signal, SIGINT")


def test_a_launcher_and_the_system_may_both_send_a_signal():
    process = busy("deferred", "idle")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    code, line = end(process)
    assert code == 143
    assert line.startswith("stopped by SIGTERM; ")


def test_native_code_does_not_hold_up_a_stop():
    process = busy("at_once", "busy")
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, "stopped by SIGTERM")


DESTRUCTOR_PROGRAM = """
import os, signal, time
from albert_tf.cli import stopping

class Stopping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

class Failing:
    def __del__(self):
        raise ValueError("of a destructor")

stopping.start()
Failing()
try:
    Stopping()
    print("not raised by the destructor", flush=True)
    time.sleep(60)
except stopping.Stopped:
    print("stopped")
"""


def test_a_signal_in_a_destructor_is_not_lost():
    """Python drops exceptions of destructors, of which it only tells."""
    arguments = [sys.executable, "-c", DESTRUCTOR_PROGRAM]
    process = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.stdout == "not raised by the destructor\nstopped\n"
    assert process.returncode == 0
    assert process.stderr.count("Traceback") == 1
    assert process.stderr.endswith("ValueError: of a destructor\n")


def wait_for_handlers(process):
    """Wait until a script handles both signals: Python's own start may show a traceback.

    Python catches SIGINT by itself, but SIGTERM not; the script handles SIGINT first.
    """
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = re.search(r"SigCgt:\s*(\w+)", status.read_text())
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("seconds", [0, 0.3])
def test_a_signal_while_modules_load(script, seconds):
    """No moment shows a traceback; a script that was faster has ended with what it lacks."""
    process = start(command(script, {}))
    wait_for_handlers(process)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert "Traceback" not in log
    assert process.returncode in (1, 130, -signal.SIGINT)  # the last from Python's own shutdown


def test_little_loads_before_signals_are_handled():
    """Before the handlers are set, Python shows a traceback."""
    program = "import sys; before = {*sys.modules}; from albert_tf import loading; "
    program += "print(*sorted({*sys.modules} - before))"
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert printed.stdout.split() == [b"__future__", b"albert_tf", b"albert_tf.cli.loading"]


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
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]

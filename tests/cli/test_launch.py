"""How scripts start: what is checked before TensorFlow loads, and limits of the system."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
import time

import pytest

from albert_tf.cli.launch import explain
from scripts import (
    CLASSIFIER_FLAGS,
    PRETRAINING_DATA_FLAGS,
    ROOT,
    SQUAD_FLAGS,
    command,
    message_of,
)

SCRIPTS = (
    "run_squad_v1.py",
    "run_squad_v2.py",
    "run_race.py",
    "run_classifier.py",
    "run_pretraining.py",
    "create_pretraining_data.py",
    "ask.py",
    "convert_checkpoint.py",
    "report.py",
    "download/download_dataset.py",
    "download/download_pretrained_model.py",
)


def run(arguments, run_by=(), **changes):
    """Run a command to its end, with changes to the environment.

    Args:
      arguments: the command.
      run_by: start of a shell command, such as a limit, before the command takes its place.
      **changes: changed variables of the environment.
    """
    if run_by:
        arguments = ["sh", "-c", f'{run_by[0]} exec "$@" {"".join(run_by[1:])}', "sh", *arguments]
    environment = {**os.environ, **changes}
    return subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def no_tensorflow(tmp_path):
    """Folder with a module `tensorflow` that ends the script."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow is loaded')")
    return str(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_without_docstrings(script, no_tensorflow):
    """`python -OO` removes them."""
    plain, optimized = (
        run([sys.executable, *options, str(ROOT / script), "--help"], PYTHONPATH=no_tensorflow)
        for options in ((), ("-OO",))
    )
    assert (plain.returncode, optimized.returncode) == (1, 1)
    assert (plain.stderr, optimized.stderr) == ("", "")
    assert optimized.stdout.startswith(("Files:\n  --", "Flags:\n  --"))
    assert plain.stdout.endswith(f"\n\n{optimized.stdout}")


@pytest.mark.parametrize(
    ("script", "flags", "messages"),
    [
        (
            "run_squad_v1.py",
            {"train_batch_size": "x"},
            ["--train_batch_size=x: give an integer"],
        ),
        (
            "run_squad_v1.py",
            {
                "train_file": "none.json",
                "init_checkpoint": "none/model.ckpt",
                "spm_model_file": "a",
            },
            [
                "--spm_model_file a: No such file or directory; correct the path",
                "--init_checkpoint none/model.ckpt: No such file or directory; correct the path",
                "--train_file none.json: No such file or directory; correct the path",
            ],
        ),
        (
            "run_squad_v1.py",
            {"predict_file": f"{SQUAD_FLAGS['train_file']}/a"},
            [f"--predict_file {SQUAD_FLAGS['train_file']}/a: Not a directory; correct the path"],
        ),
        (
            "run_classifier.py",
            {"data_dir": "none"},
            ["--data_dir none: No such file or directory; correct the path"],
        ),
        (
            "create_pretraining_data.py",
            {"input_file": "none*.txt", "output_file": "records"},
            ["--input_file none*.txt: no such file; correct the path"],
        ),
        ("report.py", {"output_dir": "none"}, ["--output_dir none: No such file or directory"]),
    ],
)
def test_what_is_checked_before_tensorflow_loads(script, flags, messages, no_tensorflow):
    given = {
        "run_squad_v1.py": SQUAD_FLAGS,
        "run_classifier.py": CLASSIFIER_FLAGS,
        "create_pretraining_data.py": PRETRAINING_DATA_FLAGS,
    }.get(script, {})
    result = run(command(script, {**given, **flags}), PYTHONPATH=no_tensorflow)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == len(messages), result.stderr
    for line, message in zip(sorted(lines), sorted(messages)):
        assert line.startswith(f"error: {message}")


def test_files_that_are_not_read_need_not_exist(no_tensorflow):
    flags = {**SQUAD_FLAGS, "do_train": False, "train_file": "none.json"}
    result = run(command("run_squad_v1.py", flags), PYTHONPATH=no_tensorflow)
    assert result.stderr == "TensorFlow is loaded\n"


def test_other_processes_have_files_of_their_own(no_tensorflow):
    """Under a launcher, the missing files of a host are told with what the other hosts lack."""
    flags = {**SQUAD_FLAGS, "train_file": "none.json"}
    environment = {"OMPI_COMM_WORLD_SIZE": "2", "PYTHONPATH": no_tensorflow}
    assert run(command("run_squad_v1.py", flags), **environment).stderr == "TensorFlow is loaded\n"


def test_a_limit_of_the_address_space():
    flags = {**SQUAD_FLAGS, "do_train": True}
    result = run(command("run_squad_v1.py", flags), run_by=["ulimit -v 2000000 &&"])
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: the address space of a process is limited to 2.0 GB, but TensorFlow takes more "
        "than 3.2 GB; raise the limit with `ulimit -v unlimited`\n"
    )


def test_a_limit_that_may_be_too_small(no_tensorflow):
    arguments = command("run_squad_v1.py", {**SQUAD_FLAGS, "do_train": True})
    result = run(arguments, run_by=["ulimit -v 4000000 &&"], PYTHONPATH=no_tensorflow)
    warning, _ = result.stderr.splitlines()
    assert message_of(warning) == (
        "the address space of a process is limited to 4.1 GB; if the run aborts, raise the limit "
        "with `ulimit -v unlimited`"
    )


def test_closed_standard_streams(tmp_path):
    """The lines go to the log file, and nothing to a file that takes the place of a stream."""
    flags = {**CLASSIFIER_FLAGS, "train_step": 2, "output_dir": tmp_path, "do_eval": False}
    start = time.time()
    result = run(command("run_classifier.py", flags), run_by=["", "<&- 2>&-"])
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    finished = next(line for line in lines if " I finished in " in line)
    assert {re.sub(r"^[\d-]+ [\d:]+ [IW] .*", "", line) for line in lines} == {""}
    # The time counts from the command, before TensorFlow loads.
    told, hours, minutes, seconds = re.match(
        r"(.*) I finished in (\d+):(\d+):(\d+);", finished
    ).groups()
    duration = 3600 * int(hours) + 60 * int(minutes) + int(seconds)
    end = datetime.datetime.strptime(told, "%Y-%m-%d %H:%M:%S").timestamp()
    assert abs(end - duration - start) < 4


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_errors_without_standard_error(closed, tmp_path):
    """They are in the log file, if there is one."""
    flags = {**CLASSIFIER_FLAGS, "data_dir": "none", "output_dir": tmp_path}
    result = run(command("run_classifier.py", flags), run_by=["", closed])
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")


def test_help_into_a_pipe_that_closes():
    script = str(ROOT / "run_squad_v1.py")
    result = run(["sh", "-c", f"{sys.executable} {script} --help | true"])
    assert (result.returncode, result.stderr) == (0, "")


def test_a_directory_in_the_place_of_a_file(tmp_path):
    with pytest.raises(IsADirectoryError) as raised:
        tmp_path.write_text("")
    assert explain(raised.value) == (
        f"{tmp_path}: Is a directory, in the place of a file; move it away and run the same "
        "command again"
    )


LIMITED_PROGRAM = """
import sys
from albert_tf.cli.launch import explain
try:
    with open(sys.argv[1], "wb", buffering=0) as file:
        while True:
            file.write(bytes(100_000))
except OSError as error:
    print(explain(error))
"""


def test_a_limit_of_the_size_of_files(tmp_path):
    arguments = [sys.executable, "-c", LIMITED_PROGRAM, str(tmp_path / "file")]
    result = run(arguments, run_by=["ulimit -f 1000 &&"], PYTHONPATH=str(ROOT))
    assert result.stdout == (
        "File too large; raise the limit with `ulimit -f unlimited` and run the same command "
        "again\n"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory: Python has none left; lower --num_workers or the batch "),
        (RuntimeError("can't start new thread"), "out of memory: can't start new thread; lower "),
        (
            RuntimeError("Graph execution error:\n\n/a/b; No space left on device\n\t [[save]]"),
            "the disk is full: /a/b; No space left on device; free some space and run the same ",
        ),
        (OSError(5, "Input/output error", "/a/b"), "/a/b: Input/output error"),
        (RuntimeError("a bug"), "None"),
    ],
)
def test_errors_of_the_system(error, message):
    assert str(explain(error)).startswith(message)

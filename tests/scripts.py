"""Helpers to run the scripts from the command line."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.run_dir import checkpoints
from forks import ForkServer, current_environment
from golden import GOLDEN

ROOT = Path(__file__).parent.parent
TINY_CONFIG = GOLDEN / "tiny_model/albert_config.json"
SAMPLE_MODEL = GOLDEN / "sample/sample.model"
SAMPLE_TRAIN = GOLDEN / "sample/sample_squad_train.json"
SAMPLE_PREDICT = GOLDEN / "sample/sample_squad.json"
SAMPLE_V2_TRAIN = GOLDEN / "sample/sample_squad_v2_train.json"
SAMPLE_V2_PREDICT = GOLDEN / "sample/sample_squad_v2.json"
SQUAD_CHECKPOINT = GOLDEN / "tiny_model/squad/model.ckpt-best"

# Whether to kill runs at all moments of the tests; if not, at a share of them.
ALL_KILLS = os.environ.get("ALL_KILLS", "0") != "0"

SQUAD_FLAGS = {
    "albert_config_file": TINY_CONFIG,
    "spm_model_file": SAMPLE_MODEL,
    "init_checkpoint": SQUAD_CHECKPOINT,
    "train_file": SAMPLE_TRAIN,
    "predict_file": SAMPLE_PREDICT,
    "max_seq_length": 96,
    "doc_stride": 32,
    "max_query_length": 24,
    "train_batch_size": 8,
    "save_checkpoints_steps": 4,
    "write_report": False,
    "device": "cpu",
}

SQUAD_V2_FLAGS = {
    **SQUAD_FLAGS,
    "init_checkpoint": GOLDEN / "tiny_model/squad_v2/model.ckpt-best",
    "train_file": SAMPLE_V2_TRAIN,
    "predict_file": SAMPLE_V2_PREDICT,
    "do_train": True,
    "do_predict": True,
    "train_steps": 10,
}

SAMPLE_GLUE = GOLDEN / "sample/glue"
CLASSIFIER_FLAGS = {
    "albert_config_file": TINY_CONFIG,
    "spm_model_file": SAMPLE_MODEL,
    "init_checkpoint": GOLDEN / "tiny_model/classifier/model.ckpt-best",
    "data_dir": SAMPLE_GLUE,
    "task_name": "mrpc",
    "do_train": True,
    "do_eval": True,
    "do_predict": True,
    "max_seq_length": 40,
    "train_batch_size": 4,
    "train_step": 10,
    "save_checkpoints_steps": 4,
    "write_report": False,
    "device": "cpu",
}

# Those of MRPC as a user's own.
OWN_FILES_FLAGS = {
    **{name: x for name, x in CLASSIFIER_FLAGS.items() if name not in ("data_dir", "task_name")},
    "train_file": SAMPLE_GLUE / "MRPC/train.tsv",
    "dev_file": SAMPLE_GLUE / "MRPC/dev.tsv",
    "test_file": SAMPLE_GLUE / "MRPC/test.tsv",
    "text_column": "#1 String",
    "second_text_column": "#2 String",
    "label_column": "Quality",
    "class_weights": "balanced",
}

SAMPLE_RACE = GOLDEN / "sample/RACE"
RACE_FLAGS = {
    "albert_config_file": TINY_CONFIG,
    "spm_model_file": SAMPLE_MODEL,
    "init_checkpoint": GOLDEN / "tiny_model/race/model.ckpt-best",
    "data_dir": SAMPLE_RACE,
    "do_predict": True,
    "max_seq_length": 96,
    "max_qa_length": 24,
    "train_batch_size": 4,
    "train_step": 10,
    "warmup_step": 2,
    "save_checkpoints_steps": 4,
    "learning_rate": 1e-3,
    "write_report": False,
    "device": "cpu",
}

PRETRAINING_DATA_FLAGS = {
    "spm_model_file": SAMPLE_MODEL,
    "max_seq_length": 64,
    "max_predictions_per_seq": 10,
    "dupe_factor": 2,
}
PRETRAINING_FLAGS = {
    "albert_config_file": TINY_CONFIG,
    "init_checkpoint": GOLDEN / "tiny_model/pretraining/model.ckpt-best",
    "do_eval": True,
    "max_seq_length": 64,
    "max_predictions_per_seq": 10,
    "train_batch_size": 8,
    "max_eval_steps": 2,
    "num_train_steps": 10,
    "num_warmup_steps": 2,
    "save_checkpoints_steps": 4,
    "write_report": False,
    "device": "cpu",
}


def command(script: str, flags: dict) -> list[str]:
    """Command line of a script, without flags whose value is None."""
    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    return [sys.executable, str(ROOT / script), *given]


def interruptible(arguments: Sequence[str]) -> list[str]:
    """Command that takes signals as in a terminal, also where this process ignores them."""
    return ["env", "--default-signal=INT,HUP", *arguments]


_ENVIRONMENT = current_environment()
_LONGEST_WAIT_SECONDS = 120


@functools.lru_cache(maxsize=1)
def _fork_server() -> ForkServer:
    return ForkServer(_ENVIRONMENT)


def run_script(
    script: str,
    flags: dict,
    extra: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    fresh: bool = False,
    **options,
) -> subprocess.CompletedProcess:
    """Run a script to the end; `stderr` of the result is the log.

    To save time, the process is forked from one that has imported TensorFlow.

    Args:
      script: path of the script in the project.
      flags: its flags, by name.
      extra: further arguments.
      env: variables added to the environment.
      fresh: whether to start Python anew, for variables that are read when modules are imported.
      **options: options of `subprocess.run`, with which Python starts anew too.
    """
    arguments = [*command(script, flags), *extra]
    changes = dict(current_environment().items() - _ENVIRONMENT.items())
    environment = {**changes, **(env or {})}
    if fresh or options:
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
            **options,
        )
    server = _fork_server()
    with tempfile.TemporaryDirectory() as directory:
        outputs = [Path(directory) / name for name in ("stdout", "stderr")]
        server.start(arguments[1:], *outputs, environment)
        status = server.wait()
        texts = [path.read_text() for path in outputs]
    return subprocess.CompletedProcess(arguments, status, *texts)


class StartedScript:
    """A running script, forked from a process that has imported TensorFlow.

    No other script is started from this process until it has ended.

    Attributes:
      pid: id of its process.
    """

    def __init__(self, script: str, flags: dict):
        """Start the script, which takes SIGINT as in a terminal."""
        self._directory = tempfile.TemporaryDirectory()
        self._log = Path(self._directory.name) / "log"
        self._log.touch()
        self._server = _fork_server()
        self.pid = self._server.start(command(script, flags)[1:], self._log, self._log)

    def wait_for(self, is_reached: Callable[[str], object]) -> Any:
        """Wait until a function of the log so far is true, and return its value."""
        deadline = time.time() + _LONGEST_WAIT_SECONDS
        while not (reached := is_reached(self._log.read_text())):
            assert time.time() < deadline, self._log.read_text()
            assert Path(f"/proc/{self.pid}").exists(), self._log.read_text()
            time.sleep(0.01)
        return reached

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for the end; exit code, or the negative number of a signal, and the log."""
        status = self._server.wait(_LONGEST_WAIT_SECONDS)
        assert status is not None, f"still running:\n{self._log.read_text()}"
        with self._directory:
            return status, self._log.read_text()


def run_squad(output_dir, env=None, **flags) -> subprocess.CompletedProcess:
    """Run run_squad_v1.py on the sample; `flags` override `SQUAD_FLAGS`."""
    flags = {**SQUAD_FLAGS, "output_dir": output_dir, **flags}
    return run_script("run_squad_v1.py", flags, env=env or {})


def run_squad_v2(output_dir, **flags) -> subprocess.CompletedProcess:
    """Run run_squad_v2.py on the sample; `flags` override `SQUAD_V2_FLAGS`."""
    return run_script("run_squad_v2.py", {**SQUAD_V2_FLAGS, "output_dir": output_dir, **flags})


def run_classifier(output_dir, **flags) -> subprocess.CompletedProcess:
    """Run run_classifier.py on the sample; `flags` override `CLASSIFIER_FLAGS`."""
    return run_script("run_classifier.py", {**CLASSIFIER_FLAGS, "output_dir": output_dir, **flags})


def run_race(output_dir, **flags) -> subprocess.CompletedProcess:
    """Run run_race.py on the sample; `flags` override `RACE_FLAGS`."""
    return run_script("run_race.py", {**RACE_FLAGS, "output_dir": output_dir, **flags})


def create_pretraining_data(output_file, **flags) -> subprocess.CompletedProcess:
    """Run create_pretraining_data.py; `flags` override `PRETRAINING_DATA_FLAGS`."""
    flags = {**PRETRAINING_DATA_FLAGS, "output_file": output_file, **flags}
    return run_script("create_pretraining_data.py", flags)


def run_pretraining(output_dir, **flags) -> subprocess.CompletedProcess:
    """Run run_pretraining.py; `flags` override `PRETRAINING_FLAGS`."""
    return run_script(
        "run_pretraining.py", {**PRETRAINING_FLAGS, "output_dir": output_dir, **flags}
    )


def make_quickstart_inputs(directory: Path) -> None:
    """Make the data, the vocabulary and the config that `make quickstart` leaves."""
    program = "import pathlib, sys, quickstart as q; q.make_inputs(pathlib.Path(sys.argv[1]), 4000)"
    command = [sys.executable, "-c", program, str(directory)]
    subprocess.run(command, cwd=ROOT / "examples", check=True)


def files(directory: Path) -> set[str]:
    """Names of a run's files, without TensorBoard events, whose names vary.

    Digests in the names of record files are left out.
    """
    names = {f.name for f in directory.iterdir() if not f.name.startswith("events.out.tfevents")}
    return {re.sub("-[0-9a-f]{12}[.]", ".", name) for name in names}


def record_file(directory: Path, name: str) -> Path:
    """Path of a record file by its name without the digest."""
    (path,) = directory.glob(f"{name}-*record")
    return path


def times_of_results(directory: Path) -> dict[str, int]:
    """Times of change of a run's files in nanoseconds, by path, without the log and the lock."""
    paths = (path for path in directory.rglob("*") if path.name not in ("log.txt", "run.lock"))
    return {str(path): path.stat().st_mtime_ns for path in paths}


def assert_same_run(directory: Path, undisturbed: Path) -> None:
    """Assert that a resumed run of 10 steps ended like an undisturbed one."""
    assert files(directory) == files(undisturbed)
    assert tf.train.load_variable(str(directory / "model.ckpt-10"), "global_step") == 10
    assert_same_variables(
        directory / "model.ckpt-10", undisturbed / "model.ckpt-10", rtol=1e-6, atol=1e-8
    )


def assert_same_variables(checkpoint: Path, other: Path, **tolerance: float) -> None:
    """Assert that two checkpoints have the same variables and values."""
    names = set(checkpoints.shapes_in(str(checkpoint)))
    assert names == set(checkpoints.shapes_in(str(other)))
    for name in names:
        np.testing.assert_allclose(
            *(tf.train.load_variable(str(prefix), name) for prefix in (checkpoint, other)),
            **{"rtol": 0, "atol": 0, **tolerance},
            err_msg=name,
        )


def load(path: Path) -> Any:
    """Read the value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def assert_same_answers(directory: Path, other: Path, tolerance: float) -> None:
    """Assert that two runs gave the same answers, with equal scores within a tolerance.

    The threshold of SQuAD v2.0 is the score of a question, whose answer rounding may change.
    """
    predictions, others = (load(d / "predictions.json") for d in (directory, other))
    if (directory / "thresholds.json").exists():
        threshold = load(directory / "thresholds.json")["null_score_diff_threshold"]
        for question_id, score in load(directory / "null_odds.json").items():
            if abs(score - threshold) < tolerance:
                del predictions[question_id], others[question_id]
    assert others == predictions
    n_best, others = (load(d / "nbest_predictions.json") for d in (directory, other))
    assert list(others) == list(n_best)
    for question_id, entries in n_best.items():
        assert [e["text"] for e in others[question_id]] == [e["text"] for e in entries]
        for entry, same in zip(entries, others[question_id]):
            for score in ("start_log_prob", "end_log_prob", "probability"):
                assert same[score] == pytest.approx(entry[score], abs=tolerance)


def succeed(result: subprocess.CompletedProcess) -> str:
    """Assert that a run succeeded, and return its log."""
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def message_of(line: str) -> str:
    """Message of a line of the log, which has the level's letter and the time in front."""
    match = re.fullmatch(r"[DIWE] \d\d:\d\d:\d\d (.*)", line)
    assert match, line
    return match[1]


def fail(result: subprocess.CompletedProcess) -> list[str]:
    """Assert that a run ended with exit code 1 and no traceback, and return its error lines."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]

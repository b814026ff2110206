"""Dry runs: what they say, what they refuse, and that they leave nothing behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from albert_tf.io.errors import InputError
from albert_tf.run import run
from albert_tf.tasks.custom.task import CustomTask
from albert_tf.tasks.glue.task import ClassifierTask
from albert_tf.tasks.pretraining.task import PretrainingTask
from albert_tf.tasks.race.task import RaceTask
from albert_tf.tasks.squad.v1 import SquadV1Task
from albert_tf.tasks.squad.v2 import SquadV2Task
from golden import checkpoint_of
from scripts import (
    CLASSIFIER_FLAGS,
    SAMPLE_PREDICT,
    SAMPLE_V2_PREDICT,
    SQUAD_V2_FLAGS,
    TINY_CONFIG,
    command,
    load,
)
from task_factory import make_settings

LENGTHS = "median 96 tokens, longest 96; 161 (74.2%) fill max_seq_length or were cut to it"
_TIME = r"\d+\.\d s"


def plan_of(capsys, task, script, output_dir, **changes):
    """Lines that a dry run prints."""
    run.run(task, make_settings(script, output_dir, dry_run=True, **changes))
    return capsys.readouterr().out.splitlines()


def contents(directory):
    """Bytes of the files in a directory, and None for its folders, by path."""
    return {path: path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


def test_squad_v2(tmp_path, capsys):
    lines = plan_of(
        capsys,
        SquadV2Task,
        "squad_v2",
        tmp_path / "new/run",
        **{"train_steps": -1, "num_train_epochs": 3.0, "export_dir": tmp_path / "exported"},
    )
    assert lines[:4] == [
        f"dry run: {tmp_path}/new/run is unchanged; the run would do the following",
        f"training: 58 examples of {SQUAD_V2_FLAGS['train_file']}, 217 records; {LENGTHS}",
        f"evaluation: 58 examples of {SAMPLE_V2_PREDICT}, 217 records; {LENGTHS}",
        f"21 steps of 8 examples, from {checkpoint_of('squad_v2')}, with 6 checkpoints",
    ]
    assert re.fullmatch(f"time: about {_TIME}", lines[4])
    assert re.fullmatch(f"  features {_TIME}", lines[5])
    step = r"[\d.e-]+ s for each other \(the median of 5\)"
    assert re.fullmatch(f"  training {_TIME}: {_TIME} for the first step, {step}", lines[6])
    assert re.fullmatch(f"  evaluation {_TIME} for 6 checkpoints", lines[7])
    memory = re.fullmatch(r"memory: at most ([\d.]+) (MB|GB) in this process", lines[8])
    assert 100 < float(memory[1]) * {"MB": 1, "GB": 1000}[memory[2]] < 20_000
    assert lines[9] == f"files in {tmp_path}/new/run"
    assert {"  null_odds.json", "  thresholds.json"} < set(lines[10:])
    assert lines[-2] == f"files in {tmp_path}/exported"
    assert re.fullmatch(r"  a SavedModel, [\d.]+ [kM]B", lines[-1])
    assert not list(tmp_path.iterdir())


def test_more_examples_than_are_looked_at(tmp_path, capsys):
    texts = ["lamp", "the tower by the sea, " * 20]
    rows = [{"text": texts[number % 2], "label": number % 5} for number in range(2500)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    own = {"train_file": path, "data_dir": None, "task_name": None, "init_checkpoint": None}
    lines = plan_of(
        capsys,
        CustomTask,
        "classifier",
        tmp_path / "run",
        **{**own, "do_eval": False, "do_predict": False, "train_step": 3000},
        **{"save_checkpoints_steps": 1000, "keep_checkpoint_max": 2},
    )
    assert lines[1] == (
        f"training: 2,500 examples of {path}; of the first 2,000: median 4 tokens, longest 40; "
        "1,000 (50.0%) fill max_seq_length or were cut to it"
    )
    assert lines[2] == "3,000 steps of 4 examples, from random weights, with 3 checkpoints"
    assert any(re.fullmatch(r"  model.ckpt-N.\*, 2 of [\d.]+ [kM]B", line) for line in lines)
    assert "  labels.json" in lines
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_record_files(tmp_path, capsys, pretraining_records):
    lines = plan_of(
        capsys,
        PretrainingTask,
        "pretraining",
        tmp_path,
        **{"input_file": pretraining_records, "gradient_accumulation_steps": 2},
    )
    count = load(Path(f"{pretraining_records}.manifest.json"))["records"]
    assert lines[1:4] == [
        f"training: {count} records in 1 file of {pretraining_records}",
        f"evaluation: {min(count, 128)} records in 1 file of {pretraining_records}",
        f"10 steps of 8 examples, from {checkpoint_of('pretraining')}, with 3 checkpoints",
    ]
    assert not any("features" in line or "tfrecord" in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_prediction_beside_a_run(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    for suffix in ("index", "data-00000-of-00001"):
        shutil.copyfile(f"{checkpoint_of('squad')}.{suffix}", run / f"model.ckpt-7.{suffix}")
    (run / "log.txt").write_text("before\n")
    before = contents(tmp_path)
    lines = plan_of(capsys, SquadV1Task, "squad", run, do_train=False)
    assert lines[1].startswith(f"evaluation: 42 examples of {SAMPLE_PREDICT}, 171 records; ")
    assert lines[2] == f"no training, with {run}/model.ckpt-7"
    results = f"files in {run}/predictions/sample_squad"
    assert {results, "  predictions.json", "  evaluations/*"} < set(lines)
    assert re.search(r"\n  predict_windows-[0-9a-f]{12}\.tfrecord\n", "\n".join(lines))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("task", "script", "head"),
    [
        (SquadV1Task, "squad", "squad"),
        (RaceTask, "race", "race"),
        (ClassifierTask, "classifier", "classifier"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, capsys, task, script, head):
    config = json.loads(TINY_CONFIG.read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    changes = {"albert_config_file": tmp_path / "config.json", "do_train": True}
    message = f"{checkpoint_of(head)}: the checkpoint does not fit --albert_config_file: .* shape "
    with pytest.raises(InputError, match=message):
        plan_of(capsys, task, script, tmp_path / "run", **changes)
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_signal_leaves_nothing_behind(tmp_path):
    flags = {**CLASSIFIER_FLAGS, "output_dir": tmp_path / "run", "dry_run": True}
    process = subprocess.Popen(
        command("run_classifier.py", {**flags, "train_batch_size": 4096, "train_step": 6}),
        **{"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
    )
    deadline = time.time() + 120
    while not list(tmp_path.glob("dry_run.tmp-*/graph.pbtxt")):
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, log = process.communicate(timeout=120)
    assert (process.returncode, output) == (143, "")
    assert "stopped by SIGTERM; rerun the same command to continue" in log
    assert not list(tmp_path.iterdir())

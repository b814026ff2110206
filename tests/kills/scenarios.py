"""Runs of the scripts to end at some moment: small, quick, and with several checkpoints."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping

from golden import GOLDEN
from kills.comparison import contents
from kills.processes import Change, Runner
from scripts import (
    CLASSIFIER_FLAGS,
    PRETRAINING_DATA_FLAGS,
    PRETRAINING_FLAGS,
    RACE_FLAGS,
    SAMPLE_GLUE,
    SAMPLE_PREDICT,
    SAMPLE_TRAIN,
    SAMPLE_V2_PREDICT,
    SAMPLE_V2_TRAIN,
    SQUAD_FLAGS,
    SQUAD_V2_FLAGS,
    TINY_CONFIG,
)
from tasks.custom.files import write_rows

SAMPLE_CORPUS = GOLDEN / "sample/sample_corpus.txt"
_ROWS = [{"text": f"{word} {number} {word}"} for number in range(8) for word in ("sun", "fog")]


@dataclass(frozen=True)
class Scenario:
    """A command to end at some moment, and to start again.

    Attributes:
      script: file name of the script.
      moments: number of moments by phase.
      flags: makes the flags, from the folder of the inputs and the run's folder.
      earlier: makes the flags of the run that has finished before in the same folder, if any.
      hits_workers: whether a worker process is killed.
    """

    script: str
    moments: Mapping[str, int]
    flags: Callable[[Path, Path], dict]
    earlier: Callable[[Path, Path], dict] | None = None
    hits_workers: bool = False


@dataclass
class Recording:
    """An undisturbed run of a scenario.

    Attributes:
      scenario: the scenario.
      inputs: folder of the inputs.
      root: folder of the run, the same for all runs as files hold paths.
      before: copy of the folder as it is before the run.
      flags: flags of the run.
      changes: its changes to files.
      contents: comparable contents of its folder at the end.
    """

    scenario: Scenario
    inputs: Path
    root: Path
    before: Path
    flags: Mapping[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    contents: Mapping[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        """Bring the folder of the run back to the state before it."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.before, self.root)


def record(runner: Runner, scenario: Scenario, directory: Path) -> Recording:
    """Run a scenario undisturbed.

    Args:
      runner: runs the scripts.
      scenario: the scenario.
      directory: an empty folder.
    """
    recording = Recording(scenario, directory / "inputs", directory / "root", directory / "before")
    for path in (recording.inputs, recording.root):
        path.mkdir()
    make_inputs(recording.inputs)
    if scenario.script == "run_pretraining.py":
        _make_records(runner, recording.inputs)
    if scenario.earlier:
        _run(runner, scenario.script, scenario.earlier(recording.inputs, recording.root), recording)
    shutil.copytree(recording.root, recording.before)
    recording.flags = scenario.flags(recording.inputs, recording.root)
    recording.changes = list(_run(runner, scenario.script, recording.flags, recording).changes)
    recording.contents = contents(recording.root)
    return recording


def _run(runner, script, flags, recording):
    ended = runner.run(script, flags, recording.root)
    assert ended.status == 0, ended.log
    return ended


def make_inputs(directory: Path) -> None:
    """Write the inputs of all scenarios: pieces of the sample."""
    config = json.loads(TINY_CONFIG.read_text())
    config["num_hidden_layers"] = 1  # all layers share their weights, so the checkpoints fit
    (directory / "albert_config.json").write_text(json.dumps(config))
    for name, sample, paragraphs in (
        ("train.json", SAMPLE_TRAIN, slice(0, 3)),
        ("other_train.json", SAMPLE_TRAIN, slice(2, 5)),
        ("predict.json", SAMPLE_PREDICT, slice(0, 2)),
        ("train_v2.json", SAMPLE_V2_TRAIN, slice(0, 3)),
        ("predict_v2.json", SAMPLE_V2_PREDICT, slice(0, 2)),
    ):
        _write_squad(directory / name, json.loads(sample.read_text(encoding="utf-8")), paragraphs)
    write_rows(directory / "facts.csv", [{**row, "label": row["text"][:3]} for row in _ROWS])
    write_rows(directory / "new.jsonl", _ROWS[::-1])
    for name in ("glue", "other_glue"):
        shutil.copytree(SAMPLE_GLUE / "MRPC", directory / name / "MRPC")
    for path in (directory / "other_glue/MRPC").iterdir():
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        # Ends of lines only: other rows in another order, and one less.
        path.write_text(
            "\n".join([header, *_renumbered(path, rows[:0:-1])]) + "\n", encoding="utf-8"
        )


def _renumbered(path, rows):
    """Rows of a test set begin with their numbers."""
    if path.name != "test.tsv":
        return rows
    return [f"{number}\t{row.split(chr(9), 1)[1]}" for number, row in enumerate(rows)]


def _make_records(runner, directory):
    """Make the inputs of pre-training."""
    for name, changes in (("records", {}), ("other", {"random_seed": 1, "dupe_factor": 3})):
        flags = _records(directory / name, **changes)
        ended = runner.run("create_pretraining_data.py", flags, directory)
        assert ended.status == 0, ended.log


def _write_squad(path, data, paragraphs):
    chosen = [p for article in data["data"] for p in article["paragraphs"]][paragraphs]
    value = {"version": data["version"], "data": [{"title": "sample", "paragraphs": chosen}]}
    path.write_text(json.dumps(value), encoding="utf-8")


def _squad(inputs, root, **changes):
    return {
        **SQUAD_FLAGS,
        "albert_config_file": inputs / "albert_config.json",
        "train_file": inputs / "train.json",
        "predict_file": inputs / "predict.json",
        "output_dir": root / "output",
        "export_dir": root / "export",
        "train_batch_size": 4,
        "train_steps": 5,
        "save_checkpoints_steps": 2,
        "learning_rate": 1e-3,
        "deterministic_run": True,
        **changes,
    }


def _squad_v2(inputs, root, **changes):
    return {
        **SQUAD_V2_FLAGS,
        **_squad(inputs, root),
        "init_checkpoint": SQUAD_V2_FLAGS["init_checkpoint"],
        "train_file": inputs / "train_v2.json",
        "predict_file": inputs / "predict_v2.json",
        **changes,
    }


def _classifier(inputs, root, **changes):
    return {
        **CLASSIFIER_FLAGS,
        "albert_config_file": inputs / "albert_config.json",
        "data_dir": inputs / "glue",
        "cached_dir": root / "cached",
        "output_dir": root / "output",
        "export_dir": root / "export",
        "train_batch_size": 2,
        "train_step": 5,
        "save_checkpoints_steps": 2,
        "learning_rate": 1e-3,
        "deterministic_run": True,
        **changes,
    }


def _own_data(inputs, root, **changes):
    files = {"train_file": inputs / "facts.csv", "test_file": inputs / "new.jsonl"}
    settings = {"dev_share": 0.25, "class_weights": "balanced"}
    glue = {"data_dir": None, "task_name": None}
    return {**_classifier(inputs, root), **glue, **files, **settings, **changes}


def _race(inputs, root, **changes):
    return {
        **RACE_FLAGS,
        "albert_config_file": inputs / "albert_config.json",
        "output_dir": root / "output",
        "export_dir": root / "export",
        "train_batch_size": 2,
        "train_step": 5,
        "save_checkpoints_steps": 2,
        "deterministic_run": True,
        **changes,
    }


def _records(output, **changes):
    return {
        **PRETRAINING_DATA_FLAGS,
        "input_file": SAMPLE_CORPUS,
        "output_file": f"{output}-0,{output}-1",
        **changes,
    }


def _pretraining(inputs, root, **changes):
    return {
        **PRETRAINING_FLAGS,
        "albert_config_file": inputs / "albert_config.json",
        "input_file": inputs / "records-*",
        "output_dir": root / "output",
        "export_dir": root / "export",
        "train_batch_size": 4,
        "num_train_steps": 5,
        "save_checkpoints_steps": 2,
        "learning_rate": 1e-3,
        "deterministic_run": True,
        **changes,
    }


def _earlier(make_flags, **changes):
    """Flags of a run that has finished before: fewer steps and no export."""
    return lambda inputs, root: make_flags(inputs, root, export_dir=None, **changes)


SCENARIOS = {
    "squad": Scenario(
        "run_squad_v1.py",
        {
            "conversion": 6,
            "training": 5,
            "saving": 7,
            "judging": 4,
            "choice": 4,
            "results": 5,
            "export": 3,
        },
        _squad,
    ),
    "squad-again": Scenario(
        "run_squad_v1.py",
        {"conversion": 6},
        lambda inputs, root: _squad(
            inputs, root, train_file=inputs / "other_train.json", doc_stride=48, do_lower_case=False
        ),
        earlier=_earlier(_squad, train_steps=2),
    ),
    "classifier": Scenario(
        "run_classifier.py",
        {
            "conversion": 6,
            "training": 5,
            "saving": 7,
            "judging": 4,
            "choice": 4,
            "results": 5,
            "export": 3,
        },
        _classifier,
    ),
    "classifier-again": Scenario(
        "run_classifier.py",
        {"conversion": 6},
        lambda inputs, root: _classifier(inputs, root, data_dir=inputs / "other_glue"),
        earlier=_earlier(_classifier, train_step=2),
    ),
    "squad-v2": Scenario(
        "run_squad_v2.py",
        {"conversion": 2, "training": 2, "saving": 2, "judging": 2, "results": 4, "export": 1},
        _squad_v2,
    ),
    "own-data": Scenario(
        "run_classifier.py",
        {"conversion": 3, "training": 2, "saving": 2, "judging": 2, "results": 4, "export": 1},
        _own_data,
    ),
    "race": Scenario(
        "run_race.py",
        {"conversion": 3, "training": 2, "saving": 2, "judging": 2, "results": 3, "export": 1},
        _race,
    ),
    "pretraining": Scenario(
        "run_pretraining.py",
        {"training": 7, "saving": 8, "judging": 5, "choice": 5, "results": 5, "export": 4},
        _pretraining,
    ),
    "pretraining-again": Scenario(
        "run_pretraining.py",
        {"training": 2, "saving": 2, "results": 2},
        lambda inputs, root: _pretraining(inputs, root, input_file=inputs / "other-*"),
        earlier=_earlier(_pretraining, num_train_steps=2),
    ),
    "records": Scenario(
        "create_pretraining_data.py",
        {"conversion": 16},
        lambda inputs, root: _records(root / "records", num_workers=2, dupe_factor=100),
    ),
    "records-again": Scenario(
        "create_pretraining_data.py",
        {"conversion": 16},
        lambda inputs, root: _records(root / "records", num_workers=2, ngram=2, dupe_factor=100),
        earlier=lambda inputs, root: _records(root / "records"),
    ),
    "records-workers": Scenario(
        "create_pretraining_data.py",
        {"conversion": 8},
        lambda inputs, root: _records(root / "records", num_workers=2, dupe_factor=1500),
        hits_workers=True,
    ),
}

# Number of moments at which a run gets SIGTERM.
TERMINATED = {
    "squad": {"conversion": 1, "training": 3, "saving": 2, "judging": 2, "export": 1},
    "classifier": {"conversion": 1, "training": 3, "saving": 2, "judging": 2, "results": 1},
    "pretraining": {"training": 3, "saving": 2, "judging": 2},
    "records": {"conversion": 3},
}

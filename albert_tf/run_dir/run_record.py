"""Record of a run, `run.json` beside its results: what was run, where and on what.

Each start that trains adds an entry, and so does each start that only evaluates or predicts.
TensorBoard's HParams page gets the settings of training too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Mapping, Sequence

from absl import logging

import albert_tf
from albert_tf.cli.settings import changed_values, settings_of
from albert_tf.devices import distributed
from albert_tf.graph.hooks import write_hparams
from albert_tf.graph.model import peak_learning_rate
from albert_tf.io import files, json_files
from albert_tf.run import data_summary
from albert_tf.run.context import Setup
from albert_tf.run_dir import checkpoint_files, checkpoints
from albert_tf.tasks.options import RunSettings

NAME = "run.json"

_PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-estimator", "numpy", "sentencepiece")
_WITH_HOROVOD = ("horovod",)
_WITH_HPU = ("habana-tensorflow",)
# Environment variables that change what a run computes, or how it is spread out.
_VARIABLES = ("TF_BF16_CONVERSION", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS")
_FORMAT = 1
_PARTS = ("settings", "inputs", "start", "schedule", "processes")  # of an entry, which are compared
_DAMAGED = (KeyError, TypeError, ValueError, RecursionError)  # errors from a damaged file
_GIT_SECONDS = 10
_PROJECT = Path(__file__).resolve().parents[2]


def begin(setup: Setup, resumed_from: str | None = None) -> None:
    """Add an entry for this start of the run; called by all processes, before training.

    If training resumes a checkpoint that was trained with other settings or inputs, a warning names
    them.

    Args:
      setup: setup of the run.
      resumed_from: prefix of the checkpoint that training resumes from, if any.
    """
    servers = distributed.servers()
    data_sets = data_summary.summaries(setup)
    if not distributed.is_chief():
        return
    path = Path(setup.results_dir) / NAME
    entries = read(path)
    start_step = checkpoint_files.step_of(resumed_from) or 0 if resumed_from else 0
    entry = _entry(setup, servers, resumed_from, start_step)
    entry["data_sets"] = data_sets
    trained = _trained_by(entries, start_step) if resumed_from else None
    if trained:
        changes = changes_since(trained, entry, setup.settings)
        if changes:
            logging.warning(
                "%s was trained with other settings than this run has: %s",
                resumed_from,
                "; ".join(changes),
            )
    _write(path, [*entries, entry])
    if setup.settings.do_train:
        write_hparams(setup.output_dir, entry["settings"])


def last_training(directory: str) -> dict[str, Any] | None:
    """Entry of the last start that trained in an output directory; None if there is no record."""
    try:
        entries = _entries(Path(directory) / NAME)
    except (OSError, *_DAMAGED):
        return None
    trained = [entry for entry in entries if entry["settings"].get("do_train")]
    return trained[-1] if trained else None


def _entries(path: Path) -> list[dict[str, Any]]:
    record = json.loads(files.contents(path))
    entries = record["starts"]
    if record[json_files.FORMAT] != _FORMAT or not (
        isinstance(entries, list) and all(map(_is_entry, entries))
    ):
        raise TypeError
    return entries


def end(setup: Setup, start_time: float) -> None:
    """Add the time spent to the entry of this start, if it has one; called at the end of the run.

    Args:
      setup: setup of the run.
      start_time: time at which the run began, in seconds.
    """
    path = Path(setup.results_dir) / NAME
    entries = read(path)
    if not entries:
        return
    entry = entries[-1]
    is_own = entry.get("processes", {}).get("id") == os.getpid()
    if is_own and entry.get("started", "") >= _time_text(start_time):
        entry["seconds"] = round(time.time() - start_time, 1)
        _write(path, entries)


def _write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    files.write_json(path, json_files.versioned(_FORMAT, {"starts": entries}))


def read(path: Path) -> list[dict[str, Any]]:
    """Read the entries of a file, in the order of the starts. A damaged file is set aside."""
    try:
        return _entries(path)
    except FileNotFoundError:
        return []
    except _DAMAGED:
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        path.replace(aside)
        logging.warning("%s is damaged: moved to %s; a new one begins", path, aside.name)
        return []


def _is_entry(value: Any) -> bool:
    """Whether a JSON value has the structure that later starts rely on."""
    if not isinstance(value, dict):
        return False
    parts = [value.get(name) for name in _PARTS]
    return all(isinstance(part, dict) for part in parts) and type(value["start"].get("step")) is int


def _trained_by(entries: Sequence[dict[str, Any]], step: int) -> dict[str, Any] | None:
    """Entry of the start that has trained the checkpoint of a step; None if it is unknown."""
    earlier = [e for e in entries if e["settings"].get("do_train") and e["start"]["step"] < step]
    return earlier[-1] if earlier else None


def changes_since(
    earlier: Mapping[str, Any], now: Mapping[str, Any], settings: RunSettings
) -> list[str]:
    """Differences between two entries that can change the trained weights.

    Args:
      earlier, now: entries of `run.json`.
      settings: settings of the run, whose class says which of them training depends on.

    Returns:
      A clause for each difference.
    """
    changes = []
    declared = settings_of(type(settings))
    compared = {
        **{
            name: ("settings", name)
            for name in now["settings"]
            if declared[name].declaration.affects_training
        },
        **{name: ("schedule", name) for name in ("steps", "warmup_steps")},
        "number of processes": ("processes", "number"),
        "number of examples in a step": ("schedule", "examples_per_step"),
    }
    for label, (part, name) in compared.items():
        was, value = (entry[part].get(name) for entry in (earlier, now))
        if name in earlier[part] and was != value:
            changes.append(f"{label} is {value}, was {was}")
    for name, digest in now["inputs"].items():
        if name in earlier["inputs"] and earlier["inputs"][name] != digest:
            changes.append(f"{name} has changed")
    return changes


def _entry(
    setup: Setup, servers: Sequence[str], resumed_from: str | None, start_step: int
) -> dict[str, Any]:
    settings = setup.settings
    schedule = setup.schedule
    starting_checkpoint = resumed_from
    if not settings.do_train:
        starting_checkpoint = checkpoints.own_checkpoint(setup.output_dir, do_train=False)
    starting_checkpoint = starting_checkpoint or setup.init_checkpoint
    return {
        "started": _time_text(time.time()),
        "command": [sys.executable, *sys.argv],
        "directory": os.getcwd(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "task": setup.task.title or type(setup.task).__name__,
        "settings": dataclasses.asdict(settings),
        "changed_settings": changed_values(settings),
        "schedule": {
            "steps": schedule.steps,
            "warmup_steps": schedule.warmup_steps,
            "examples_per_step": settings.train_batch_size * distributed.size(),
            "peak_learning_rate": peak_learning_rate(settings),
        },
        "start": {
            "step": start_step,
            "checkpoint": starting_checkpoint,
            # The index has the checksums of all variables.
            "index_sha256": starting_checkpoint and files.digest(f"{starting_checkpoint}.index"),
        },
        "inputs": _inputs(setup),
        "device": setup.device.description,
        "processes": {"number": len(servers), "servers": list(servers), "id": os.getpid()},
        "version": albert_tf.__version__,
        "versions": versions(settings, setup.device.name),
        "project": _project(),
        "system": platform.platform(),
    }


def _time_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def _inputs(setup: Setup) -> dict[str, Any]:
    """Digests of the inputs, or for record files their names, numbers of records and sizes."""
    inputs: dict[str, Any] = {"albert_config_file": files.digest(setup.albert_config_file)}
    for shard in setup.shards:
        inputs.update(shard.fingerprint)
    return inputs


def versions(settings: RunSettings, device: str) -> dict[str, str]:
    """Versions of Python and of the packages that a run depends on, by name.

    Args:
      settings: settings of the run.
      device: name of its device.
    """
    names = [*_PACKAGES]
    names += _WITH_HOROVOD if settings.use_horovod else ()
    names += _WITH_HPU if device == "hpu" else ()
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _project() -> dict[str, Any] | None:
    """Commit of this project, and whether files differ from it; None outside of a repository."""
    if not (_PROJECT / ".git").exists():
        return None
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "has_uncommitted_changes": bool(changed)}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_PROJECT), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=_GIT_SECONDS,
    ).stdout.strip()

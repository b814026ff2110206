"""Description of a run: the first lines of its log, and its entry in `run.json`."""

from __future__ import annotations

import dataclasses
import math
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
from albert_tf.cli.settings import changed_values
from albert_tf.devices import distributed
from albert_tf.graph.model import peak_learning_rate
from albert_tf.io import files
from albert_tf.records.shards import RecordShard, Shard
from albert_tf.run.context import RunContext
from albert_tf.run_dir import checkpoints

_PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-estimator", "numpy", "sentencepiece")
# Environment variables that change what a run computes, or how it is spread out.
_VARIABLES = ("TF_BF16_CONVERSION", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS")
_GIT_SECONDS = 10
_PROJECT = Path(__file__).resolve().parents[2]
USES = {"train": "training", "dev": "evaluation", "test": "prediction"}


def log(context: RunContext, shapes: Mapping[str, Sequence[int]]) -> None:
    """Log what is about to run.

    Args:
      context: context of the run.
      shapes: shapes of the model's variables, by name; empty on ranks other than 0.
    """
    settings, config = context.settings, context.task.config
    versions = _versions(context).items()
    logging.info("versions: %s", ", ".join(" ".join(pair) for pair in versions))
    logging.info("settings other than the defaults:")
    for name, value in changed_values(settings).items():
        logging.info("  %s=%s", name, value)
    if shapes:
        logging.info(
            "model: %d layers of width %d, %s parameters with the head",
            config.num_hidden_layers,
            config.hidden_size,
            f"{sum(math.prod(shape) for shape in shapes.values()):,}",
        )
    for shard in context.shards:
        logging.info("%s data: %s", USES[shard.split.name], source_of(shard))
    if settings.do_train:
        _log_schedule(context)


def source_of(shard: Shard) -> str:
    """Describe a split: its files, and the number of examples."""
    paths = shard.split.paths
    count = counted(shard.num_examples, "record" if isinstance(shard, RecordShard) else "example")
    if isinstance(shard, RecordShard):
        count += f" in {counted(len(paths), 'file')}"
    return f"{count} of {paths[0]}{' and others' if len(paths) > 1 else ''}"


def counted(number: int, noun: str) -> str:
    """A number with a noun, such as "1 file" or "2,000 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _log_schedule(context: RunContext) -> None:
    settings, num_devices = context.settings, distributed.size()
    rate = peak_learning_rate(settings)
    logging.info(
        "training takes %d steps of %d examples%s, with a learning rate of up to %.4g%s",
        context.schedule.steps,
        settings.train_batch_size * num_devices,
        f" ({settings.train_batch_size} per device)" if num_devices > 1 else "",
        rate,
        f" ({settings.learning_rate:.4g} times {num_devices} devices)"
        if rate != settings.learning_rate
        else "",
    )


def entry(context: RunContext, resumed_from: str | None, checkpoint: str | None) -> dict[str, Any]:
    """Entry of this start of the run for its record; all processes must call this.

    Args:
      context: context of the run.
      resumed_from: prefix of the checkpoint that training resumes from, if any.
      checkpoint: prefix of the checkpoint that the run starts from, if any; rank 0 has it.
    """
    settings, schedule, hosts = context.settings, context.schedule, distributed.hosts()
    inputs: dict[str, Any] = {"albert_config_file": files.digest(settings.albert_config_file or "")}
    for shard in context.shards:
        inputs.update(shard.fingerprint)
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [sys.executable, *sys.argv],
        "directory": os.getcwd(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "task": context.task.title,
        "settings": dataclasses.asdict(settings),
        "changed_settings": changed_values(settings),
        "schedule": {
            "steps": schedule.steps,
            "warmup_steps": schedule.warmup_steps,
            "examples_per_step": settings.train_batch_size * distributed.size(),
            "peak_learning_rate": peak_learning_rate(settings),
        },
        "start": {
            "step": checkpoints.step_of(resumed_from) or 0 if resumed_from else 0,
            "checkpoint": checkpoint,
            # The index has the checksums of all variables.
            "index_sha256": checkpoint and checkpoints.digest(checkpoint),
        },
        "inputs": inputs,
        "splits": [_split_entry(shard) for shard in context.shards],
        "device": context.device.description,
        "processes": {"number": len(hosts), "servers": list(hosts), "id": os.getpid()},
        "version": albert_tf.__version__,
        "versions": _versions(context),
        "project": _project(),
        "system": platform.platform(),
    }


def _split_entry(shard: Shard) -> dict[str, Any]:
    """Facts about a split for the report page, which counts its records."""
    if isinstance(shard, RecordShard):
        name, records, labels = shard.split.flag, None, []
    else:
        name, records = ", ".join(shard.split.paths), shard.paths[0]
        labels = list(shard.split.labels)
    return {
        "use": USES[shard.split.name],
        "name": name,
        "examples": shard.num_examples,
        "records": records,
        "labels": labels,
    }


def _versions(context: RunContext) -> dict[str, str]:
    """Versions of Python and of the packages that a run depends on, by name."""
    names = [*_PACKAGES]
    names += ["horovod"] if context.settings.use_horovod else []
    names += ["habana-tensorflow"] if context.device.name == "hpu" else []
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
    command = ["git", "-C", str(_PROJECT), *arguments]
    output = subprocess.check_output(
        command, stderr=subprocess.DEVNULL, text=True, timeout=_GIT_SECONDS
    )
    return output.strip()

"""Record of a run, `run.json` beside its results: an entry for each start.

Each start that trains adds an entry, and so does each start that only evaluates or predicts.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Container, Mapping

from absl import logging

from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError

NAME = "run.json"
_FORMAT = 1
_PARTS = ("settings", "inputs", "start", "schedule", "processes")  # of an entry

Entry = Mapping[str, Any]


def read(directory: str | Path, is_own: bool = False) -> list[dict[str, Any]]:
    """Read the entries of the starts, in order; none from a damaged file.

    Args:
      directory: directory of the results.
      is_own: whether to set a damaged file aside, as a new one begins.
    """
    path = Path(directory) / NAME
    if not path.exists():
        return []
    try:
        content = json_files.read(path, "the record of the run", "a new one begins", _FORMAT)
        for entry in content.objects("starts"):
            for part in _PARTS:
                entry.child(part)
            entry.child("start").integer("step", 0)
        return content.array("starts")
    except InputError as error:
        if is_own:
            aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
            path.replace(aside)
            logging.warning("moved to %s: %s", aside.name, error)
        else:
            logging.warning("not used: %s", error)
        return []


def append(directory: str | Path, entry: Entry) -> None:
    """Add the entry of a start."""
    _write(directory, [*read(directory, is_own=True), entry])


def finish(directory: str | Path, entry: Entry, seconds: float) -> None:
    """Add the time that a start has taken to its entry, the last of the record.

    Args:
      directory: directory of the results.
      entry: the entry, as it was appended.
      seconds: seconds from the start to the end.
    """
    *earlier, last = read(directory) or [{}]
    if last.get("started") == entry["started"] and last["processes"] == entry["processes"]:
        _write(directory, [*earlier, {**entry, "seconds": round(seconds, 1)}])


def _write(directory: str | Path, entries: list[Entry]) -> None:
    files.write_json(Path(directory) / NAME, json_files.versioned(_FORMAT, {"starts": entries}))


def trained_by(directory: str | Path, step: int) -> Entry | None:
    """Entry of the start that has trained the checkpoint of a step; None if it is unknown."""
    earlier = [entry for entry in _trainings(directory) if entry["start"]["step"] < step]
    return earlier[-1] if earlier else None


def last_training(directory: str | Path) -> Entry | None:
    """Entry of the last start that trained in a directory; None if there is no record."""
    return next(reversed(_trainings(directory)), None)


def _trainings(directory: str | Path) -> list[dict[str, Any]]:
    return [entry for entry in read(directory) if entry["settings"].get("do_train")]


def changes(earlier: Entry, now: Entry, affects_training: Container[str]) -> list[str]:
    """Differences between two entries that can change the trained weights.

    Args:
      earlier: entry of an earlier start.
      now: entry of this start.
      affects_training: names of the settings that training depends on.

    Returns:
      A clause for each difference.
    """
    compared = {
        **{name: ("settings", name) for name in now["settings"] if name in affects_training},
        **{name: ("schedule", name) for name in ("steps", "warmup_steps")},
        "number of processes": ("processes", "number"),
        "number of examples in a step": ("schedule", "examples_per_step"),
    }
    found = []
    for label, (part, name) in compared.items():
        was, value = (entry[part].get(name) for entry in (earlier, now))
        if name in earlier[part] and was != value:
            found.append(f"{label} is {value}, was {was}")
    for name, digest in now["inputs"].items():
        if name in earlier["inputs"] and earlier["inputs"][name] != digest:
            found.append(f"{name} has changed")
    return found

"""The report page of a run, `report.html` in the directory of its results.

The page is made from files of the directory: `run.json`, the evaluation results, TensorBoard's
events, the record files, and the task's sections about the predictions of the best checkpoint,
which are kept in `report_sections.json`, so it can be written again at any time.
"""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Mapping, Sequence

from absl import logging

from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError
from albert_tf.nn.config import AlbertConfig
from albert_tf.records import summaries
from albert_tf.report.blocks import Bars, Block, Histogram, Lines, Section, Table
from albert_tf.run_dir import checkpoints, evaluations, events, record
from albert_tf.run_dir.run_dir import RunDir

PAGE = "report.html"
SECTIONS_FILE = "report_sections.json"

_FORMAT = 1  # of `SECTIONS_FILE`
_SIZES = ("num_hidden_layers", "hidden_size", "embedding_size", "num_attention_heads", "vocab_size")
_NO_CURVE = re.compile("thresh|total")  # metrics that are no measure of quality
_MOST_LABELS = 40  # of a chart

Metrics = Mapping[str, float]


def sections_text(sections: Sequence[Section]) -> str:
    """Content of `report_sections.json`."""
    content = json_files.versioned(_FORMAT, {"sections": [s.as_json() for s in sections]})
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def write_after_run(output_dir: str | Path) -> None:
    """Write the page of a run that has just ended; whatever goes wrong is logged."""
    try:
        write(output_dir)
    except Exception as error:
        logging.warning(
            "%s is not written: %s; repair it and run report.py --output_dir=%s",
            Path(output_dir) / PAGE,
            error if str(error) else repr(error),
            output_dir,
        )


def write(output_dir: str | Path) -> Path:
    """Write the page of a run, unless it is there already with the same content.

    Args:
      output_dir: output directory of the run, or the directory of a prediction.

    Returns:
      Path of the page.

    Raises:
      InputError: if the directory has no run.
    """
    from albert_tf.report import page  # imports the plotting library

    directory = Path(output_dir)
    starts = record.read(directory)
    if not starts:
        raise InputError(
            f"{directory / record.NAME}: no record of a run; give the --output_dir of a run"
        )
    content = evaluations.read_results(output_dir)
    results = content.values if content else {}
    shown = [
        Section("Run", _head(directory, starts, results)),
        Section("Curves", _curves(directory, results)),
        Section("Data", _data(starts)),
    ]
    values = [section.as_json() for section in shown if section.blocks]
    title = f"{starts[-1].get('task', 'Run')}: {directory.resolve().name}"
    subtitle = f"{_metrics_text(results)} {directory.resolve()}".strip()
    html = page.render(title, subtitle, [*values, *_task_sections(directory)])
    path = directory / PAGE
    if not path.is_file() or path.read_text(encoding="utf-8") != html:
        files.write_text(path, html)
        logging.info("report: %s", path)
    return path


def _task_sections(directory: Path) -> list[dict[str, Any]]:
    path = directory / SECTIONS_FILE
    if not path.exists():
        return []
    content = json_files.read(
        path, "the sections of the report", "remove it and repeat the run's command", _FORMAT
    )
    return content.array("sections")


def _metrics_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of the best checkpoint, by name."""
    return results.get("checkpoints", {}).get(results.get("best_checkpoint")) or {}


def _metrics_text(results: Mapping[str, Any]) -> str:
    metrics = _metrics_of(results)
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()) + "." * bool(metrics)


def _head(
    directory: Path, starts: Sequence[Mapping[str, Any]], results: Mapping[str, Any]
) -> list[Block]:
    """Tables: metrics, the run and its model, changed settings, versions."""
    last = starts[-1]
    tables: list[Block] = []
    metrics = _metrics_of(results)
    if metrics:
        caption = f"Best checkpoint: {results['best_checkpoint']}"
        tables.append(Table(caption, (), list(metrics.items())))
    seconds = [start["seconds"] for start in starts if "seconds" in start]
    schedule = last.get("schedule", {})
    steps = [
        ["steps", schedule.get("steps")],
        ["examples in a step", schedule.get("examples_per_step")],
    ]
    run = [
        ["task", last.get("task", "")],
        *([x["use"], f"{x['name']}: {x['examples']:,} examples"] for x in _splits(starts)),
        ["model", _model_text(directory, last)],
        ["starts from", last["start"].get("checkpoint") or "random weights"],
        *(steps if last["settings"].get("do_train", True) else []),
        ["device", f"{last.get('device', '')}, processes: {last['processes']['number']}"],
        ["started", starts[0].get("started", "")],
        ["starts", len(starts)],
        ["time spent", str(timedelta(seconds=round(sum(seconds)))) if seconds else "unknown"],
    ]
    tables.append(Table("Run", (), run))
    changed = last.get("changed_settings", last["settings"])
    rows = [[name, _setting_text(value)] for name, value in changed.items()]
    tables.append(Table("Settings other than the defaults", (), rows))
    versions = {"this project": last.get("version", ""), **last.get("versions", {})}
    project = last.get("project") or {}
    if project:
        suffix = ", with uncommitted changes" if project.get("has_uncommitted_changes") else ""
        versions["this project"] += f", commit {project.get('commit', '')[:12]}{suffix}"
    tables.append(Table("Versions", (), list(versions.items())))
    return tables


def _setting_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _model_text(directory: Path, start: Mapping[str, Any]) -> str:
    """Sizes of the model, if its files still exist."""
    try:
        config = AlbertConfig.from_json_file(start["settings"]["albert_config_file"]).to_dict()
        parts = [f"{name} {config[name]:,}" for name in _SIZES if name in config]
    except (InputError, OSError):
        parts = ["config not found"]
    prefix = RunDir(directory).for_prediction()
    prefix = prefix or start["start"].get("checkpoint")  # of a prediction, in another directory
    if prefix and checkpoints.problem(prefix) is None:
        count = sum(math.prod(shape) for shape in checkpoints.model_shapes_in(prefix).values())
        parts.insert(0, f"{count:,} parameters")
    return ", ".join(parts)


def _curves(directory: Path, results: Mapping[str, Any]) -> list[Block]:
    """Charts of training, and of the metrics of each evaluated checkpoint."""
    curve = events.read(directory)
    names = {name for values in curve.values() for name in values if name.startswith("train/")}
    blocks = []
    for name in sorted(names, key=lambda n: (n != "train/loss", n != "train/learning_rate", n)):
        points = [[step, values[name]] for step, values in sorted(curve.items()) if name in values]
        label = name[len("train/") :].replace("_", " ")
        first, final = points[0], points[-1]
        caption = (
            f"{label.capitalize()}: {first[1]:.4g} at step {first[0]:,}, "
            f"{final[1]:.4g} at step {final[0]:,}"
        )
        blocks.append(Lines(caption, "step", label, {label: points}))
    return [*blocks, *_metric_curves(results)]


def _metric_curves(results: Mapping[str, Any]) -> list[Block]:
    """Charts of the metrics by step, losses apart, with the best checkpoint marked."""
    by_step = {
        step: metrics
        for name, metrics in results.get("checkpoints", {}).items()
        if (step := checkpoints.step_of(name)) is not None and metrics
    }
    best_step = checkpoints.step_of(results.get("best_checkpoint") or "")
    names = list(dict.fromkeys(name for metrics in by_step.values() for name in metrics))
    names = [name for name in names if not _NO_CURVE.search(name)]
    blocks: list[Block] = []
    for kind, is_loss in (("Metrics", False), ("Losses", True)):
        group = [name for name in names if ("loss" in name) == is_loss]
        if not group:
            continue
        series = {
            name: [[step, by_step[step][name]] for step in sorted(by_step) if name in by_step[step]]
            for name in group
        }
        marked = {}
        if best_step in by_step and group[0] in by_step[best_step]:
            marked = {f"best, step {best_step:,}": [best_step, by_step[best_step][group[0]]]}
        caption = f"{kind} of the evaluated checkpoints"
        blocks.append(Lines(caption, "step", "", series, marked, has_dots=True))
        rows = [[step, *(by_step[step].get(n) for n in group)] for step in sorted(by_step)]
        blocks.append(Table(caption, ("step", *group), rows))
    return blocks


def _splits(starts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of the splits: each use of the last start that had it."""
    splits = [split for start in starts for split in start.get("splits", ())]
    return list({(split["use"], split["name"]): split for split in splits}.values())


def _data(starts: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Charts of the lengths and labels in the record files that still exist."""
    blocks: list[Block] = []
    limit = starts[-1]["settings"].get("max_seq_length", 0)
    for split in _splits(starts):
        path = split["records"]
        if split["use"] == "prediction" or not path or not Path(path).exists():
            continue
        found = summaries.summary(path, limit, bool(split["labels"]))
        name = f"{split['use']}, {Path(split['name']).name}"
        blocks.append(
            Histogram(
                f"Lengths of the inputs: {name}",
                "tokens",
                0,
                found.bin_size,
                {"inputs": found.histogram()},
                {f"max_seq_length {limit}": limit},
                found.text(),
            )
        )
        counts = {split["labels"][label]: n for label, n in found.labels.items()}
        if counts:
            most = sorted(counts, key=lambda label: -counts[label])[:_MOST_LABELS]
            groups = [label for label in split["labels"] if label in most]
            caption = f"Examples per label: {name}"
            values = {"examples": [counts[label] for label in groups]}
            blocks.append(Bars(caption, "label", groups, values, unit="examples"))
    return blocks

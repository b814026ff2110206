"""The report page of a run, `report.html` beside its results.

The page is made from files of the directory: `run.json`, the evaluation results, TensorBoard's
events, and the task's sections about the predictions of the best checkpoint, which are kept in
`report_sections.json`. So it can be made again at any time.
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
from albert_tf.report.blocks import Bars, Block, Histogram, Lines, Section, Table
from albert_tf.run_dir import best, checkpoint_files, checkpoints, curves, run_record
from albert_tf.tasks.base import DataSet, RecordFiles, Task

PAGE = "report.html"
SECTIONS_FILE = "report_sections.json"

_FORMAT = 1  # of `SECTIONS_FILE`
_SIZES = ("num_hidden_layers", "hidden_size", "embedding_size", "num_attention_heads", "vocab_size")
_NO_CURVE = re.compile("thresh|total")  # metrics that are no measure of quality
_MOST_LABELS = 40  # of a chart


def sections(
    task: Task, data_set: DataSet | RecordFiles, answers: Sequence[Any]
) -> list[dict[str, Any]]:
    """A task's sections about its answers, as JSON values; none if the run writes no report.

    Whatever goes wrong is logged: no run ends because of its report.
    """
    if not task.settings.write_report:
        return []
    try:
        return [section.as_json() for section in task.report_sections(data_set, answers)]
    except Exception as error:
        logging.warning("the report has no sections about the predictions: %r", error)
        return []


def as_file(values: Sequence[Mapping[str, Any]]) -> str:
    """Content of `report_sections.json`."""
    content = json_files.versioned(_FORMAT, {"sections": values})
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def write_after_run(output_dir: str) -> None:
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


def write(output_dir: str) -> Path:
    """Write the page of a run, unless it is there already with the same content.

    Args:
      output_dir: output directory of the run, or that of a prediction.

    Returns:
      Path of the page.

    Raises:
      InputError: if the directory has no run.
    """
    from albert_tf.report import page  # imports the plotting library

    directory = Path(output_dir)
    starts = run_record.read(directory / run_record.NAME)
    if not starts:
        raise InputError(
            f"{directory / run_record.NAME}: no record of a run; give the --output_dir of a run"
        )
    results = best.read_results(output_dir)
    results = results if isinstance(results, dict) else {}
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
    try:
        content = json.loads(files.contents(path))
        if content[json_files.FORMAT] == _FORMAT:
            return content["sections"]
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path}: damaged; remove it and repeat the run's command")


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
        tables.append(Table(caption, (), [[name, value] for name, value in metrics.items()]))
    seconds = [start["seconds"] for start in starts if "seconds" in start]
    schedule = last.get("schedule", {})
    run = [
        ["task", last.get("task", "")],
        *([d["use"], f"{d['name']}: {d['examples']:,} examples"] for d in _data_sets(starts)),
        ["model", _model_text(directory, last)],
        ["starts from", last["start"].get("checkpoint") or "random weights"],
        *(
            [
                ["steps", schedule.get("steps")],
                ["examples in a step", schedule.get("examples_per_step")],
            ]
            if last["settings"].get("do_train", True)
            else []
        ),
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
    tables.append(Table("Versions", (), [list(item) for item in versions.items()]))
    return tables


def _setting_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _model_text(directory: Path, start: Mapping[str, Any]) -> str:
    """Sizes of the model, as far as its files are still there."""
    parts = []
    try:
        config = AlbertConfig.from_json_file(start["settings"]["albert_config_file"]).to_dict()
        parts = [f"{name} {config[name]:,}" for name in _SIZES if name in config]
    except (InputError, OSError):
        parts = ["config not found"]
    prefix = checkpoints.own_checkpoint(str(directory), do_train=False)
    prefix = prefix or start["start"].get("checkpoint")  # of a prediction, in another directory
    if prefix and checkpoint_files.problem(prefix) is None:
        count = sum(math.prod(shape) for shape in checkpoints.model_shapes_in(prefix).values())
        parts.insert(0, f"{count:,} parameters")
    return ", ".join(parts)


def _curves(directory: Path, results: Mapping[str, Any]) -> list[Block]:
    """Charts of training, and of the metrics of each evaluated checkpoint."""
    curve = curves.read(directory)
    names = {name for values in curve.values() for name in values if name.startswith("train/")}
    blocks = []
    for name in ("train/loss", "train/learning_rate", *sorted(names)):
        points = [[step, values[name]] for step, values in sorted(curve.items()) if name in values]
        label = name[len("train/") :].replace("_", " ")
        if points and name in names:
            names.remove(name)
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
        if (step := checkpoint_files.step_of(name)) is not None and metrics
    }
    best_step = checkpoint_files.step_of(results.get("best_checkpoint") or "")
    names = list(dict.fromkeys(name for metrics in by_step.values() for name in metrics))
    names = [name for name in names if not _NO_CURVE.search(name)]
    groups = {
        "Metrics": [name for name in names if "loss" not in name],
        "Losses": [name for name in names if "loss" in name],
    }
    blocks: list[Block] = []
    for caption, group in groups.items():
        series = {
            name: [[step, by_step[step][name]] for step in sorted(by_step) if name in by_step[step]]
            for name in group
        }
        marked = {}
        if group and best_step in by_step and group[0] in by_step[best_step]:
            marked = {f"best, step {best_step:,}": [best_step, by_step[best_step][group[0]]]}
        if series:
            caption = f"{caption} of the evaluated checkpoints"
            blocks.append(Lines(caption, "step", "", series, marked, has_dots=True))
            rows = [[step, *(by_step[step].get(n) for n in group)] for step in sorted(by_step)]
            blocks.append(Table(caption, ("step", *group), rows))
    return blocks


def _data_sets(starts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Summaries of the data sets: each use of the last start that had it."""
    found = {}
    for start in starts:
        for data_set in start.get("data_sets", ()):
            found[data_set["use"], data_set["name"]] = data_set
    return list(found.values())


def _data(starts: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Charts of lengths and labels of the data sets."""
    blocks: list[Block] = []
    for data_set in _data_sets(starts):
        lengths, labels = data_set.get("lengths"), data_set.get("labels")
        name = f"{data_set['use']}, {Path(data_set['name']).name}"
        if lengths:
            share = lengths["longer"] / sum(lengths["counts"])
            blocks.append(
                Histogram(
                    f"Lengths of the examples: {name}",
                    "pieces",
                    0,
                    lengths["step"],
                    {"examples": lengths["counts"]},
                    {f"max_seq_length {lengths['limit']}": lengths["limit"]},
                    f"Median {lengths['median']:,}, longest {lengths['longest']:,} pieces. "
                    f"{lengths['longer']:,} ({share:.1%}) are longer than max_seq_length: these "
                    f"are {lengths['fate']}.",
                )
            )
        if labels:
            most = sorted(labels, key=lambda label: -labels[label])[:_MOST_LABELS]
            groups = [label for label in labels if label in most]
            counts = {"examples": [labels[label] for label in groups]}
            caption = f"Examples per label: {name}"
            blocks.append(Bars(caption, "label", groups, counts, unit="examples"))
    return blocks

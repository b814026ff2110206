"""Model card of a converted model: `README.md` in the form of Hugging Face's hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence

from albert_tf.io import json_files
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints, evaluations, record
from albert_tf.run_dir.model_folder import SETTINGS_FILE

NAME = "README.md"

_DIGEST_LENGTH = 12
# A sentence and the hub's tag for each class of transformers that can be converted.
PURPOSES = {
    "AlbertForQuestionAnswering": (
        "finds the answer to a question in a text",
        "question-answering",
    ),
    "AlbertForSequenceClassification": (
        "predicts a label or a score for one or two texts",
        "text-classification",
    ),
    "AlbertForMultipleChoice": (
        "chooses the answer to a question about a text among several",
        "multiple-choice",
    ),
    "AlbertForPreTraining": (
        "is pre-trained on masked words and on the order of two segments, to be fine-tuned",
        "fill-mask",
    ),
    "AlbertForMaskedLM": ("is pre-trained on masked words, to be fine-tuned", "fill-mask"),
    "AlbertModel": ("is an encoder without a head", "feature-extraction"),
}


def model_card(
    name: str, architecture: str, checkpoint: str, num_parameters: int, labels: Sequence[str] = ()
) -> str:
    """Write the card of a model, from what its run has left beside the checkpoint.

    Args:
      name: name of the model.
      architecture: name of its class in transformers.
      checkpoint: prefix of the checkpoint that it is converted from.
      num_parameters: number of its parameters.
      labels: names of a classifier's labels.

    Returns:
      The card in Markdown, with a head in YAML. No path of the machine is in it.
    """
    directory = Path(checkpoint).parent
    purpose, tag = PURPOSES[architecture]
    loader = architecture.replace("AlbertModel", "AutoModel").replace("AlbertFor", "AutoModelFor")
    training = record.last_training(directory)
    text = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {tag}",
        "tags:",
        "- albert",
        "---",
        "",
        f"# {name}",
        "",
        "An ALBERT ([Lan et al. 2019](https://arxiv.org/abs/1909.11942)) of "
        f"{num_parameters:,} parameters, converted from the TensorFlow checkpoint "
        f"`{Path(checkpoint).name}`. It {purpose}.",
        "",
        "```python",
        f"from transformers import AutoTokenizer, {loader}",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        f'model = {loader}.from_pretrained("{name}")',
        "```",
    ]
    if labels:
        text += ["", f"Labels: {', '.join(labels)}."]
    metrics = [(key, f"{value:.4f}") for key, value in _metrics(checkpoint).items()]
    text += _section("Metrics", "metric", metrics)
    if training:
        text += _section("Data", "input, SHA-256", _data_rows(training))
        text += _section("Training", "setting", _training_rows(training))
    text += _section("Text and task", "setting", _settings(directory).items())
    return "\n".join(text) + "\n"


def _metrics(checkpoint: str) -> Mapping[str, float]:
    """Metrics of a checkpoint on the inputs of the last results beside it; empty if unknown."""
    directory, digest = Path(checkpoint).parent, checkpoints.digest(checkpoint)
    results = evaluations.read_results(directory)
    inputs = results.text("inputs") if results else None
    for outcome in evaluations.outcomes_in(directory):
        if (outcome.digest, outcome.inputs) == (digest, inputs):
            return outcome.metrics
    return {}


def _section(title: str, column: str, rows: Iterable[tuple[str, Any]]) -> list[str]:
    """Lines of a section with a table; none without rows."""
    lines = [f"| {key} | {value} |" for key, value in rows]
    return ["", f"## {title}", "", f"| {column} | |", "| --- | --- |", *lines] if lines else []


def _data_rows(training: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Inputs of a training run: file names where they are known, and digests."""
    for name, digest in training["inputs"].items():
        path = training["settings"].get(name)
        shown = digest[:_DIGEST_LENGTH] if isinstance(digest, str) else json.dumps(digest)
        yield name if path is None else f"{name} ({Path(str(path)).name})", shown


def _training_rows(training: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from training.get("schedule", {}).items()
    for name in ("optimizer", "seed"):
        if name in training["settings"]:
            yield name, training["settings"][name]
    yield from training.get("versions", {}).items()


def _settings(directory: Path) -> dict[str, Any]:
    """Settings that the run has left beside its checkpoints."""
    try:
        return json_files.read(directory / SETTINGS_FILE, "the settings", "").values
    except InputError:
        return {}

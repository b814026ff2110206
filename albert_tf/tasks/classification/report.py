"""Classification and regression: sections of the report page, from a checkpoint's predictions."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from albert_tf.report.blocks import (
    RIGHT,
    WRONG,
    Block,
    Matrix,
    Scatter,
    Section,
    Table,
    example,
    fitting_examples,
)
from albert_tf.tasks.classification.confusion import Confusion

Texts = Sequence["tuple[str, str]"]  # names and texts of an example

_MOST_IN_MATRIX, _MOST_IN_TABLE, _MOST_IN_FILTER = 30, 200, 500  # labels
_SCORES = ("precision", "recall", "f1")
_SHOWN_LABELS = 5
_LONGEST_TITLE = 160  # characters


def label_sections(
    labels: Sequence[str],
    texts: Sequence[Texts],
    truths: Sequence[int],
    answers: Sequence[dict[str, Any]],
    name: str = "",
    passages: Sequence[str] = (),
) -> list[Section]:
    """Sections about predicted labels.

    Args:
      labels: names of the labels.
      texts: names and texts of each example; the first is its title.
      truths: index of the true label of each example.
      answers: `head_outputs` of each example.
      name: name of the split, for the headings, if there are several.
      passages: a text of each example that it shares with others; empty for none.
    """
    predictions = [answer["predictions"] for answer in answers]
    counted = Confusion.of(np.array(truths), np.array(predictions), labels)
    blocks = [confusion(counted), per_label(counted)]
    shared: Sequence[str | None] = passages or [None] * len(texts)
    examples = [
        _labelled(labels, *example, number)
        for number, example in enumerate(zip(texts, shared, truths, answers), 1)
    ]
    examples.sort(key=lambda pair: pair[0])
    listing = fitting_examples(
        "Examples: most confident errors first",
        [item for _, item in examples],
        filters=_filters(labels),
        columns=("label", "probability"),
    )
    return [Section(f"Labels{name}", blocks), Section(f"Examples{name}", [listing])]


def confusion(counted: Confusion) -> Block:
    """Confusion matrix of the labels with the most errors; of many labels, the pairs confused."""
    if not counted.is_dense:
        pairs = counted.most_confused()
        return Table("Labels confused most often", ("true", "predicted", "examples"), pairs)
    shown, which = _with_most_errors(counted, _MOST_IN_MATRIX)
    counts = counted.matrix()[np.ix_(shown, shown)].tolist()
    return Matrix(f"Confusion matrix{which}", [counted.names[i] for i in shown], counts)


def per_label(counted: Confusion) -> Block:
    """Table of precision, recall and F1; of many labels, for those with the most errors."""
    shown, which = _with_most_errors(counted, _MOST_IN_TABLE)
    metrics = counted.label_metrics()
    rows = [
        [name, *(f"{100 * metrics[name][score]:.1f}" for score in _SCORES), metrics[name]["rows"]]
        for name in (counted.names[i] for i in shown)
    ]
    caption = f"Precision, recall and F1 of each label, in percent{which}"
    return Table(caption, ("label", "precision", "recall", "F1", "examples"), rows)


def _with_most_errors(counted: Confusion, most: int) -> tuple[np.ndarray, str]:
    """Indices of the labels to show, and words that say which: if not all, the worst first."""
    if len(counted.names) <= most:
        return np.arange(len(counted.names)), ""
    right, predicted, true = counted.totals()
    errors = predicted + true - 2 * right
    shown = np.argsort(-errors, kind="stable")[:most]
    return shown, f": the {most} labels with the most errors"


def _labelled(
    labels: Sequence[str],
    texts: Texts,
    passage: str | None,
    truth: int,
    answer: dict[str, Any],
    number: int,
) -> tuple[tuple[bool, float], dict[str, Any]]:
    """Rank, and example with the probabilities of the labels."""
    prediction, probabilities = answer["predictions"], answer["probabilities"]
    is_right = prediction == truth
    sureness = probabilities[prediction]
    best = _largest(np.array(probabilities), _SHOWN_LABELS)
    item = example(
        _title(texts),
        state=RIGHT if is_right else WRONG,
        facts=[
            f"predicted: {labels[prediction]} ({100 * sureness:.0f}%)",
            *([] if is_right else [f"true: {labels[truth]}"]),
            f"no. {number}",
        ],
        groups=[labels[truth], labels[prediction]] if _filters(labels) else (),
        texts=texts,
        passage=passage,
        rows=[[labels[label], f"{100 * probabilities[label]:.1f}%"] for label in best],
    )
    return (is_right, sureness if is_right else -sureness), item


def _largest(values: np.ndarray, most: int) -> np.ndarray:
    """Places of the largest values in descending order, without sorting the others."""
    count = min(most, len(values))
    places = np.sort(np.argpartition(-values, count - 1)[:count])
    return places[np.argsort(-values[places], kind="stable")]


def _filters(labels: Sequence[str]) -> dict[str, Sequence[str]]:
    """Filters of the list; none for more labels than one can choose from."""
    is_short = len(labels) <= _MOST_IN_FILTER
    return {"True label": labels, "Predicted label": labels} if is_short else {}


def score_sections(
    texts: Sequence[Texts],
    truths: Sequence[float],
    answers: Sequence[dict[str, Any]],
    name: str = "",
) -> list[Section]:
    """Sections about predicted scores.

    Args:
      texts: names and texts of each example; the first is its title.
      truths: true score of each example.
      answers: `head_outputs` of each example.
      name: name of the split, for the headings, if there are several.
    """
    points = [
        [round(float(truth), 4), round(float(answer["predictions"]), 4)]
        for truth, answer in zip(truths, answers)
    ]
    numbered = sorted(
        enumerate(zip(texts, points), 1), key=lambda item: -abs(item[1][1][0] - item[1][1][1])
    )
    items = [
        example(
            _title(pair),
            facts=[f"predicted {predicted:.2f}", f"true {truth:.2f}", f"no. {number}"],
            texts=pair,
        )
        for number, (pair, (truth, predicted)) in numbered
    ]
    scatter = Scatter("Predicted and true scores", "true score", "predicted score", points)
    return [
        Section(f"Scores{name}", [scatter]),
        Section(f"Examples{name}", [fitting_examples("Examples, largest errors first", items)]),
    ]


def _title(texts: Texts) -> str:
    text = " ".join(texts[0][1].split())
    return text if len(text) <= _LONGEST_TITLE else f"{text[: _LONGEST_TITLE - 1]}…"

"""Classification and regression: sections of the report page, from the answers of a checkpoint.

This file does not import TensorFlow.
"""

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

Texts = Sequence["tuple[str, str]"]  # names and texts of an example

_MOST_LABELS = 30  # of a confusion matrix
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
      name: name of the data set, for the headings, if there are several.
      passages: a text of each example that it shares with others; empty for none.
    """
    predictions = [answer["predictions"] for answer in answers]
    blocks = [confusion(labels, truths, predictions), per_label(labels, truths, predictions)]
    passages = passages or [None] * len(texts)
    examples = [
        _labelled(labels, *example, number)
        for number, example in enumerate(zip(texts, passages, truths, answers), 1)
    ]
    examples.sort(key=lambda pair: pair[0])
    listing = fitting_examples(
        "Examples: errors first, the surest ones first",
        [item for _, item in examples],
        filters={"True label": labels, "Predicted label": labels},
        columns=("label", "probability"),
    )
    return [Section(f"Labels{name}", blocks), Section(f"Examples{name}", [listing])]


def confusion(labels: Sequence[str], truths: Sequence[int], predictions: Sequence[int]) -> Block:
    """Confusion matrix; of many labels, those with the most errors."""
    from sklearn import metrics

    counts = metrics.confusion_matrix(truths, predictions, labels=range(len(labels)))
    shown, caption = np.arange(len(labels)), "Confusion matrix"
    if len(labels) > _MOST_LABELS:
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
        shown = np.sort(np.argsort(-errors, kind="stable")[:_MOST_LABELS])
        caption += f" of the {_MOST_LABELS} labels with the most errors"
    return Matrix(caption, [labels[i] for i in shown], counts[np.ix_(shown, shown)].tolist())


def per_label(labels: Sequence[str], truths: Sequence[int], predictions: Sequence[int]) -> Block:
    """Table of precision, recall and F1 of each label; 0 where a label never occurs."""
    from sklearn import metrics

    values = metrics.precision_recall_fscore_support(
        truths, predictions, labels=range(len(labels)), zero_division=0
    )
    rows = [
        [label, *(f"{100 * float(x):.1f}" for x in scores), int(support)]
        for label, *scores, support in zip(labels, *values)
    ]
    columns = ("label", "precision", "recall", "F1", "examples")
    return Table("Precision, recall and F1 of each label, in percent", columns, rows)


def _labelled(labels, texts, passage, truth, answer, number):
    """Rank, and example with the probabilities of the labels."""
    prediction, probabilities = answer["predictions"], answer["probabilities"]
    is_right = prediction == truth
    sureness = probabilities[prediction]
    best = sorted(range(len(labels)), key=lambda label: -probabilities[label])[:_SHOWN_LABELS]
    item = example(
        _title(texts),
        state=RIGHT if is_right else WRONG,
        facts=[
            f"predicted: {labels[prediction]} ({100 * sureness:.0f}%)",
            *([] if is_right else [f"true: {labels[truth]}"]),
            f"no. {number}",
        ],
        groups=[labels[truth], labels[prediction]],
        texts=texts,
        passage=passage,
        rows=[[labels[label], f"{100 * probabilities[label]:.1f}%"] for label in best],
    )
    return (is_right, sureness if is_right else -sureness), item


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
      name: name of the data set, for the headings, if there are several.
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
    scatter = Scatter("Predicted against true scores", "true score", "predicted score", points)
    return [
        Section(f"Scores{name}", [scatter]),
        Section(f"Examples{name}", [fitting_examples("Examples, largest errors first", items)]),
    ]


def _title(texts):
    text = " ".join(texts[0][1].split())
    return text if len(text) <= _LONGEST_TITLE else f"{text[: _LONGEST_TITLE - 1]}…"

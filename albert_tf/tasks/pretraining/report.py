"""Pre-training: sections of the report page, from the predictions of a checkpoint."""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, Sequence

from albert_tf.report.blocks import (
    MASKED_SPAN,
    PARTLY_RIGHT,
    RIGHT,
    WRONG,
    Bars,
    Section,
    example,
    fitting_examples,
)
from tokenization import FullTokenizer

SHOWN_RECORDS = 100  # whose predictions are kept
NUM_BEST = 5  # pieces to show for each mask

_ORDERS = ("in order", "swapped")
_SPACE = "▁"
_TITLE_PIECES = 24


def sections(
    metrics: Mapping[str, float],
    details: Sequence[dict[str, Any]],
    tokenizer: FullTokenizer | None,
) -> list[Section]:
    """Sections of the report page.

    Args:
      metrics: metrics of the checkpoint.
      details: predictions of some records; see `PretrainingTask.answers`.
      tokenizer: tokenizer, to show pieces; None to show ids.
    """
    parts = {"masked language model": "masked_lm", "sentence order": "sentence_order"}
    bars = [
        Bars(
            caption=caption,
            axis="objective",
            groups=list(parts),
            series={kind: [metrics[f"{part}_{kind}"] for part in parts.values()]},
            top=top,
            unit=kind,
        )
        for caption, kind, top in (
            ("Accuracy on the evaluated records", "accuracy", 1),
            ("Loss on the evaluated records", "loss", None),
        )
    ]
    found = [Section("Masked tokens and sentence order", bars)]
    if details:
        listing = fitting_examples(
            "Masked tokens, and the five best predictions for each",
            [_example(record, tokenizer) for record in details],
            filters={"Sentence order": _ORDERS},
            columns=("token", "in the input", *(f"{number}." for number in range(1, NUM_BEST + 1))),
            legend={MASKED_SPAN: "masked tokens"},
        )
        note = (
            ""
            if tokenizer
            else ("Give --spm_model_file or --vocab_file to see tokens instead of their ids.")
        )
        found.append(Section("Examples", [listing], note))
    return found


def _example(record: Mapping[str, Any], tokenizer: FullTokenizer | None) -> dict[str, Any]:
    def pieces_of(ids: Sequence[int]) -> list[str]:
        return tokenizer.convert_ids_to_tokens(ids) if tokenizer else [f" {i}" for i in ids]

    positions, true_pieces = record["positions"], pieces_of(record["true_ids"])
    shown = pieces_of(record["input_ids"])
    inputs = [shown[position] for position in positions]
    for position, piece in zip(positions, true_pieces):
        shown[position] = piece
    text, spans = _joined(shown, set(positions))
    rows = []
    for piece, given, ids, log_probs in zip(
        true_pieces, inputs, record["best_ids"], record["best_log_probs"]
    ):
        best = zip(pieces_of(ids), log_probs)
        rows.append([piece, given, *(f"{p} ({100 * math.exp(x):.0f}%)" for p, x in best)])
    hits = sum(true == best[0] for true, best in zip(record["true_ids"], record["best_ids"]))
    state = RIGHT if hits == len(positions) else PARTLY_RIGHT if hits else WRONG
    predicted = record["order"] if record["order_is_right"] else 1 - record["order"]
    return example(
        _joined(shown[1:_TITLE_PIECES], set())[0].strip() + " …",
        state=state,
        facts=[
            f"{hits} of {len(positions)} tokens right",
            f"{_ORDERS[record['order']]}, predicted {_ORDERS[predicted]}",
        ],
        groups=[_ORDERS[record["order"]]],
        passage=text,
        spans=spans,
        rows=rows,
    )


def _joined(pieces: Iterable[str], marked: set[int]) -> tuple[str, list[list[Any]]]:
    """Text of pieces, and the spans of those at the marked positions."""
    text, spans = "", []
    for position, piece in enumerate(pieces):
        is_special = piece in ("[CLS]", "[SEP]", "[MASK]")
        plain = piece.replace(_SPACE, " ")
        text += " " if plain.startswith(" ") or is_special else ""
        start = len(text)
        text += (plain.lstrip(" ") or _SPACE) + (" " if is_special else "")
        if position in marked:
            spans.append([start, len(text), MASKED_SPAN])
    return text, spans

"""Conversion of one or two texts and their label to model inputs."""

from __future__ import annotations

from typing import Sequence

import tokenization


def make_record(
    texts: Sequence[str],
    label: int | float,
    tokenizer: tokenization.FullTokenizer,
    max_seq_length: int,
    do_lower_case: bool,
) -> dict[str, list[int] | list[float]]:
    """Convert texts to `[CLS] text [SEP]` or `[CLS] text [SEP] text [SEP]`.

    A second text without pieces is left out with its `[SEP]`.

    Args:
      texts: one or two texts.
      label: index of the label, or the score.
      tokenizer: tokenizer of any kind.
      max_seq_length: length of the record, in pieces. Longer texts are cut; see `shortened`.
      do_lower_case: whether to lower-case text for a SentencePiece model.

    Returns:
      Values of the record, padded, by the original's field names.
    """
    segments = [tokenizer.ids_of_text(text, do_lower_case) for text in texts]
    if not segments[-1]:
        del segments[1:]
    segments = shortened(segments, max_seq_length - 1 - len(segments))
    inputs = tokenization.padded_inputs(*joined(segments, tokenizer), max_seq_length)
    return {**inputs, "label_ids": [label], "is_real_example": [1]}


def shortened(segments: Sequence[Sequence[int]], room: int) -> list[list[int]]:
    """Cut segments to a total length.

    Args:
      segments: ids of the pieces of each text.
      room: maximum number of pieces of all segments together. The longest segment (the last of
        several equally long ones) loses pieces from its end until the result fits.
    """
    kept = [list(ids) for ids in segments]
    while sum(len(ids) for ids in kept) > room:
        longest = max(reversed(kept), key=len)
        longest.pop()
    return kept


def joined(
    segments: Sequence[Sequence[int]], tokenizer: tokenization.FullTokenizer
) -> tuple[list[int], list[int]]:
    """Join segments to `[CLS] segment [SEP] segment [SEP]`.

    Args:
      segments: ids of the pieces of one or two texts.
      tokenizer: tokenizer with the special tokens.

    Returns:
      Input ids and segment ids, without padding.
    """
    cls_id, sep_id = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    input_ids, segment_ids = [cls_id], [0]
    for number, ids in enumerate(segments):
        input_ids += [*ids, sep_id]
        segment_ids += [number] * (len(ids) + 1)
    return input_ids, segment_ids

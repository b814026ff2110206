"""Conversion of one or two texts and their label to model inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import tokenization


@dataclass(frozen=True)
class Feature:
    """Model inputs and label of an example.

    Attributes:
      input_ids: ids of the pieces, without padding.
      segment_ids: 0 for the first text and its special tokens, 1 for the second and its `[SEP]`.
      label: index of the label, or the score.
    """

    input_ids: list[int]
    segment_ids: list[int]
    label: int | float

    def record(self, max_seq_length: int) -> dict[str, list[int] | list[float]]:
        """Values of the feature's record, padded to a length, by the original's field names."""
        return {
            **tokenization.padded_inputs(self.input_ids, self.segment_ids, max_seq_length),
            "label_ids": [self.label],
            "is_real_example": [1],
        }


def make_feature(
    texts: Sequence[str],
    label: int | float,
    tokenizer: tokenization.FullTokenizer,
    max_seq_length: int,
    do_lower_case: bool,
) -> Feature:
    """Convert texts to `[CLS] text [SEP]` or `[CLS] text [SEP] text [SEP]`.

    A second text without pieces is left out with its `[SEP]`.

    Args:
      texts: one or two texts.
      label: index of the label, or the score.
      tokenizer: tokenizer of any kind.
      max_seq_length: maximum length, in pieces; see `shortened`.
      do_lower_case: whether to lower-case text for a SentencePiece model.
    """
    segments = [tokenizer.ids_of_text(text, do_lower_case) for text in texts]
    if not segments[-1]:
        del segments[1:]
    segments = shortened(segments, max_seq_length - 1 - len(segments))
    return Feature(*joined(segments, tokenizer), label)


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

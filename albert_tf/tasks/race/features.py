"""Conversion of multiple-choice questions to model inputs: a sequence per option."""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass
from typing import Iterable, Iterator

import tokenization
from albert_tf.io.errors import InputError
from albert_tf.tasks.classification.features import joined
from albert_tf.tasks.race.data import Example

_SPECIAL_TOKENS = 3  # [CLS] article [SEP] question and option [SEP]
_GAP = "_"


@dataclass(frozen=True)
class Feature:
    """Model inputs of a question.

    Attributes:
      sequences: for each option, ids of the pieces and segment ids, without padding.
      label: index of the correct option; 0 if it is unknown.
    """

    sequences: list[tuple[list[int], list[int]]]
    label: int

    def record(self, max_seq_length: int) -> dict[str, list[int]]:
        """Values of the feature's record by the original's field names.

        Each sequence is padded to `max_seq_length`; the sequences follow each other in one list.
        """
        rows = [tokenization.padded_inputs(*ids, max_seq_length) for ids in self.sequences]
        inputs = {name: [value for row in rows for value in row[name]] for name in rows[0]}
        return {**inputs, "label_ids": [self.label], "is_real_example": [1]}


def check_room(max_seq_length: int, max_qa_length: int) -> None:
    """Check that the longest question and option leave room for the article.

    Raises:
      InputError: if they do not.
    """
    if max_seq_length <= max_qa_length + _SPECIAL_TOKENS:
        raise InputError(
            f"--max_seq_length {max_seq_length} leaves no room for the article after "
            f"{max_qa_length} tokens of question and option (--max_qa_length) and "
            f"{_SPECIAL_TOKENS} special tokens: raise it, or lower --max_qa_length"
        )


def make_features(
    examples: Iterable[Example],
    tokenizer: tokenization.FullTokenizer,
    max_seq_length: int,
    max_qa_length: int,
    do_lower_case: bool,
) -> Iterator[Feature]:
    """Convert questions to a sequence `[CLS] article [SEP] question with option [SEP]` per option.

    Args:
      examples: questions; those about one article are consecutive.
      tokenizer: tokenizer of any kind.
      max_seq_length: maximum length of a sequence, in pieces. The article loses pieces from its
        end until the sequence fits.
      max_qa_length: maximum length of question and option, in pieces, of which the last are kept.
      do_lower_case: whether to lower-case text for a SentencePiece model.

    Yields:
      The feature of each question, in order.
    """

    def ids_of(text: str) -> list[int]:
        return tokenizer.ids_of_text(text, do_lower_case)

    for article, questions in itertools.groupby(examples, operator.attrgetter("article")):
        article_ids = ids_of(article)
        for example in questions:
            texts = (with_option(example.question, option) for option in example.options)
            qa_ids = [ids_of(text)[-max_qa_length:] for text in texts]
            room = max_seq_length - _SPECIAL_TOKENS
            sequences = [joined([article_ids[: room - len(ids)], ids], tokenizer) for ids in qa_ids]
            yield Feature(sequences, example.label or 0)


def with_option(question: str, option: str) -> str:
    """Fill an option into the gaps of a question, or append it to a question without gaps."""
    return question.replace(_GAP, option) if _GAP in question else f"{question} {option}"

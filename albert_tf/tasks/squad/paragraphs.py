"""The pieces of a paragraph, and their places in its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator

import numpy as np

import tokenization
from albert_tf.tasks.squad.alignment import align, common_subsequence, nearest_counterparts
from albert_tf.tasks.squad.data import Answer

_CHUNK_LENGTH = 1000  # normalized characters that are tokenized and aligned together


@dataclass(frozen=True)
class AlignedParagraph:
    """The pieces of a paragraph, aligned with its characters.

    Attributes:
      ids: ids of the pieces.
      start_to_char: offset in the paragraph of each piece's first character, int32 [pieces].
      end_to_char: offset in the paragraph of each piece's last character, int32 [pieces].
      char_to_start: for each character of the paragraph, the index of the first piece of an answer
        that starts there, int32 [characters].
      char_to_end: the index of the last piece of an answer that ends there, likewise.
    """

    ids: list[int]
    start_to_char: np.ndarray
    end_to_char: np.ndarray
    char_to_start: np.ndarray
    char_to_end: np.ndarray

    def answer_pieces(self, answer: Answer) -> tuple[int, int]:
        """Indices of the first and last piece of an answer."""
        last_char = answer.start + len(answer.text) - 1
        return int(self.char_to_start[answer.start]), int(self.char_to_end[last_char])


def align_paragraph(
    text: str, tokenizer: tokenization.FullTokenizer, do_lower_case: bool
) -> AlignedParagraph | None:
    """Split a paragraph into pieces, and align them with its characters.

    Text and pieces are aligned by the original's rule. A text to which it does not apply, such as
    one with columns of white space, is tokenized and aligned in chunks, in time and memory in
    proportion to its length.

    Args:
      text: text of the paragraph.
      tokenizer: tokenizer with a SentencePiece model.
      do_lower_case: whether to lower-case the text.

    Returns:
      The aligned pieces, or None if the text has none: it is empty, or normalization removes all
      of it.
    """
    pieces = tokenizer.tokenize(tokenization.preprocess_text(text, lower=do_lower_case))
    if not pieces:
        return None
    forms = {
        char: tokenization.preprocess_text(char, remove_space=False, lower=do_lower_case)
        for char in set(text)
    }
    counterparts = align([forms[char] for char in text], _joined(pieces))
    if counterparts is not None:
        num_piece_chars = None
        sources = _inverse(counterparts, sum(map(len, pieces)))
    else:
        pieces, sources = _align_in_chunks(text, tokenizer, do_lower_case)
        # Those after the last counterpart may be used, unlike in the original.
        num_piece_chars = len(sources)
    last = _inverse(sources, len(text))
    first = last.copy()
    known = np.flatnonzero(sources >= 0)[::-1]
    first[sources[known]] = known
    answer_starts, answer_ends = nearest_counterparts(first, last, num_piece_chars)
    char_starts, char_ends = nearest_counterparts(sources, sources, len(text))
    lengths = [len(piece) for piece in pieces]
    ends = np.cumsum(lengths)
    piece_of = np.repeat(np.arange(len(pieces), dtype=np.int32), lengths)
    return AlignedParagraph(
        ids=tokenizer.convert_tokens_to_ids(pieces),
        start_to_char=char_starts[ends - lengths],
        end_to_char=char_ends[ends - 1],
        char_to_start=piece_of[answer_starts],
        char_to_end=piece_of[answer_ends],
    )


def _joined(pieces: Iterable[str]) -> str:
    return "".join(pieces).replace(tokenization.SPIECE_UNDERLINE, " ")


def _inverse(counterparts: np.ndarray, size: int) -> np.ndarray:
    """For each of the positions below `size`, the last index with that counterpart, or -1."""
    inverse = np.full(size, -1, np.int32)
    known = np.flatnonzero(counterparts >= 0)
    inverse[counterparts[known]] = known
    return inverse


def _align_in_chunks(
    text: str, tokenizer: tokenization.FullTokenizer, do_lower_case: bool
) -> tuple[list[str], np.ndarray]:
    """Tokenize a text in chunks, and align each chunk with its pieces.

    Normalization gives the source of each normalized character. The pieces of a chunk usually spell
    it; where they do not, as SentencePiece normalizes too, the subsequence in common counts.

    Returns:
      The pieces, and for each character of the joined pieces the offset of its counterpart in the
      text, or -1.
    """
    normalized, sources = _normalized(text)
    pieces: list[str] = []
    counterparts: list[np.ndarray] = []
    for start, end in _chunks(normalized):
        chunk = normalized[start:end]
        chunk = chunk.lower() if do_lower_case else chunk
        chunk_pieces = tokenizer.tokenize(chunk[1:] if chunk[0] == " " else chunk)
        if pieces and chunk_pieces and chunk[0] != " ":  # within a word
            chunk_pieces[0] = chunk_pieces[0].replace(tokenization.SPIECE_UNDERLINE, "", 1)
            chunk_pieces = [piece for piece in chunk_pieces if piece]
        positions = _positions(chunk, _joined(chunk_pieces))
        chunk_sources = np.append(sources[start:end], np.int32(-1))  # -1 for position -1
        counterparts.append(chunk_sources[positions])
        pieces += chunk_pieces
    return pieces, np.concatenate(counterparts)


def _normalized(text: str) -> tuple[str, np.ndarray]:
    """Normalize a text like `preprocess_text`, but keep upper case.

    Returns:
      The normalized text, and the offset in the text of the source of each of its characters,
      int32.
    """
    forms = {
        char: " " if char.isspace() else tokenization.preprocess_text(char, remove_space=False)
        for char in set(text)
    }
    normalized = "".join(forms[char] for char in text)
    lengths = np.fromiter((len(forms[char]) for char in text), np.int32, len(text))
    sources = np.repeat(np.arange(len(text), dtype=np.int32), lengths)
    codes = np.frombuffer(normalized.encode("utf-32-le"), "<u4")
    kept = codes != ord(" ")
    kept[:-1] |= kept[1:]  # the last space of each run, which is next to the following word
    return codes[kept].tobytes().decode("utf-32-le"), sources[kept]


def _chunks(text: str) -> Iterator[tuple[int, int]]:
    """Yield the starts and ends of chunks, which end before a space wherever there is one."""
    start, length = 0, len(text.rstrip(" "))
    while start < length:
        end = min(start + _CHUNK_LENGTH, length)
        if end < length:
            space = text.rfind(" ", start + 1, end + 1)
            end = space if space > 0 else end
        yield start, end
        start = end


def _positions(chunk: str, joined: str) -> np.ndarray:
    """Position in the chunk of each character of its joined pieces, or -1."""
    if joined.lstrip(" ") == chunk.lstrip(" "):  # pieces may begin with a space of their own
        return np.arange(len(chunk) - len(joined), len(chunk), dtype=np.int32)
    counterparts = common_subsequence(chunk, joined, max(len(chunk), len(joined)))
    return _inverse(counterparts, len(joined))

"""Alignment of the characters of a text with the characters of its pieces.

Normalization drops, adds and changes characters, so the two are aligned by their longest common
subsequence near the diagonal. The original fills the dynamic-programming table cell by cell. Here
each row is one integer, whose bits mark where the subsequence grows (Hyyrö 2004, "Bit-parallel
LCS-length computation revisited"), so a row takes a handful of operations. The result is the same.
"""

from __future__ import annotations

from typing import Sequence

_MIN_DISTANCE = 5  # from the diagonal, for a text as long as its pieces
_MIN_COVERAGE = 0.8  # of the text's characters


def align(text: Sequence[str], pieces: str) -> list[tuple[int, int]] | None:
    """Pair the characters of a text with the characters of its pieces.

    Only pairs (i, j) in the band i - d <= j < i + d are considered, where d is the difference of
    the lengths plus 5. If they cover at most 0.8 of the text, d is doubled once.

    Args:
      text: normalized form of each of the text's n characters.
      pieces: the m characters of the joined pieces.

    Returns:
      The pairs (i, j) of a longest common subsequence, last to first, or None if they cover less
      than 0.8 of the text. Ties are resolved as in the original: tracing back from the ends, the
      pair with the smallest i comes first, then the one with the smallest j.
    """
    if not text or not pieces:
        return None
    pairs = _embedding(text, pieces)
    if pairs is not None:
        return pairs
    distance = abs(len(text) - len(pieces)) + _MIN_DISTANCE
    pairs = _common_subsequence(text, pieces, distance)
    if len(pairs) <= _MIN_COVERAGE * len(text):
        pairs = _common_subsequence(text, pieces, 2 * distance)
    return None if len(pairs) < _MIN_COVERAGE * len(text) else pairs


def _embedding(text, pieces):
    """Pairs (i, j), last to first, if the whole text is a subsequence of the pieces; else None.

    Each character is paired with its first possible match.
    """
    pairs, j = [], -1
    for i, char in enumerate(text):
        j = pieces.find(char, j + 1) if len(char) == 1 else -1
        if j < 0:
            return None
        pairs.append((i, j))
    return pairs[::-1]


def _common_subsequence(text, pieces, distance):
    """Pairs (i, j) of the longest common subsequence in the band, last to first.

    Let f(i, j) be the length of the subsequence of text[: i + 1] and pieces[: j + 1]. Row j has
    one bit for each i in the band, j - distance < i <= j + distance, lowest i first: 0 where
    f(i, j) = f(i - 1, j) + 1, and 1 where f(i, j) = f(i - 1, j). Below the band, f steps where it
    does in the previous row; above the band, it is constant.
    """
    occurrences = {}  # for each character, an integer with bit i set where text[i] equals it
    for i, char in enumerate(text):
        occurrences[char] = occurrences.get(char, 0) | 1 << i

    width = 2 * distance
    all_ones = (1 << width) - 1
    highest = 1 << (width - 1)
    row, rows = all_ones, []
    for j, char in enumerate(pieces):
        row = row >> 1 | highest
        lowest_i = j - distance + 1
        matches = occurrences.get(char, 0)
        matches = (matches >> lowest_i if lowest_i >= 0 else matches << -lowest_i) & row
        row = (row + matches | row - matches) & all_ones
        rows.append(row)

    pairs = []
    i, j = len(text) - 1, len(pieces) - 1
    while i >= 0 and j >= 0:
        bit = i - (j - distance + 1)
        if bit < 0:  # below the band
            j -= 1
        elif bit >= width or rows[j] >> bit & 1:  # text[i] is not in the subsequence
            i -= 1
        elif j > 0 and bit + 1 < width and not rows[j - 1] >> (bit + 1) & 1:  # nor is pieces[j]
            j -= 1
        else:
            pairs.append((i, j))
            i, j = i - 1, j - 1
    return pairs


def nearest_counterpart(
    counterparts: Sequence[int | None],
    position: int,
    is_start: bool,
    other_length: int | None = None,
) -> int:
    """Counterpart of a character, or the nearest position if it has none.

    Args:
      counterparts: for each character of one side, the index of its counterpart on the other, or
        None; not all None.
      position: index of the character.
      is_start: whether the character starts a span; otherwise it ends one.
      other_length: number of characters on the other side, if those after the last counterpart may
        be used.

    Returns:
      Index on the other side. Without a counterpart, a start takes the first character between the
      neighbouring counterparts and an end the last; if no character lies between them, a start
      takes the counterpart after it and an end the one before it.
    """
    if counterparts[position] is not None:
        return counterparts[position]
    before = _first_known(counterparts, range(position - 1, -1, -1))
    after = _first_known(counterparts, range(position + 1, len(counterparts)))
    if before is None:
        if after == 0:
            return 0
        return 0 if is_start else after - 1
    if after is None:
        if other_length is None or before >= other_length - 1:
            return before
        return before + 1 if is_start else other_length - 1
    if after > before + 1:
        return before + 1 if is_start else after - 1
    return after if is_start else before


def _first_known(counterparts, positions):
    return next((counterparts[p] for p in positions if counterparts[p] is not None), None)

"""Alignment of the characters of a text with those of its pieces.

Normalization drops, adds and changes characters, so the two are aligned by their longest common
subsequence near the diagonal. The result is that of the original's cell-by-cell dynamic program. A
row of its table is kept as one integer, whose bits say where the subsequence grows (Hyyrö 2004,
"Bit-parallel LCS-length computation revisited"), so that a row takes a handful of operations.
"""

from __future__ import annotations

from typing import Sequence

_SMALLEST_DISTANCE = 5  # from the diagonal, for a text as long as its pieces
_LEAST_SHARED = 0.8  # of the text's characters


def align(text: Sequence[str], pieces: str) -> list[tuple[int, int]] | None:
    """Pair the characters of a text with those of its pieces.

    Only pairs (i, j) with i - d <= j < i + d are looked at, where d is the difference of the
    lengths plus 5. If they cover no more than 0.8 of the text, d is doubled once.

    Args:
      text: the normalized form of each of the text's n characters.
      pieces: the m characters of the joined pieces.

    Returns:
      The pairs (i, j) of a longest common subsequence, last to first, or None if they cover less
      than 0.8 of the text. Of several subsequences it is the one that the original finds: going
      back from the ends, each pair is the one with the smallest i, then with the smallest j.
    """
    if not text or not pieces:
        return None
    pairs = _embedding(text, pieces)
    if pairs is not None:
        return pairs
    distance = abs(len(text) - len(pieces)) + _SMALLEST_DISTANCE
    pairs = _common_subsequence(text, pieces, distance)
    if len(pairs) <= _LEAST_SHARED * len(text):
        pairs = _common_subsequence(text, pieces, 2 * distance)
    return None if len(pairs) < _LEAST_SHARED * len(text) else pairs


def _embedding(text, pieces):
    """The pairs (i, j), last to first, if the pieces hold all of the text's characters in order.

    The subsequence is then the whole text, each character paired with the first that it can be.
    """
    pairs, j = [], -1
    for i, char in enumerate(text):
        j = pieces.find(char, j + 1) if len(char) == 1 else -1
        if j < 0:
            return None
        pairs.append((i, j))
    return pairs[::-1]


def _common_subsequence(text, pieces, distance):
    """The pairs (i, j) with i - distance <= j < i + distance, last to first.

    Let f(i, j) be the length of the subsequence of text[: i + 1] and pieces[: j + 1]. Row j has a
    bit for each i of the band, j - distance < i <= j + distance, lowest i first: 0 where
    f(i, j) = f(i - 1, j) + 1, and 1 where f(i, j) = f(i - 1, j). Below the band f has the same
    steps as in the row before; above the band it has none.
    """
    places = {}  # for each character, the integer with bit i set where text[i] is that character
    for i, char in enumerate(text):
        places[char] = places.get(char, 0) | 1 << i

    width = 2 * distance
    all_ones = (1 << width) - 1
    highest = 1 << (width - 1)
    row, rows = all_ones, []
    for j, char in enumerate(pieces):
        row = row >> 1 | highest
        lowest_i = j - distance + 1
        matches = places.get(char, 0)
        matches = (matches >> lowest_i if lowest_i >= 0 else matches << -lowest_i) & row
        row = (row + matches | row - matches) & all_ones
        rows.append(row)

    pairs = []
    i, j = len(text) - 1, len(pieces) - 1
    while i >= 0 and j >= 0:
        bit = i - (j - distance + 1)
        if bit < 0:  # below the band
            j -= 1
        elif bit >= width or rows[j] >> bit & 1:  # not text[i]: the subsequence does not grow there
            i -= 1
        elif j > 0 and bit + 1 < width and not rows[j - 1] >> (bit + 1) & 1:  # not pieces[j]
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
    """The counterpart of a character, or the place where it would be if it has none.

    Args:
      counterparts: for each character of one side its counterpart on the other, or None; not all
        None.
      position: the character.
      is_start: whether the character starts something, or ends it.
      other_length: the number of characters on the other side, if they may be used up to the last
        behind the last counterpart.

    Returns:
      The counterpart; or, between the counterparts before and after it, a start takes the first
      character of the gap and an end the last, as far as there is a gap.
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

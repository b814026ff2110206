"""Alignment of the characters of a text with the characters of its pieces.

Normalization drops, adds and changes characters, so the two are aligned by their longest common
subsequence near the diagonal. The original fills the dynamic-programming table cell by cell. Here
each row is one integer, whose bits mark where the subsequence grows (Hyyrö 2004, "Bit-parallel
LCS-length computation revisited"), so a row takes a handful of operations. The result is the same.
"""

from __future__ import annotations

import collections
from typing import Sequence

import numpy as np

_MIN_DISTANCE = 5  # from the diagonal, for a text as long as its pieces
_MIN_COVERAGE = 0.8  # of the text's characters
_MAX_CELLS = 2**29  # of a table, a bit each. The original's would take 100 gigabytes.
_MIN_BLOCK = 1024  # rows that share their bit masks


def align(text: Sequence[str], pieces: str) -> np.ndarray | None:
    """Pair the characters of a text with the characters of its pieces, by the original's rule.

    Only pairs (i, j) in the band i - d <= j < i + d are considered, where d is the difference of
    the lengths plus 5. If they cover at most 0.8 of the text, d is doubled once. The pairs are
    those of a longest common subsequence. Ties are resolved as in the original: tracing back from
    the ends, the pair with the smallest i comes first, then the one with the smallest j.

    Args:
      text: normalized form of each of the text's n characters.
      pieces: the m characters of the joined pieces.

    Returns:
      For each character of the text, the index of its counterpart in the pieces, or -1: int32 [n].
      None if the pairs cover less than 0.8 of the text, or the band is too large to compute.
    """
    if not text or not pieces:
        return None
    counterparts = _embedding(text, pieces)
    if counterparts is not None:
        return counterparts
    if _most_common(text, pieces) < _MIN_COVERAGE * len(text):
        return None
    distance = abs(len(text) - len(pieces)) + _MIN_DISTANCE
    for band in (distance, 2 * distance):
        if len(pieces) * min(len(text), 2 * band) > _MAX_CELLS:
            return None
        counterparts = common_subsequence(text, pieces, band)
        length = np.count_nonzero(counterparts >= 0)
        if length > _MIN_COVERAGE * len(text):
            break
    return None if length < _MIN_COVERAGE * len(text) else counterparts


def _embedding(text: Sequence[str], pieces: str) -> np.ndarray | None:
    """Counterparts if the whole text is a subsequence of the pieces; else None.

    Each character is paired with its first possible match.
    """
    counterparts, j = np.empty(len(text), np.int32), -1
    for i, char in enumerate(text):
        j = pieces.find(char, j + 1) if len(char) == 1 else -1
        if j < 0:
            return None
        counterparts[i] = j
    return counterparts


def _most_common(text: Sequence[str], pieces: str) -> int:
    """Upper bound of the length of a common subsequence: characters in common, in any order."""
    in_pieces = collections.Counter(pieces)
    return sum(min(count, in_pieces[char]) for char, count in collections.Counter(text).items())


def common_subsequence(text: Sequence[str], pieces: str, distance: int) -> np.ndarray:
    """Find the longest common subsequence in a band; for ties see `align`.

    Let f(i, j) be the length of the subsequence of text[: i + 1] and pieces[: j + 1]. Row j has
    one bit for each i in the band, j - distance < i <= j + distance, lowest i first: 0 where
    f(i, j) = f(i - 1, j) + 1, and 1 where f(i, j) = f(i - 1, j). Below the band, f steps where it
    does in the previous row; above the band, it is constant.

    Args:
      text: normalized form of each of the text's n characters.
      pieces: the m characters of the joined pieces.
      distance: half the width of the band; with at least n and m, the band holds everything.

    Returns:
      For each character of the text, the index of its counterpart in the pieces, or -1: int32 [n].
    """
    rows = _rows(text, pieces, distance)
    counterparts = np.full(len(text), -1, np.int32)
    i, j = len(text) - 1, len(pieces) - 1
    while i >= 0 and j >= 0:
        lowest = max(0, j - distance + 1)
        if i < lowest:  # below the band
            j -= 1
        elif i > j + distance or rows[j] >> (i - lowest) & 1:  # text[i] is not in the subsequence
            i -= 1
        elif j > 0 and i < j + distance and not rows[j - 1] >> (i - max(0, lowest - 1)) & 1:
            j -= 1  # pieces[j] is not in the subsequence
        else:
            counterparts[i] = j
            i, j = i - 1, j - 1
    return counterparts


def _rows(text: Sequence[str], pieces: str, distance: int) -> list[int]:
    """Rows of the table, an integer for each character of the pieces."""
    rows: list[int] = []
    row = previous_lowest = previous_end = 0
    block = max(_MIN_BLOCK, 2 * distance)
    for block_start in range(0, len(pieces), block):
        block_end = min(block_start + block, len(pieces))
        base = max(0, block_start - distance + 1)
        # For each character, an integer with bit i set where text[base + i] is it.
        occurrences: dict[str, int] = {}
        for i in range(base, min(len(text), block_end + distance)):
            occurrences[text[i]] = occurrences.get(text[i], 0) | 1 << i - base
        for j in range(block_start, block_end):
            lowest, end = max(0, j - distance + 1), min(len(text), j + distance + 1)
            row >>= lowest - previous_lowest
            if end > previous_end:
                row |= (1 << end - previous_end) - 1 << previous_end - lowest
            matches = occurrences.get(pieces[j], 0) >> lowest - base & row
            row = (row + matches | row - matches) & (1 << end - lowest) - 1
            rows.append(row)
            previous_lowest, previous_end = lowest, end
    return rows


def nearest_counterparts(
    first: np.ndarray, last: np.ndarray, other_length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fill in the nearest position for the characters of one side without a counterpart.

    Between the neighbouring counterparts, a start takes the first character and an end the last;
    if no character lies between them, a start takes the counterpart after it and an end the one
    before it.

    Args:
      first: for each of the n characters of one side, the index of its first counterpart on the
        other side, or -1; int32 [n], ascending.
      last: the index of its last counterpart, likewise.
      other_length: number of characters on the other side, if those after the last counterpart may
        be used.

    Returns:
      For each character, its position on the other side as the start of a span and as the end of
      one: int32 [n] each.
    """
    unlimited = np.iinfo(np.int32).max
    known = first >= 0
    before = np.maximum.accumulate(last)
    after = np.where(known, first, unlimited)
    after = np.minimum.accumulate(after[::-1])[::-1]
    room_before = before + 1
    if other_length is None:
        room_after = np.where(after == unlimited, before, after - 1)
    else:
        room_after = np.where(after == unlimited, other_length, after) - 1
    has_room = room_before <= room_after
    starts = np.where(has_room, room_before, np.where(after == unlimited, before, after))
    ends = np.where(has_room, room_after, np.where(before < 0, after, before))
    return np.where(known, first, starts), np.where(known, last, ends)

"""The original's cell-by-cell alignment, as the reference for `alignment.align`."""

from __future__ import annotations

from typing import Sequence


def plain_align(text: Sequence[str], pieces: str) -> list[tuple[int, int]] | None:
    """Align like `alignment.align`: pairs (i, j), last to first, or None."""
    narrow = abs(len(text) - len(pieces)) + 5
    for distance in (narrow, 2 * narrow):
        length, pairs = _fill_and_trace(text, pieces, distance)
        if length > 0.8 * len(text):
            break
    return None if length < 0.8 * len(text) else pairs


def _fill_and_trace(text, pieces, distance):
    n, m = len(text), len(pieces)
    lengths = {}  # of the subsequence, by cell; 0 outside the band
    choices = {}
    for i in range(n):
        for j in range(max(0, i - distance), min(m, i + distance)):
            best = 0
            if i > 0:
                best, choices[i, j] = lengths.get((i - 1, j), 0), "up"
            if j > 0 and lengths.get((i, j - 1), 0) > best:
                best, choices[i, j] = lengths[i, j - 1], "left"
            diagonal = lengths.get((i - 1, j - 1), 0) + 1
            if text[i] == pieces[j] and diagonal > best:
                best, choices[i, j] = diagonal, "match"
            lengths[i, j] = best

    pairs = []
    i, j = n - 1, m - 1
    while (i, j) in choices:
        choice = choices[i, j]
        if choice == "match":
            pairs.append((i, j))
        i, j = i - (choice != "left"), j - (choice != "up")
    return lengths.get((n - 1, m - 1), 0), pairs

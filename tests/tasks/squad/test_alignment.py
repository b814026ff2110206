"""The alignment, compared with the original's cell-by-cell algorithm."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

import tokenization
from albert_tf.tasks.squad.alignment import align, common_subsequence, nearest_counterparts
from albert_tf.tasks.squad.data import read_squad
from golden import GOLDEN
from plain_alignment import plain_align


def aligned_pairs(text, pieces):
    """Pairs (i, j) of `align`, last to first as those of `plain_align`, or None."""
    counterparts = align(text, pieces)
    if counterparts is None:
        return None
    assert counterparts.dtype == np.int32
    return [(i, j) for i, j in enumerate(counterparts.tolist()) if j >= 0][::-1]


def damaged(random_, text, alphabet):
    """Delete and insert random spans of a text, and sometimes rotate it."""
    text = list(text)
    for _ in range(random_.randint(0, 12)):
        place = random_.randrange(len(text) + 1)
        if random_.random() < 0.5:
            del text[place : place + random_.randint(1, 8)]
        else:
            text[place:place] = random_.choices(alphabet, k=random_.randint(1, 8))
    if random_.random() < 0.3:
        place = random_.randrange(len(text) + 1)
        text = text[place:] + text[:place]
    return "".join(text) or alphabet[0]


@pytest.mark.parametrize("alphabet", ["ab", "ab ", "abcdefgh "])
def test_random_texts(alphabet):
    random_ = random.Random(alphabet)
    aligned = 0
    for _ in range(3000):
        text = random_.choices(alphabet, k=random_.randint(1, 40))
        pieces = damaged(random_, text, alphabet)
        pairs = aligned_pairs(text, pieces)
        assert pairs == plain_align(text, pieces), (text, pieces)
        aligned += pairs is not None
    assert 500 < aligned < 3000


@pytest.mark.parametrize("lower", [False, True])
def test_every_paragraph_of_the_sample(sample_model, lower):
    questions = read_squad(str(GOLDEN / "sample/sample_squad.json"), False)
    for paragraph in {question.paragraph for question in questions}:
        text = tokenization.preprocess_text(paragraph, lower=lower)
        pieces = "".join(tokenization.encode_pieces(sample_model, text)).replace("▁", " ")
        chars = [tokenization.preprocess_text(char, False, lower) for char in paragraph]
        pairs = aligned_pairs(chars, pieces)
        assert pairs == plain_align(chars, pieces)
        assert len(pairs) > 0.8 * len(chars)


def test_texts_that_share_too_little_are_refused():
    assert align(list("abcdefghij"), "xxxxxxxxxx") is None
    assert align(list("abcdefgxxx"), "abcdefgyyy") is None
    assert len(aligned_pairs(list("abcdefghxx"), "abcdefghyy")) == 8
    assert align([], "a") is None
    assert align(["a"], "") is None


def test_the_band_is_doubled_once():
    # The shared span is 8 off the diagonal: outside the first band, inside the second.
    text, pieces = "x" * 8 + "abcdefghij" * 8, "abcdefghij" * 8 + "y" * 8
    pairs = aligned_pairs(list(text), pieces)
    assert pairs == plain_align(list(text), pieces)
    assert len(pairs) == 80


@pytest.mark.parametrize("size", [3000, 9000])
def test_rows_are_computed_in_blocks(size):
    """Many narrow rows, which take several blocks of bit masks, against the embedding."""
    random_ = random.Random(size)
    text = "".join(random_.choices("abcd ", k=size))
    pieces = text[:100] + text[103 : size // 2] + "xy" + text[size // 2 :]
    pairs = aligned_pairs(list(text), pieces)
    assert len(pairs) == size - 3
    assert pairs == plain_align(list(text), pieces)


def test_a_band_that_holds_everything():
    counterparts = common_subsequence("abc" * 50, "c" * 3 + "abc" * 50, 153)
    assert counterparts.tolist() == list(range(3, 153))


def test_a_band_beyond_all_memory_is_left_alone():
    """The original's table would have a million times a million cells."""
    text = "ab " * 400_000 + "½" * 200_000
    pieces = "ab " * 400_000 + "ab" * 10
    assert align(list(text), pieces) is None


def test_long_texts_take_memory_in_proportion():
    text = list("the quick brown fox " * 5000)
    pieces = " " + "".join(text)
    for last in ("", "½"):  # as a whole, and in a band
        tracemalloc.start()
        counterparts = align([*text, last] if last else text, pieces)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert np.count_nonzero(counterparts >= 0) == len(text)
        assert peak < 60 * len(text)


@pytest.mark.parametrize(
    ("counterparts", "position", "is_start", "other_length", "expected"),
    [
        ([3, 4, 5], 1, True, None, 4),
        # Counterparts on both sides.
        ([3, None, 7], 1, True, None, 4),
        ([3, None, 7], 1, False, None, 6),
        ([3, None, 4], 1, True, None, 4),
        ([3, None, 4], 1, False, None, 3),
        # No counterpart before.
        ([None, None, 2], 0, True, None, 0),
        ([None, None, 2], 0, False, None, 1),
        ([None, 0], 0, True, None, 0),
        ([None, 0], 0, False, None, 0),
        # No counterpart after.
        ([4, None], 1, True, None, 4),
        ([4, None], 1, False, None, 4),
        ([4, None], 1, True, 8, 5),
        ([4, None], 1, False, 8, 7),
        ([4, None], 1, True, 5, 4),
        ([4, None], 1, False, 5, 4),
    ],
)
def test_nearest_counterparts(counterparts, position, is_start, other_length, expected):
    known = np.array([-1 if other is None else other for other in counterparts], np.int32)
    starts, ends = nearest_counterparts(known, known, other_length)
    assert (starts if is_start else ends)[position] == expected


def test_nearest_counterparts_of_spans():
    """A character with several counterparts starts at the first of them and ends at the last."""
    first, last = np.array([[0, -1, 5], [2, -1, 6]], np.int32)
    starts, ends = nearest_counterparts(first, last, 9)
    assert starts.tolist() == [0, 3, 5]
    assert ends.tolist() == [2, 4, 6]

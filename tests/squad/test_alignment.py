"""The alignment, compared with the original's cell-by-cell algorithm."""

from __future__ import annotations

import random

import pytest

import tokenization
from albert_tf.squad.alignment import align, nearest_counterpart
from albert_tf.squad.data import read_squad
from golden import GOLDEN
from plain_alignment import plain_align


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
        pairs = align(text, pieces)
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
        pairs = align(chars, pieces)
        assert pairs == plain_align(chars, pieces)
        assert len(pairs) > 0.8 * len(chars)


def test_texts_that_share_too_little_are_refused():
    assert align(list("abcdefghij"), "xxxxxxxxxx") is None
    assert align(list("abcdefgxxx"), "abcdefgyyy") is None
    assert len(align(list("abcdefghxx"), "abcdefghyy")) == 8
    assert align([], "a") is None
    assert align(["a"], "") is None


def test_the_band_is_doubled_once():
    # The shared span is 8 off the diagonal: outside the first band, inside the second.
    text, pieces = "x" * 8 + "abcdefghij" * 8, "abcdefghij" * 8 + "y" * 8
    pairs = align(list(text), pieces)
    assert pairs == plain_align(list(text), pieces)
    assert len(pairs) == 80


def test_long_texts_take_memory_in_proportion():
    text = "the quick brown fox " * 5000
    assert len(align(list(text), " " + text)) == len(text)


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
def test_nearest_counterpart(counterparts, position, is_start, other_length, expected):
    assert nearest_counterpart(counterparts, position, is_start, other_length) == expected

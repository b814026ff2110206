"""Pieces of paragraphs that the original's rule does not align: their places in the text."""

from __future__ import annotations

import random
import tracemalloc

import pytest

import tokenization
from albert_tf.tasks.squad import alignment, paragraphs
from albert_tf.tasks.squad.alignment import common_subsequence
from albert_tf.tasks.squad.data import Answer
from albert_tf.tasks.squad.paragraphs import align_paragraph
from plain_alignment import plain_align

WORDS = ["the", "lamp", "was", "lit", "by", "Élise", "in", "1911,", "and", "knew", "½", "ΣΑΣ"]


def words(count, seed=0):
    return random.Random(seed).choices(WORDS, k=count)


def table(count):
    """Five aligned columns."""
    cells = words(count)
    rows = [cells[start : start + 5] for start in range(0, count, 5)]
    return "\n".join("".join(cell.ljust(30) for cell in row) for row in rows)


def source_code(count):
    lines = zip(words(count), words(count, 1))
    return "\n".join(f"{' ' * 4 * (n % 6)}{a}({b})" for n, (a, b) in enumerate(lines))


TEXTS = {
    "table": table(400),
    "source code": source_code(400),
    "lines of spaces": " \n\t " * 300 + " lamp " + " \r\n" * 300 + "was lit " + "\u2003" * 500,
    "combining characters": "The lamp " + "\u0301\u0327" * 2000 + " was l" + "\u0344" * 999 + "it",
    "Hangul": "한국어 나라, (말) lamp " * 100,
    "one word": "한" + "lamplit" * 700 + "½ﬃ" * 300,
}


def is_aligned_by_the_original(text, tokenizer, lower):
    pieces = tokenizer.tokenize(tokenization.preprocess_text(text, lower=lower))
    chars = [tokenization.preprocess_text(char, False, lower) for char in text]
    return plain_align(chars, "".join(pieces).replace("▁", " ")) is not None


def spans(text, aligned):
    return [
        text[start : end + 1]
        for start, end in zip(aligned.start_to_char.tolist(), aligned.end_to_char.tolist())
    ]


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("name", ["table", "source code", "lines of spaces"])
def test_each_piece_is_at_its_place(sample_tokenizer, name, lower):
    text = TEXTS[name]
    aligned = align_paragraph(text, sample_tokenizer, lower)
    pieces = sample_tokenizer.tokenize(tokenization.preprocess_text(text, lower=lower))
    assert aligned.ids == sample_tokenizer.convert_tokens_to_ids(pieces)
    for piece, span in zip(pieces, spans(text, aligned)):
        normalized = tokenization.preprocess_text(span, lower=lower)
        if piece.strip("▁") and "½" not in span and "Σ" not in span:
            assert normalized == piece.strip("▁")


def test_short_texts_of_that_kind_are_not_aligned_by_the_original(sample_tokenizer):
    for text in (table(25), source_code(25), "한국어 나라 " * 9, "lamp" + "\u0301" * 60):
        assert not is_aligned_by_the_original(text, sample_tokenizer, True)
        assert align_paragraph(text, sample_tokenizer, True) is not None


@pytest.mark.parametrize("name", TEXTS)
def test_answers_are_the_pieces_of_their_words(sample_tokenizer, name):
    """The span of an answer's pieces is the answer, with white space around it."""
    text = TEXTS[name]
    aligned = align_paragraph(text, sample_tokenizer, True)
    for word in ("lamp", "lit", "Élise", "1911,", "knew", "한국어", "나라"):
        start = text.rfind(word)
        if start < 0 or name == "one word":
            continue
        first, last = aligned.answer_pieces(Answer(word, start))
        begin, end = aligned.start_to_char[first], aligned.end_to_char[last] + 1
        assert text[begin:end].strip() == word


def test_a_word_is_cut_where_a_chunk_ends(sample_tokenizer):
    text = TEXTS["one word"]
    aligned = align_paragraph(text, sample_tokenizer, True)
    joined = "".join(sample_tokenizer.convert_ids_to_tokens(aligned.ids))
    assert joined.count("▁") == 1
    assert aligned.end_to_char[-1] == len(text) - 1
    for word_start in range(1, 4900, 7):
        first, last = aligned.answer_pieces(Answer("lamplit", word_start))
        assert aligned.start_to_char[first] <= word_start
        assert aligned.end_to_char[last] >= word_start + 6
        assert aligned.end_to_char[last] - aligned.start_to_char[first] < 20


def test_a_combining_character_is_part_of_its_word(sample_tokenizer):
    text = TEXTS["combining characters"]
    aligned = align_paragraph(text, sample_tokenizer, True)
    first, last = aligned.answer_pieces(Answer(text[-1002:], len(text) - 1002))
    assert text[aligned.start_to_char[first] : aligned.end_to_char[last] + 1].strip().endswith("it")
    assert "▁".join(sample_tokenizer.convert_ids_to_tokens(aligned.ids)).count("lamp") <= 1
    assert aligned.start_to_char.tolist() == sorted(aligned.start_to_char.tolist())


def test_chunks_end_before_a_space(monkeypatch):
    monkeypatch.setattr(paragraphs, "_CHUNK_LENGTH", 6)
    text = "ab cd efghijklmnop qr  "
    chunks = [text[start:end] for start, end in paragraphs._chunks(text)]
    assert chunks == ["ab cd", " efghi", "jklmno", "p qr"]
    assert [text[start:end] for start, end in paragraphs._chunks("ab  ")] == ["ab"]


@pytest.mark.parametrize("text", ["", " \n", "\u0301\u0327"])
def test_texts_without_pieces(sample_tokenizer, text):
    assert align_paragraph(text, sample_tokenizer, True) is None


@pytest.fixture
def small_tables(monkeypatch):
    """A limit of the original's rule that the texts of the tests exceed."""
    monkeypatch.setattr(alignment, "_MAX_CELLS", 2**18)


def repeated(name):
    return TEXTS[name] * (10000 // len(TEXTS[name]))


@pytest.mark.usefixtures("small_tables")
@pytest.mark.parametrize("name", TEXTS)
def test_memory_is_in_proportion_to_the_text(sample_tokenizer, name):
    def peak(text):
        tracemalloc.start()
        align_paragraph(text, sample_tokenizer, True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    text = repeated(name)
    align_paragraph(text, sample_tokenizer, True)  # fills caches
    assert peak(text * 4) < 4.5 * peak(text)


@pytest.mark.usefixtures("small_tables")
@pytest.mark.parametrize("name", TEXTS)
def test_work_is_in_proportion_to_the_text(sample_tokenizer, name, monkeypatch):
    """Cells of the tables of common subsequences, which alone could be more."""

    def cells(text):
        sizes = []

        def counted(text, pieces, distance):
            sizes.append(len(pieces) * min(len(text), 2 * distance))
            return common_subsequence(text, pieces, distance)

        monkeypatch.setattr(paragraphs, "common_subsequence", counted)
        monkeypatch.setattr(alignment, "common_subsequence", counted)
        align_paragraph(text, sample_tokenizer, True)
        return sum(sizes)

    text = repeated(name)
    assert cells(text) <= 2**18 * 2 + 1200 * len(text)
    assert cells(text * 4) <= 2**18 * 2 + 1200 * len(text) * 4

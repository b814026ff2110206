"""SentencePiece encoding against the golden file; WordPiece and basic tokenizers."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import tokenization
from albert_tf.io.errors import InputError
from golden import GOLDEN, golden_json

SAMPLE_MODEL = str(GOLDEN / "sample/sample.model")
SAMPLE_VOCAB = str(GOLDEN / "sample/sample.vocab")


@pytest.mark.parametrize("case", golden_json("encode"), ids=lambda case: repr(case["text"]))
def test_encoding_is_golden(sample_model, case):
    text = tokenization.preprocess_text(case["text"], lower=case["lower"])
    assert text == case["preprocessed"]
    assert tokenization.encode_pieces(sample_model, text) == case["pieces"]
    assert tokenization.encode_ids(sample_model, text) == case["ids"]


class FixedPieces:
    """Fake SentencePiece model with a few texts, as the sample model has no pieces with commas."""

    def __init__(self, **pieces):
        self.pieces = pieces

    def encode_as_pieces(self, text):
        return self.pieces[f"_{text}"]


@pytest.mark.parametrize(
    ("pieces", "again", "expected"),
    [
        (["▁1911,"], ["▁19", "11"], ["▁19", "11", ","]),
        (["▁a", "11,"], ["▁11"], ["▁a", "11", ","]),
        (["▁a", "11,"], ["▁", "11"], ["▁a", "11", ","]),
        (["▁a", ",", "b,"], [], ["▁a", ",", "b,"]),
    ],
)
def test_digits_and_comma_are_split(pieces, again, expected):
    model = FixedPieces(_text=pieces, _1911=again, _11=again)
    assert tokenization.encode_pieces(model, "text") == expected


def test_pieces_are_str_and_may_be_sampled(sample_model):
    pieces = tokenization.encode_pieces(sample_model, "the lamp", return_unicode=False)
    assert "".join(pieces) == "▁the▁lamp"
    sampled = {
        tuple(tokenization.encode_pieces(sample_model, "the lamp was lit", sample=True))
        for _ in range(50)
    }
    assert len(sampled) > 1
    assert {"".join(pieces) for pieces in sampled} == {"▁the▁lamp▁was▁lit"}


def test_preprocess_text():
    assert tokenization.preprocess_text(" a\tb\n c ") == "a b c"
    assert tokenization.preprocess_text(" a\tb", remove_space=False) == " a\tb"
    assert tokenization.preprocess_text("É" + "\N{NO-BREAK SPACE}" + "ÉÉ", lower=True) == "e ee"
    assert tokenization.preprocess_text("naïve".encode()) == "naive"


def test_preprocess_text_is_compatibility_decomposition():
    """All characters, and runs of combining characters, which normalization sorts."""
    blocks = range(0, sys.maxunicode + 1, 256)
    texts = ["".join(map(chr, range(start, start + 256))) for start in blocks]
    texts += ["e\u0301\u0327" * 50, "\u0f73" * 50 + "각Å", "ﷺ½" * 9]
    for text in texts:
        decomposed = unicodedata.normalize("NFKD", text)
        expected = "".join(char for char in decomposed if not unicodedata.combining(char))
        assert tokenization.preprocess_text(text, remove_space=False) == expected


@pytest.mark.parametrize(
    ("do_lower_case", "folder", "fits"),
    [
        (True, "uncased_L-12_H-768_A-12", True),
        (False, "uncased_L-12_H-768_A-12", False),
        (True, "cased_L-12_H-768_A-12", False),
        (False, "multi_cased_L-12_H-768_A-12", True),
        (False, "chinese_L-12_H-768_A-12", False),
        (False, "albert_base", True),
    ],
)
def test_validate_case_matches_checkpoint(do_lower_case, folder, fits):
    tokenization.validate_case_matches_checkpoint(do_lower_case, None)
    tokenization.validate_case_matches_checkpoint(do_lower_case, f"/x/{folder}/model.ckpt-best")
    checkpoint = f"/x/{folder}/bert_model.ckpt"
    if fits:
        tokenization.validate_case_matches_checkpoint(do_lower_case, checkpoint)
    else:
        with pytest.raises(ValueError, match=f"give --do_lower_case={not do_lower_case}"):
            tokenization.validate_case_matches_checkpoint(do_lower_case, checkpoint)


def test_full_tokenizer_with_a_sentencepiece_model():
    tokenizer = tokenization.FullTokenizer.from_scratch(None, True, SAMPLE_MODEL)
    tokens = tokenizer.tokenize("the lamp")
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert ids == tokenization.encode_ids(tokenizer.sp_model, "the lamp")
    assert tokenizer.convert_ids_to_tokens(ids) == tokens
    assert tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", "no such piece"]) == [2, 3, 1]
    assert len(tokenizer.vocab) == 420
    assert tokenizer.vocab == tokenization.load_vocab(SAMPLE_VOCAB)


def test_full_tokenizer_with_a_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    words = ["[UNK]", "[CLS]", "want", "##want", "##ed", "wa", "un", "runn", "##ing", ","]
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = tokenization.FullTokenizer(str(path))
    tokens = tokenizer.tokenize("UNwant\u00c9d,running")
    assert tokens == ["un", "##want", "##ed", ",", "runn", "##ing"]
    assert tokenizer.convert_tokens_to_ids(tokens) == [6, 3, 4, 9, 7, 8]
    assert tokenizer.convert_ids_to_tokens([6, 3]) == ["un", "##want"]
    assert tokenization.FullTokenizer(str(path), do_lower_case=False).tokenize("Un") == ["[UNK]"]


def test_module_functions():
    vocab = {"[UNK]": 0, "a": 1, "b": 2}
    assert tokenization.convert_tokens_to_ids(vocab, ["b", "a"]) == [2, 1]
    assert tokenization.convert_ids_to_tokens({0: "x", 1: "y"}, [1, 0, 1]) == ["y", "x", "y"]
    assert tokenization.convert_by_vocab(vocab, ["b", "a"]) == [2, 1]
    assert tokenization.whitespace_tokenize(" a\tb \n") == ["a", "b"]
    assert tokenization.whitespace_tokenize(" ") == []
    assert tokenization.convert_to_unicode("é".encode() + b"\xff") == "é"
    assert tokenization.printable_text("é".encode()) == "é"


def test_load_vocab_of_two_columns(tmp_path):
    path = tmp_path / "x.vocab"
    path.write_text("<pad>\t0\r\n\u2581the\t-2.5\r\n\r\n\u2581the\t-3\r\n", encoding="utf-8")
    assert tokenization.load_vocab(str(path)) == {"<pad>": 0, "▁the": 1, " ": 2}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (" \tHeLLo!how  \n Are yoU?  ", ["hello", "!", "how", "are", "you", "?"]),
        ("H\u00e9llo", ["hello"]),
        ("ah\u535a\u63a8zz", ["ah", "\u535a", "\u63a8", "zz"]),
        ("a\u0000b\ufffdc\u200bd", ["abcd"]),
        ("$5.00 (ca.)", ["$", "5", ".", "00", "(", "ca", ".", ")"]),
        ("", []),
    ],
)
def test_basic_tokenizer(text, tokens):
    assert tokenization.BasicTokenizer().tokenize(text) == tokens


def test_basic_tokenizer_keeps_case():
    tokenizer = tokenization.BasicTokenizer(do_lower_case=False)
    assert tokenizer.tokenize("HeLLo, Zoë") == ["HeLLo", ",", "Zoë"]


def test_wordpiece_tokenizer():
    vocab = {token: index for index, token in enumerate(["[UNK]", "un", "##aff", "##able", "a"])}
    tokenizer = tokenization.WordpieceTokenizer(vocab)
    assert tokenizer.tokenize("") == []
    assert tokenizer.tokenize("unaffable a") == ["un", "##aff", "##able", "a"]
    assert tokenizer.tokenize("unaffableX a") == ["[UNK]", "a"]
    assert tokenizer.tokenize("a" * 201) == ["[UNK]"]


def test_character_classes():
    assert [c for c in " \t\r\n\u00a0A-" if tokenization._is_whitespace(c)] == list(" \t\r\n\u00a0")
    assert [c for c in "\u0005\u200bA \t\r" if tokenization._is_control(c)] == ["\u0005", "\u200b"]
    punctuation = "".join(c for c in map(chr, range(128)) if tokenization._is_punctuation(c))
    assert punctuation == "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    assert tokenization._is_punctuation("¿")
    assert not tokenization._is_punctuation("é")


def test_bad_models_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.model: SentencePiece model not found"):
        tokenization.FullTokenizer(None, True, str(tmp_path / "none.model"))
    (tmp_path / "bad.model").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"bad\.model: not a SentencePiece model"):
        tokenization.FullTokenizer(None, True, str(tmp_path / "bad.model"))
    with pytest.raises(InputError, match=r"none\.txt: cannot read the vocabulary"):
        tokenization.FullTokenizer(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="needs a SentencePiece model or a vocabulary"):
        tokenization.FullTokenizer(None)


@pytest.mark.parametrize(
    "module",
    [
        "tokenization",
        "albert_tf.tasks.squad.data",
        "albert_tf.tasks.squad.metrics",
        "albert_tf.tasks.squad.features",
    ],
)
def test_imports_without_tensorflow(module):
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    root = Path(tokenization.__file__).parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0

"""The tokenizer of `tokenizer.json`: it makes the pieces of tokenization.py."""

from __future__ import annotations

import json
import struct

import pytest

from albert_tf.huggingface.fast_tokenizer import from_sentencepiece
from golden import GOLDEN, golden_json
from scripts import SAMPLE_MODEL
from tokenization import FullTokenizer

TEXTS = (
    "In 1911, 2,000 people and 1,600 horses came; by 1912, 35,000 of 1,250,000 had left.",
    "Im Jahr 1911, so heißt es, maß die Straße 2,5 Kilometer; im Jahr 1912, 3,75.",
    "हिन्दी में, १९११, २,००० लोग और 1,600 घोड़े थे।",
    "في عام 1911، كان هناك 2,000 شخص؛ مُحَمَّد، ٢٬٠٠٠.",
    "1911年,有2,000人和１，６００匹马。「你好」，他说。",
    "1911년, 한국어를 쓰는 2,000명",
    "ΟΙ ΔΡΟΜΟΙ ΤΗΣ ΑΘΗΝΑΣ ΤΟΥΣ 2,000 ΑΝΘΡΩΠΟΥΣ, Σ ΑΣΒΕΣΤΗΣ. ΣΑΣ’Α 中Σ Σ1 1Σ aΣ.",
    "tab\tand\u2028line\x1cfeed  two\u3000wide \x85 spaces\n",
    "“quotes” ‘one’ ``two'' — – … ﬁ ① ½ x²,y ℃ Å é İ ẞ ㎡,5,",
    "soft\u00adhyphen zero\u200bwidth \ufeffmark \u0344 e\u0301\u0327 a\u20dd",
    '(a) "b" c-d £5, €6. ▁ ▁▁ e ▁',
    "😀 👩‍👩‍👧, 🇩🇪",
)
# Among them numbers that `encode_pieces` separates from their comma.
PIECES = ("▁1911,", "▁1911", "▁1912,", "▁2,", "한국", "한", "국", "ς", "σ")
UNIGRAM, BPE, CHARACTERS = (b"\x12\x02\x18" + bytes([number]) for number in (1, 2, 4))


@pytest.fixture
def model_file(tmp_path):
    """Function that writes the sample's SentencePiece model with more pieces and of another type.

    What stands behind a message in protobuf's format is added to it.
    """

    def write(model_type):
        data = SAMPLE_MODEL.read_bytes() + model_type
        for number, text in enumerate(PIECES):
            content = text.encode()
            score = struct.pack("<f", -2 - number / 64)
            piece = b"\x0a" + bytes([len(content)]) + content + b"\x15" + score
            data += b"\x0a" + bytes([len(piece)]) + piece
        (tmp_path / "spiece.model").write_bytes(data)
        return str(tmp_path / "spiece.model")

    return write


def texts() -> list[str]:
    """Texts in several languages."""
    corpus = (GOLDEN / "sample/sample_corpus.txt").read_text(encoding="utf-8").splitlines()
    squad = json.loads((GOLDEN / "sample/sample_squad.json").read_text(encoding="utf-8"))
    paragraphs = [p for article in squad["data"] for p in article["paragraphs"]]
    questions = [q["question"] for p in paragraphs for q in p["qas"]]
    golden = [entry["text"] for entry in golden_json("encode")]
    return [*TEXTS, *corpus, *(p["context"] for p in paragraphs), *questions, *golden]


@pytest.mark.parametrize("do_lower_case", [True, False])
@pytest.mark.parametrize("model_type", [UNIGRAM, BPE], ids=["unigram", "BPE"])
def test_pieces(model_file, model_type, do_lower_case):
    path = model_file(model_type)
    ours = FullTokenizer(None, spm_model_file=path)
    theirs = from_sentencepiece(path, do_lower_case)
    assert theirs.get_vocab() == ours.vocab
    for text in texts():
        encoding = theirs.encode(text, add_special_tokens=False)
        assert encoding.ids == ours.ids_of_text(text, do_lower_case), text
    tokens = theirs.encode("In 1911, 한국", add_special_tokens=False).tokens
    assert tokens[-4:] == ["▁1911", ",", "▁", "한국"]


def test_special_tokens_and_decoding():
    tokenizer = from_sentencepiece(str(SAMPLE_MODEL), do_lower_case=True)
    encoding = tokenizer.encode("the", "a (B)")
    assert encoding.tokens == ["[CLS]", "▁the", "[SEP]", "▁a", "▁", "(", "b", ")", "[SEP]"]
    assert encoding.type_ids == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert tokenizer.decode(encoding.ids) == "the a (b)"


def test_a_model_of_another_type(model_file):
    assert from_sentencepiece(model_file(CHARACTERS), do_lower_case=True) is None

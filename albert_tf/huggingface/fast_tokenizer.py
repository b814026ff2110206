"""A SentencePiece model as a tokenizer of Hugging Face's library `tokenizers`.

From its file `tokenizer.json`, transformers needs neither sentencepiece nor protobuf for the text.
The steps are those of `tokenization.preprocess_text` and `encode_pieces`, so that both make the
same pieces. With the published vocabulary they differ in 10 of 149,023 texts, where two ways to
split a word have scores that are equal but for rounding ("666" into "66" and "6", or "6" and "66"):
SentencePiece adds them in float32, `tokenizers` in float64.

Only this module imports `tokenizers`, which only a conversion to transformers needs.
"""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any, Sequence

from google.protobuf import descriptor_pb2, message_factory, text_format
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tokenization import SPIECE_UNDERLINE

# The part of sentencepiece_model.proto that is needed. sentencepiece's own module of it loads
# only with new versions of protobuf.
_PROTO = """
name: "albert_tf/sentencepiece_model.proto"
message_type {
  name: "Piece"
  field { label: LABEL_OPTIONAL number: 1 name: "piece" type: TYPE_STRING }
  field { label: LABEL_OPTIONAL number: 2 name: "score" type: TYPE_FLOAT }
  field { label: LABEL_OPTIONAL number: 3 name: "type" type: TYPE_INT32 }
}
message_type {
  name: "Trainer"
  field { label: LABEL_OPTIONAL number: 3 name: "model_type" type: TYPE_INT32 }
}
message_type {
  name: "Normalizer"
  field { label: LABEL_OPTIONAL number: 2 name: "precompiled_charsmap" type: TYPE_BYTES }
}
message_type {
  name: "Model"
  field { label: LABEL_REPEATED number: 1 name: "pieces" type_name: "Piece" }
  field { label: LABEL_OPTIONAL number: 2 name: "trainer_spec" type_name: "Trainer" }
  field { label: LABEL_OPTIONAL number: 3 name: "normalizer_spec" type_name: "Normalizer" }
}
"""
_UNIGRAM, _BPE = 1, 2  # model types
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # piece types
_UNUSABLE = -100.0  # added to the score of a piece: every other way to split is better


def from_sentencepiece(spm_model_file: str, do_lower_case: bool) -> Tokenizer | None:
    """Make a tokenizer from a SentencePiece model.

    Args:
      spm_model_file: path of a SentencePiece model with the pieces "[CLS]" and "[SEP]".
      do_lower_case: whether to lower-case text.

    Returns:
      The tokenizer; None if the model is neither a unigram nor a BPE model.
    """
    messages = message_factory.GetMessages(
        [text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto())]
    )
    proto = messages["Model"].FromString(Path(spm_model_file).read_bytes())
    make_model = {_UNIGRAM: _unigram, _BPE: _bpe}.get(proto.trainer_spec.model_type)
    if make_model is None:
        return None
    tokenizer = Tokenizer(make_model(proto.pieces))
    tokenizer.normalizer = _normalizer(proto.normalizer_spec.precompiled_charsmap, do_lower_case)
    user_defined = [piece.piece for piece in proto.pieces if piece.type == _USER_DEFINED]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(SPIECE_UNDERLINE, prepend_scheme="always"),
            *(pre_tokenizers.Split(piece, "isolated") for piece in user_defined),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.Metaspace(SPIECE_UNDERLINE, prepend_scheme="always")
    tokenizer.add_special_tokens(
        [piece.piece for piece in proto.pieces if piece.type in (_UNKNOWN, _CONTROL)]
    )
    return tokenizer


def _normalizer(characters_map: bytes, do_lower_case: bool) -> normalizers.Normalizer:
    """Steps of `preprocess_text`, and then those of the SentencePiece model itself."""
    combining = "".join(filter(unicodedata.combining, map(chr, range(sys.maxunicode + 1))))
    white_space = Regex(r"[\s\x1C-\x1F]+")  # as `str.split` has it
    steps = [
        normalizers.Replace(white_space, " "),
        normalizers.NFKD(),
        normalizers.Replace(Regex(f"[{combining}]"), ""),  # StripAccents removes other marks too
    ]
    if do_lower_case:
        # Lowercase takes characters one by one, and does not know a sigma at the end of a word.
        final_sigma = Regex(r"\p{Cased}\p{Case_Ignorable}*\KΣ(?!\p{Case_Ignorable}*\p{Cased})")
        steps += [normalizers.Replace(final_sigma, "ς"), normalizers.Lowercase()]
    if characters_map:
        # Precompiled does not find the parts of a Hangul syllable, which the map puts together.
        steps += [normalizers.NFC(), normalizers.Precompiled(characters_map)]
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps)


def _is_number_with_comma(piece: str) -> bool:
    """Whether `encode_pieces` splits a piece into a number and a comma."""
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _unigram(pieces: Sequence[Any]) -> models.Unigram:
    """Model that splits a word into the pieces with the highest sum of scores."""
    vocabulary = [
        (piece.piece, piece.score + (_UNUSABLE if _is_number_with_comma(piece.piece) else 0))
        for piece in pieces
    ]
    unknown = next(n for n, piece in enumerate(pieces) if piece.type == _UNKNOWN)
    return models.Unigram(vocabulary, unknown)


def _bpe(pieces: Sequence[Any]) -> models.BPE:
    """Model that merges the two neighbors whose union has the highest score, again and again."""
    ids = {piece.piece: number for number, piece in enumerate(pieces)}
    merges = []
    for piece in sorted(pieces, key=lambda piece: -piece.score):
        text = piece.piece
        if not _is_number_with_comma(text) and piece.type not in (_UNKNOWN, _CONTROL):
            halves = [(text[:n], text[n:]) for n in range(1, len(text))]
            merges += [(a, b) for a, b in halves if a in ids and b in ids]
    unknown = next(piece.piece for piece in pieces if piece.type == _UNKNOWN)
    return models.BPE(ids, merges, unk_token=unknown, fuse_unk=True)

"""A SentencePiece model as `tokenizer.json`, the file of Hugging Face's library `tokenizers`.

With it transformers needs neither sentencepiece nor protobuf for the text. The steps of the file
are those of `tokenization.preprocess_text` and `encode_pieces`, so that both make the same pieces.
They differ where two ways to split a word have scores that are equal but for rounding ("666" into
"66" and "6", or "6" and "66"): in 2 of 144,562 texts of SQuAD and GLUE.
"""

from __future__ import annotations

import base64
import functools
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from albert_tf.io import files
from tokenization import SPIECE_UNDERLINE

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"

# The part of sentencepiece_model.proto that is needed. sentencepiece's own module of it loads with
# new versions of protobuf alone.
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
_SPECIAL_TOKENS = {
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "[MASK]",
}


def write(folder: Path, spm_model_file: Path, do_lower_case: bool, max_length: int) -> None:
    """Write `tokenizer.json`, if the model allows it, and `tokenizer_config.json`.

    Args:
      folder: folder of a model for transformers.
      spm_model_file: path of the SentencePiece model.
      do_lower_case: whether to lower-case text.
      max_length: maximum length of the model's input, in pieces.
    """
    proto = _message_class().FromString(spm_model_file.read_bytes())
    content = tokenizer_json(proto, do_lower_case)
    if content:
        files.write_text(folder / TOKENIZER_FILE, json.dumps(content, ensure_ascii=False))
    pieces = {piece.piece for piece in proto.pieces}
    config = {
        # The AlbertTokenizer of transformers 5 takes nothing but the pieces from tokenizer.json.
        "tokenizer_class": "PreTrainedTokenizerFast" if content else "AlbertTokenizer",
        "do_lower_case": do_lower_case,
        "keep_accents": False,
        "remove_space": True,
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{name: piece for name, piece in _SPECIAL_TOKENS.items() if piece in pieces},
    }
    files.write_json(folder / CONFIG_FILE, config, indent=2)


def tokenizer_json(proto: Any, do_lower_case: bool) -> dict[str, Any] | None:
    """Make the content of `tokenizer.json`.

    Args:
      proto: message of a SentencePiece model file, with the pieces "[CLS]" and "[SEP]".
      do_lower_case: whether to lower-case text.

    Returns:
      A JSON value; None if the model is neither a unigram nor a BPE model.
    """
    models = {_UNIGRAM: _unigram, _BPE: _bpe}
    if proto.trainer_spec.model_type not in models:
        return None
    ids = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    spaces = {
        "type": "Metaspace",
        "replacement": SPIECE_UNDERLINE,
        "prepend_scheme": "always",
        "split": True,
    }
    user_defined = [piece.piece for piece in proto.pieces if piece.type == _USER_DEFINED]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _special_token(number, piece.piece)
            for number, piece in enumerate(proto.pieces)
            if piece.type in (_UNKNOWN, _CONTROL)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": _normalizers(proto.normalizer_spec, do_lower_case),
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [spaces, *map(_isolated, user_defined)],
        },
        "post_processor": _template(ids),
        "decoder": spaces,
        "model": models[proto.trainer_spec.model_type](proto.pieces, ids),
    }


@functools.lru_cache(maxsize=None)
def _message_class() -> Any:
    """Class of the message in a SentencePiece model file."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()))
    descriptor = pool.FindMessageTypeByName("Model")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def _special_token(number: int, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, **flags, "special": True}


def _normalizers(normalizer_spec: Any, do_lower_case: bool) -> list[dict[str, Any]]:
    """Steps of `preprocess_text`, and then those of the SentencePiece model itself."""
    steps: list[dict[str, Any]] = [
        _replace(f"{_characters(str.isspace)}+", " "),
        {"type": "NFKD"},
        _replace(_characters(unicodedata.combining), ""),
    ]
    if do_lower_case:
        steps.append({"type": "Lowercase"})
    characters = normalizer_spec.precompiled_charsmap
    if characters:
        encoded = base64.b64encode(characters).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    return [
        *steps,
        _replace(" {2,}", " "),
        {"type": "Strip", "strip_left": True, "strip_right": True},
    ]


def _replace(pattern: str, text: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": text}


def _characters(is_member: Callable[[str], Any]) -> str:
    """Regular expression for one of the characters with a property."""
    ranges: list[list[int]] = []
    codes = range(sys.maxunicode + 1)
    for code in (code for code in codes if is_member(chr(code))):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in ranges) + "]"


def _isolated(text: str) -> dict[str, Any]:
    """Step that makes each occurrence of a text a word of its own."""
    pattern = {"String": text}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def _template(ids: Mapping[str, int]) -> dict[str, Any]:
    """Step that adds the special tokens to one or two texts."""
    first, second = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    cls, sep, last_sep = (
        {"SpecialToken": {"id": name, "type_id": n}}
        for name, n in (("[CLS]", 0), ("[SEP]", 0), ("[SEP]", 1))
    )
    return {
        "type": "TemplateProcessing",
        "single": [cls, first, sep],
        "pair": [cls, first, sep, second, last_sep],
        "special_tokens": {
            name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")
        },
    }


def _is_number_with_comma(piece: str) -> bool:
    """Whether `encode_pieces` splits a piece into a number and a comma."""
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _unigram(pieces: Sequence[Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """Model that splits a word into the pieces with the highest sum of scores."""
    vocabulary = [
        [piece.piece, piece.score + (_UNUSABLE if _is_number_with_comma(piece.piece) else 0)]
        for piece in pieces
    ]
    unknown = next(n for n, piece in enumerate(pieces) if piece.type == _UNKNOWN)
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": False}


def _bpe(pieces: Sequence[Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """Model that merges the two neighbors whose union has the highest score, again and again."""
    merges = []
    for piece in sorted(pieces, key=lambda piece: -piece.score):
        text = piece.piece
        if not _is_number_with_comma(text) and piece.type not in (_UNKNOWN, _CONTROL):
            halves = [(text[:n], text[n:]) for n in range(1, len(text))]
            merges += [f"{a} {b}" for a, b in halves if a in ids and b in ids]
    unknown = next(piece.piece for piece in pieces if piece.type == _UNKNOWN)
    return {
        "type": "BPE",
        "unk_token": unknown,
        "fuse_unk": True,
        "byte_fallback": False,
        "vocab": ids,
        "merges": merges,
    }

"""Tokenization with SentencePiece, or with WordPiece for models that only have a vocabulary.

This module does not import TensorFlow.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from pathlib import Path
from typing import Iterable, Mapping, TypeVar

import sentencepiece
import six

from albert_tf.io.errors import InputError

SPIECE_UNDERLINE = "▁"  # SentencePiece's symbol for a space
UNKNOWN_TOKEN = "[UNK]"
_LONGEST_WORD = 200  # characters; the WordPiece tokenizer does not split longer words
_SAMPLE_NBEST_SIZE = 64
_SAMPLE_ALPHA = 0.1

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def preprocess_text(inputs: str | bytes, remove_space: bool = True, lower: bool = False) -> str:
    """Normalize text like the training corpus of ALBERT's vocabulary.

    Args:
      inputs: any text; bytes are UTF-8.
      remove_space: whether to strip white space at both ends and replace inner runs by one space.
      lower: whether to lower-case.

    Returns:
      Text in compatibility decomposition (NFKD), without combining characters.
    """
    text = convert_to_unicode(inputs)
    if remove_space:
        text = " ".join(text.split())
    if not text.isascii():
        text = text.translate({ord(char): _base_characters(char) for char in set(text)})
    return text.lower() if lower else text


@functools.lru_cache(maxsize=2**16)
def _base_characters(char: str) -> str:
    """Compatibility decomposition of a character, without combining characters.

    `unicodedata.normalize` sorts runs of combining characters in quadratic time, so a text is
    decomposed character by character. The result is the same.
    """
    decomposed = unicodedata.normalize("NFKD", char)
    return "".join(part for part in decomposed if not unicodedata.combining(part))


def encode_pieces(
    sp_model: sentencepiece.SentencePieceProcessor,
    text: str | bytes,
    return_unicode: bool = True,
    sample: bool = False,
) -> list[str]:
    """Split text into SentencePiece pieces, separating digits from a trailing comma.

    A piece such as "▁1911," is split into "▁1911" and ",", so a number has the same pieces
    with and without a comma.

    Args:
      sp_model: loaded SentencePiece model.
      text: preprocessed text.
      return_unicode: unused. On Python 3 the pieces are `str` either way, as in the original.
      sample: whether to sample a segmentation at random (subword regularization, Kudo 2018,
        https://arxiv.org/abs/1804.10959).

    Returns:
      Pieces, with "▁" in place of spaces.
    """
    text = convert_to_unicode(text)
    if sample:
        pieces = sp_model.sample_encode_as_pieces(text, _SAMPLE_NBEST_SIZE, _SAMPLE_ALPHA)
    else:
        pieces = sp_model.encode_as_pieces(text)

    split_pieces = []
    for piece in pieces:
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            split_pieces += _encode_number(sp_model, piece[:-1])
            split_pieces.append(",")
        else:
            split_pieces.append(piece)
    return split_pieces


def _encode_number(sp_model: sentencepiece.SentencePieceProcessor, piece: str) -> list[str]:
    """Encode a piece again, after its comma has been removed.

    SentencePiece adds "▁" in front of every text; it is removed if the piece had none.
    """
    pieces = sp_model.encode_as_pieces(piece.replace(SPIECE_UNDERLINE, ""))
    if not piece.startswith(SPIECE_UNDERLINE) and pieces[0].startswith(SPIECE_UNDERLINE):
        pieces[0] = pieces[0][len(SPIECE_UNDERLINE) :]
    return [piece for piece in pieces if piece]


def encode_ids(
    sp_model: sentencepiece.SentencePieceProcessor, text: str | bytes, sample: bool = False
) -> list[int]:
    """Encode text to ids: see `encode_pieces`."""
    return [sp_model.piece_to_id(piece) for piece in encode_pieces(sp_model, text, sample=sample)]


def convert_to_unicode(text: str | bytes) -> str:
    """Convert text to `str`, decoding bytes as UTF-8 and dropping invalid bytes."""
    return six.ensure_text(text, "utf-8", "ignore")


def printable_text(text: str | bytes) -> str:
    """Convert text to `str` for printing and logging."""
    return six.ensure_str(text, "utf-8", "ignore")


def load_vocab(vocab_file: str) -> dict[str, int]:
    """Read a vocabulary with one token per line, ignoring further columns.

    Args:
      vocab_file: path of a WordPiece vocabulary, or of a SentencePiece `.vocab` file.

    Returns:
      Map from tokens to line numbers, from 0, in file order.

    Raises:
      InputError: if the file cannot be read.
    """
    try:
        lines = Path(vocab_file).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{vocab_file}: cannot read the vocabulary: {error}") from error
    if lines[-1] == "":
        lines.pop()
    vocab: dict[str, int] = {}
    for index, line in enumerate(lines):
        token = line.split()[0] if line.strip() else " "
        vocab.setdefault(token, index)
    return vocab


def convert_by_vocab(vocab: Mapping[_Key, _Value], items: Iterable[_Key]) -> list[_Value]:
    """Look up tokens or ids; `KeyError` for one that is not in the vocabulary."""
    return [vocab[item] for item in items]


def convert_tokens_to_ids(vocab: dict[str, int], tokens: Iterable[str]) -> list[int]:
    """Look up the ids of tokens; `KeyError` for a token that is not in the vocabulary."""
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(inv_vocab: dict[int, str], ids: Iterable[int]) -> list[str]:
    """Look up the tokens of ids; `KeyError` for an id that is not in the vocabulary."""
    return convert_by_vocab(inv_vocab, ids)


def whitespace_tokenize(text: str) -> list[str]:
    """Split text at runs of white space."""
    return text.split()


def validate_case_matches_checkpoint(do_lower_case: bool, init_checkpoint: str | None) -> None:
    """Check `do_lower_case` against the directory of a published BERT checkpoint.

    Args:
      do_lower_case: whether text is lower-cased.
      init_checkpoint: prefix of a checkpoint, such as `uncased_L-12_H-768_A-12/bert_model.ckpt`.
        Other names, such as all names of ALBERT checkpoints, do not tell the case.

    Raises:
      InputError: if the model was trained with the other case.
    """
    folder = re.search(r"([\w-]+)/bert_model\.ckpt", init_checkpoint or "")
    if folder is None:
        return
    is_lower_case = folder[1].startswith(("uncased_L-", "multilingual_L-", "chinese_L-"))
    is_cased = folder[1].startswith(("cased_L-", "multi_cased_L-"))
    if is_cased if do_lower_case else is_lower_case:
        raise InputError(
            f"--do_lower_case={do_lower_case} does not fit {init_checkpoint}, a model of "
            f"{'cased' if is_cased else 'lower-cased'} text: give --do_lower_case={is_lower_case}"
        )


def padded_inputs(
    input_ids: list[int], segment_ids: list[int], max_seq_length: int
) -> dict[str, list[int]]:
    """Pad a sequence to the inputs of the model.

    Args:
      input_ids: ids of the pieces.
      segment_ids: segment of each piece, 0 or 1.
      max_seq_length: length of the padded lists.

    Returns:
      `input_ids`, `input_mask` and `segment_ids`, named as in record files.
    """
    padding = [0] * (max_seq_length - len(input_ids))
    return {
        "input_ids": input_ids + padding,
        "input_mask": [1] * len(input_ids) + padding,
        "segment_ids": segment_ids + padding,
    }


class FullTokenizer:
    """Tokenizer with a SentencePiece model, or with a WordPiece vocabulary if no model is given.

    Example:

      tokenizer = FullTokenizer(None, spm_model_file="albert_base_v2/30k-clean.model")
      tokens = tokenizer.tokenize(preprocess_text("This is a test", lower=True))
      tokens  # ["▁this", "▁is", "▁a", "▁test"]
      ids = tokenizer.convert_tokens_to_ids(["[CLS]", *tokens, "[SEP]"])

    Attributes:
      vocab: ids by token.
      inv_vocab: tokens by id.
      sp_model: SentencePiece model, or None.
    """

    def __init__(
        self,
        vocab_file: str | None,
        do_lower_case: bool = True,
        spm_model_file: str | None = None,
    ):
        """Load the model.

        Args:
          vocab_file: path of a WordPiece vocabulary; ignored with a SentencePiece model.
          do_lower_case: whether the WordPiece tokenizer lower-cases. It has no effect on a
            SentencePiece model: lower-case its text with `preprocess_text`.
          spm_model_file: path of a SentencePiece model.

        Raises:
          InputError: if both files are None, or a file is missing or invalid.
        """
        self.sp_model: sentencepiece.SentencePieceProcessor | None = None
        if spm_model_file:
            self.sp_model = load_sentencepiece_model(spm_model_file)
            self.vocab = _pieces(self.sp_model, spm_model_file)
        elif vocab_file:
            self.vocab = load_vocab(vocab_file)
            self.basic_tokenizer = BasicTokenizer(do_lower_case)
            self.wordpiece_tokenizer = WordpieceTokenizer(self.vocab)
        else:
            raise InputError("a tokenizer needs a SentencePiece model or a vocabulary")
        self.inv_vocab = {index: token for token, index in self.vocab.items()}

    @classmethod
    def from_scratch(
        cls, vocab_file: str | None, do_lower_case: bool, spm_model_file: str | None
    ) -> FullTokenizer:
        """Create a tokenizer from local files; for the arguments see the constructor."""
        return cls(vocab_file, do_lower_case, spm_model_file)

    def tokenize(self, text: str | bytes) -> list[str]:
        """Split text into tokens.

        Args:
          text: text; for a SentencePiece model, normalized by `preprocess_text`.

        Returns:
          Tokens.
        """
        if self.sp_model:
            return encode_pieces(self.sp_model, text)
        return [
            piece
            for token in self.basic_tokenizer.tokenize(text)
            for piece in self.wordpiece_tokenizer.tokenize(token)
        ]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Look up the ids of tokens.

        Args:
          tokens: tokens of this tokenizer.

        Returns:
          Ids. With a SentencePiece model, unknown tokens get the id of `<unk>`.

        Raises:
          KeyError: if a token is not in the WordPiece vocabulary.
        """
        if self.sp_model:
            unknown = self.sp_model.unk_id()
            return [self.vocab.get(token, unknown) for token in tokens]
        return convert_tokens_to_ids(self.vocab, tokens)

    def ids_of_text(self, text: str | bytes, do_lower_case: bool) -> list[int]:
        """Convert raw text to ids.

        Args:
          text: raw text; bytes are UTF-8.
          do_lower_case: whether to lower-case text for a SentencePiece model. A WordPiece tokenizer
            uses its constructor's `do_lower_case` instead.
        """
        if self.sp_model:
            text = preprocess_text(text, lower=do_lower_case)
        return self.convert_tokens_to_ids(self.tokenize(text))

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Look up the tokens of ids; `KeyError` for an unknown id."""
        return convert_ids_to_tokens(self.inv_vocab, ids)


def load_sentencepiece_model(path: str) -> sentencepiece.SentencePieceProcessor:
    """Load a SentencePiece model.

    Args:
      path: path of the model file.

    Raises:
      InputError: if the file is missing or is not a SentencePiece model.
    """
    if not Path(path).is_file():
        raise InputError(
            f"{path}: SentencePiece model not found; it is part of the published models "
            "(30k-clean.model)"
        )
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.load(str(path))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a SentencePiece model, or damaged: {error}") from error
    return model


def _pieces(sp_model: sentencepiece.SentencePieceProcessor, path: str) -> dict[str, int]:
    """Ids of the pieces of a SentencePiece model; `InputError` for pieces that are no text."""
    index = 0
    try:
        vocab = {}
        for index in range(sp_model.get_piece_size()):
            vocab[sp_model.id_to_piece(index)] = index
            if not math.isfinite(sp_model.get_score(index)):
                raise ValueError(f"its score is {sp_model.get_score(index)}")
    except ValueError as error:
        raise InputError(
            f"{path}: the SentencePiece model is damaged: piece {index}: {error}; copy it again"
        ) from error
    return vocab


class BasicTokenizer:
    """Tokenizer that splits at white space and punctuation, and Chinese into characters."""

    def __init__(self, do_lower_case: bool = True):
        """Create the tokenizer.

        Args:
          do_lower_case: whether to lower-case and strip accents.
        """
        self.do_lower_case = do_lower_case

    def tokenize(self, text: str | bytes) -> list[str]:
        """Split text into words and punctuation marks."""
        cleaned = "".join(
            f" {char} " if _is_chinese(char) else " " if _is_whitespace(char) else char
            for char in convert_to_unicode(text)
            if not (char in "\0\ufffd" or _is_control(char))
        )
        tokens: list[str] = []
        for word in cleaned.split():
            if self.do_lower_case:
                word = _strip_accents(word.lower())
            tokens += _split_at_punctuation(word)
        return " ".join(tokens).split()


class WordpieceTokenizer:
    """Tokenizer that splits words into the longest pieces of a vocabulary, from left to right.

    Example:

      tokenizer = WordpieceTokenizer({"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3})
      tokenizer.tokenize("unaffable cat")  # ["un", "##aff", "##able", "[UNK]"]
    """

    def __init__(
        self,
        vocab: dict[str, int],
        unk_token: str = UNKNOWN_TOKEN,
        max_input_chars_per_word: int = _LONGEST_WORD,
    ):
        """Create the tokenizer.

        Args:
          vocab: ids by piece; pieces inside of a word start with "##".
          unk_token: token for words that the pieces cannot form.
          max_input_chars_per_word: maximum length of a word in characters; longer words become
            `unk_token`.
        """
        self.vocab = vocab
        self.unk_token = unk_token
        self.max_input_chars_per_word = max_input_chars_per_word

    def tokenize(self, text: str | bytes) -> list[str]:
        """Split text into pieces.

        Args:
          text: words separated by white space.

        Returns:
          Pieces, such as "un", "##aff", "##able" for "unaffable".
        """
        return [
            piece for word in convert_to_unicode(text).split() for piece in self._split_word(word)
        ]

    def _split_word(self, word: str) -> list[str]:
        if len(word) > self.max_input_chars_per_word:
            return [self.unk_token]
        pieces, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                if prefix + word[start:end] in self.vocab:
                    pieces.append(prefix + word[start:end])
                    break
            else:
                return [self.unk_token]
            start = end
        return pieces


def _strip_accents(text: str) -> str:
    """Remove nonspacing marks (accents) from text."""
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn")


def _split_at_punctuation(word: str) -> list[str]:
    """Split a word so that every punctuation character is a separate token."""
    tokens: list[str] = []
    in_word = False
    for char in word:
        is_punctuation = _is_punctuation(char)
        if in_word and not is_punctuation:
            tokens[-1] += char
        else:
            tokens.append(char)
        in_word = not is_punctuation
    return tokens


def _is_chinese(char: str) -> bool:
    """Whether a character is a Chinese, Japanese or Korean ideograph.

    Hangul and the Japanese syllabaries are not ideographs.
    """
    code = ord(char)
    return any(first <= code <= last for first, last in _IDEOGRAPH_BLOCKS)


_IDEOGRAPH_BLOCKS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def _is_whitespace(char: str) -> bool:
    """Whether a character is a space, tab, line break or Unicode space."""
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def _is_control(char: str) -> bool:
    """Whether a character is a control or format character, except tabs and line breaks."""
    return char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf")


def _is_punctuation(char: str) -> bool:
    """Whether a character is punctuation.

    In ASCII, this includes all symbols, such as "$" and "^".
    """
    if char.isascii():
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")

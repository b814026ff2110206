"""Text to pieces: SentencePiece, and WordPiece for models that have a vocabulary only.

This file does not load TensorFlow.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Iterable

import sentencepiece
import six

from albert_tf.errors import InputError

SPIECE_UNDERLINE = "▁"  # SentencePiece's mark for a space
UNKNOWN_TOKEN = "[UNK]"
_LONGEST_WORD = 200  # characters; the WordPiece tokenizer does not look into longer words
_SAMPLE_NBEST_SIZE = 64
_SAMPLE_ALPHA = 0.1


def preprocess_text(inputs: str | bytes, remove_space: bool = True, lower: bool = False) -> str:
    """Normalize text the way ALBERT's vocabulary was made.

    Args:
      inputs: any text.
      remove_space: whether runs of white space become one space, and those at the ends nothing.
      lower: whether the result is lower-cased.

    Returns:
      The text in compatibility decomposition (NFKD) without combining characters.
    """
    text = convert_to_unicode(inputs)
    if remove_space:
        text = " ".join(text.split())
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in text if not unicodedata.combining(char))
    return text.lower() if lower else text


def encode_pieces(
    sp_model: sentencepiece.SentencePieceProcessor,
    text: str | bytes,
    return_unicode: bool = True,
    sample: bool = False,
) -> list[str] | list[bytes]:
    """Split text into SentencePiece pieces, and digits from a comma behind them.

    A piece such as "▁1911," is made into "▁1911" and ",", so that a number is the same pieces with
    and without a comma.

    Args:
      sp_model: a loaded SentencePiece model.
      text: preprocessed text.
      return_unicode: whether pieces are returned as text, and not as UTF-8 bytes.
      sample: whether a segmentation is drawn at random (subword regularization, Kudo 2018).

    Returns:
      The pieces, with "▁" in place of spaces.
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
    return split_pieces if return_unicode else [six.ensure_binary(piece) for piece in split_pieces]


def _encode_number(sp_model, piece):
    """The pieces of a piece without its comma. SentencePiece puts "▁" before every text that it
    encodes; it goes if the piece had none."""
    pieces = sp_model.encode_as_pieces(piece.replace(SPIECE_UNDERLINE, ""))
    if not piece.startswith(SPIECE_UNDERLINE) and pieces[0].startswith(SPIECE_UNDERLINE):
        pieces[0] = pieces[0][len(SPIECE_UNDERLINE) :]
    return [piece for piece in pieces if piece]


def encode_ids(
    sp_model: sentencepiece.SentencePieceProcessor, text: str | bytes, sample: bool = False
) -> list[int]:
    """Like `encode_pieces`, but returns the pieces' ids."""
    return [sp_model.piece_to_id(piece) for piece in encode_pieces(sp_model, text, sample=sample)]


def convert_to_unicode(text: str | bytes) -> str:
    """Text as `str`; bytes are read as UTF-8, and what is not UTF-8 in them is left out."""
    return six.ensure_text(text, "utf-8", "ignore")


def printable_text(text: str | bytes) -> str:
    """Text in the type that `print` and logging take: `str`."""
    return six.ensure_str(text, "utf-8", "ignore")


def load_vocab(vocab_file: str) -> dict[str, int]:
    """Read a vocabulary with a token per line; what follows behind white space is left out.

    Args:
      vocab_file: path of a WordPiece vocabulary, or of a SentencePiece `.vocab` file.

    Returns:
      A map of tokens to their line numbers, from 0, in the order of the file.

    Raises:
      InputError: if the file cannot be read.
    """
    try:
        lines = Path(vocab_file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{vocab_file}: cannot read the vocabulary: {error}") from error
    if lines[-1] == "":
        lines.pop()
    vocab = {}
    for index, line in enumerate(lines):
        token = line.split()[0] if line.strip() else " "
        vocab.setdefault(token, index)
    return vocab


def convert_tokens_to_ids(vocab: dict[str, int], tokens: Iterable[str]) -> list[int]:
    """The ids of tokens; `KeyError` for a token that is not in the vocabulary."""
    return [vocab[token] for token in tokens]


def convert_ids_to_tokens(inv_vocab: dict[int, str], ids: Iterable[int]) -> list[str]:
    """The tokens of ids; `KeyError` for an id that is not in the vocabulary."""
    return [inv_vocab[index] for index in ids]


def padded_inputs(
    input_ids: list[int], segment_ids: list[int], max_seq_length: int
) -> dict[str, list[int]]:
    """Model inputs of a sequence, padded, by their names in record files.

    Args:
      input_ids: ids of the pieces.
      segment_ids: the segment of each piece, 0 or 1.
      max_seq_length: the length of the result.
    """
    padding = [0] * (max_seq_length - len(input_ids))
    return {
        "input_ids": input_ids + padding,
        "input_mask": [1] * len(input_ids) + padding,
        "segment_ids": segment_ids + padding,
    }


class FullTokenizer:
    """Text to tokens and ids, by a SentencePiece model if there is one, else by a vocabulary."""

    def __init__(
        self,
        vocab_file: str | None,
        do_lower_case: bool = True,
        spm_model_file: str | None = None,
    ):
        """Load the model.

        Args:
          vocab_file: path of a vocabulary; read only if there is no SentencePiece model.
          do_lower_case: whether the WordPiece tokenizer lower-cases; text for a SentencePiece model
            goes through `preprocess_text` first.
          spm_model_file: path of a SentencePiece model.

        Raises:
          InputError: if a file is missing or is no model.
        """
        self.sp_model = None
        if spm_model_file:
            self.sp_model = load_sentencepiece_model(spm_model_file)
            size = self.sp_model.get_piece_size()
            self.vocab = {self.sp_model.id_to_piece(index): index for index in range(size)}
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
        """Make a tokenizer from local files."""
        return cls(vocab_file, do_lower_case, spm_model_file)

    def tokenize(self, text: str | bytes) -> list[str]:
        """Split text into tokens."""
        if self.sp_model:
            return encode_pieces(self.sp_model, text)
        return [
            piece
            for token in self.basic_tokenizer.tokenize(text)
            for piece in self.wordpiece_tokenizer.tokenize(token)
        ]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of tokens; a SentencePiece model gives those that it lacks the id of `<unk>`."""
        if self.sp_model:
            unknown = self.sp_model.unk_id()
            return [self.vocab.get(token, unknown) for token in tokens]
        return convert_tokens_to_ids(self.vocab, tokens)

    def ids_of_text(self, text: str | bytes, do_lower_case: bool) -> list[int]:
        """The ids of a raw text.

        Args:
          text: the text; bytes are UTF-8.
          do_lower_case: whether text for a SentencePiece model is lower-cased; a vocabulary's
            tokenizer has been told when it was made.
        """
        if self.sp_model:
            text = preprocess_text(text, lower=do_lower_case)
        return self.convert_tokens_to_ids(self.tokenize(text))

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return convert_ids_to_tokens(self.inv_vocab, ids)


def load_sentencepiece_model(path: str) -> sentencepiece.SentencePieceProcessor:
    """Load a SentencePiece model; `InputError` if the file is missing or is none."""
    if not Path(path).is_file():
        raise InputError(
            f"{path}: there is no SentencePiece model there; it comes with the published model "
            "(30k-clean.model)"
        )
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.load(str(path))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a SentencePiece model, or damaged: {error}") from error
    return model


class BasicTokenizer:
    """Tokenizer that splits at white space and punctuation, and Chinese text into characters."""

    def __init__(self, do_lower_case: bool = True):
        """With `do_lower_case`, accents are taken off too."""
        self.do_lower_case = do_lower_case

    def tokenize(self, text: str | bytes) -> list[str]:
        """Split text into words and punctuation marks."""
        cleaned = "".join(
            f" {char} " if _is_chinese(char) else " " if _is_whitespace(char) else char
            for char in convert_to_unicode(text)
            if not (char in "\0\ufffd" or _is_control(char))
        )
        tokens = []
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
        """Make the tokenizer.

        Args:
          vocab: the pieces; those that go on within a word begin with "##".
          unk_token: stands for a word that the pieces cannot make.
          max_input_chars_per_word: longer words become `unk_token`.
        """
        self.vocab = vocab
        self.unk_token = unk_token
        self.max_input_chars_per_word = max_input_chars_per_word

    def tokenize(self, text: str | bytes) -> list[str]:
        """Split text, already split into words by spaces, into pieces: "unaffable" to "un",
        "##aff", "##able"."""
        return [
            piece for word in convert_to_unicode(text).split() for piece in self._split_word(word)
        ]

    def _split_word(self, word):
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


def _strip_accents(text):
    """Text without its nonspacing marks."""
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn")


def _split_at_punctuation(word):
    """Make every punctuation mark a token of its own."""
    tokens, in_word = [], False
    for char in word:
        is_punctuation = _is_punctuation(char)
        if in_word and not is_punctuation:
            tokens[-1] += char
        else:
            tokens.append(char)
        in_word = not is_punctuation
    return tokens


def _is_chinese(char):
    """Whether a character is in a block of Chinese, Japanese and Korean ideographs. Hangul and the
    Japanese syllabaries are written with spaces or in words, and are not among them."""
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


def _is_whitespace(char):
    """Whether a character separates words: a space, tab or line break, or a Unicode space."""
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def _is_control(char):
    """Whether a character is a control or format character; tabs and line breaks are spaces."""
    return char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf")


def _is_punctuation(char):
    """Whether a character is punctuation; every ASCII character that is no letter, digit, space or
    control character counts as such ("$" and "^" too)."""
    if char.isascii():
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")

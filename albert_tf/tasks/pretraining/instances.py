"""Conversion of text to pre-training instances: pairs of segments with masked n-grams.

Lan et al. 2019 (https://arxiv.org/abs/1909.11942), sections 3.1 and 4.1. This file works on plain
Python values.

The random choices for a block of documents depend only on its number, the pass over the text and
the seed. Blocks can therefore be processed in any order, by any number of processes.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, Sequence

from albert_tf.io.errors import InputError
from albert_tf.tasks.pretraining.settings import RecordSettings
from tokenization import SPIECE_UNDERLINE, FullTokenizer, padded_inputs

SPECIAL_TOKENS = 3  # [CLS] segment A [SEP] segment B [SEP]
BLOCK_CHARACTERS = 1 << 20
_RANDOM_TRIES = 8  # random positions to try for an n-gram before searching all
MASKED_SHARE, KEPT_SHARE = 0.8, 0.1  # of the chosen pieces; the rest become random pieces
_SPECIAL_PIECE = re.compile(r"\[(PAD|UNK|CLS|SEP|MASK|unused\d+)\]|<(pad|unk|s|/s)>")
_WORD_PART = re.compile(r"""[a-zA-Z!"#$%&()*+,\-./:;?@\[\\\]^_`{|}~]+""")
_PUNCTUATION = frozenset("""!"#$%&()*+,-./:;?@[\\]^_`{|}~""")

Document = Sequence[Sequence[int]]  # ids of the pieces of each sentence


def ngram_limits(longest: int, favors_shorter: bool = True) -> list[float]:
    """Cumulative probabilities of n-grams of 1, 2, ... words, without the last, 1.

    Args:
      longest: maximum length of an n-gram, in words.
      favors_shorter: whether the probability of an n-gram is proportional to 1/n; otherwise the
        same probabilities apply in reverse, and the longest is the likeliest.
    """
    weights = [1 / n for n in range(1, longest + 1)]
    if not favors_shorter:
        weights.reverse()
    return list(itertools.accumulate(weight / sum(weights) for weight in weights))[:-1]


def starts_word(piece: str, is_sentencepiece: bool) -> bool:
    """Whether a piece starts a word or is a word by itself.

    In a SentencePiece vocabulary, these pieces begin with "▁", are punctuation marks or special
    tokens, or contain characters other than punctuation and the letters a to z, such as digits and
    other scripts. In a WordPiece vocabulary, they are the pieces without "##".

    Args:
      piece: the piece.
      is_sentencepiece: whether it comes from a SentencePiece vocabulary, not WordPiece.
    """
    if not is_sentencepiece:
        return not piece.startswith("##")
    return (
        piece.startswith((SPIECE_UNDERLINE, "<"))
        or piece in _PUNCTUATION
        or bool(_SPECIAL_PIECE.fullmatch(piece))
        or not _WORD_PART.fullmatch(piece)
    )


class Vocabulary:
    """Properties of the pieces of a vocabulary, by id.

    Attributes:
      cls_id: id of [CLS].
      sep_id: id of [SEP].
      mask_id: id of [MASK].
      starts_word: for each id, 1 if the piece starts a word, else 0.
      is_special: for each id, whether it is a special token, which is never masked.
      ordinary_ids: ids of all other pieces.
    """

    def __init__(self, tokenizer: FullTokenizer):
        """Read the vocabulary of a tokenizer; it must have [CLS], [SEP] and [MASK]."""
        pieces = [
            tokenizer.inv_vocab.get(index, "") for index in range(max(tokenizer.inv_vocab) + 1)
        ]
        self.cls_id, self.sep_id, self.mask_id = (
            tokenizer.vocab[piece] for piece in ("[CLS]", "[SEP]", "[MASK]")
        )
        is_sentencepiece = tokenizer.sp_model is not None
        self.starts_word = [int(starts_word(piece, is_sentencepiece)) for piece in pieces]
        self.is_special = [bool(_SPECIAL_PIECE.fullmatch(piece)) for piece in pieces]
        self.ordinary_ids = [index for index, special in enumerate(self.is_special) if not special]


def read_blocks(
    paths: Sequence[str], strict: bool = True, block_characters: int = BLOCK_CHARACTERS
) -> Iterator[list[list[str]]]:
    """Yield blocks of documents (lists of sentences), reading the files lazily.

    A document ends at an empty line or at the end of its file. A document longer than a block is
    split between two sentences.

    Args:
      paths: paths of text files in UTF-8, with one sentence per line.
      strict: whether bytes that are not UTF-8 are an error; otherwise they are dropped.
      block_characters: approximate size of a block, in characters.

    Raises:
      InputError: if a file cannot be read or is not UTF-8.
    """
    block: list[list[str]] = []
    size = 0
    for path in paths:
        document: list[str] = []
        for line in itertools.chain(_read_lines(path, strict), [""]):
            if line:
                document.append(line)
                size += len(line)
            if document and (not line or size >= block_characters):
                block.append(document)
                document = []
            if size >= block_characters:
                yield block
                block, size = [], 0
    if block:
        yield block


def _read_lines(path: str, strict: bool) -> Iterator[str]:
    """Yield the lines of a file, without leading and trailing whitespace."""
    number = 0
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith(b"\xef\xbb\xbf"):  # byte-order mark
                    line = line[3:]
                yield line.decode("utf-8", "strict" if strict else "ignore").strip()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {number}: not UTF-8 ({error}); convert the file, or drop the invalid "
            "bytes with --input_file_mode=rb"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the text: {error.strerror}; correct the path"
        ) from error


def encode(
    block: Sequence[Sequence[str]], tokenizer: FullTokenizer, do_lower_case: bool
) -> list[Document]:
    """Encode the documents of a block, skipping sentences and documents without pieces."""
    encoded = (
        [ids for text in document if (ids := tokenizer.ids_of_text(text, do_lower_case))]
        for document in block
    )
    return [document for document in encoded if document]


@dataclass
class Instance:
    """A pre-training example.

    Attributes:
      input_ids: ids of the pieces, masked and permuted.
      segment_ids: segment of each piece, 0 or 1.
      token_boundary: for each piece, 1 if it starts a word, else 0.
      positions: positions of the pieces to predict, ascending.
      labels: original ids of these pieces.
      next_sentence_label: 1 if the segments are swapped or B is from another document, else 0.
    """

    input_ids: list[int]
    segment_ids: list[int]
    token_boundary: list[int]
    positions: list[int]
    labels: list[int]
    next_sentence_label: int

    def record(self, settings: RecordSettings) -> dict[str, list[int] | list[float]]:
        """Values of the instance's record, padded, by the original's field names."""
        length, room = settings.max_seq_length, settings.max_predictions_per_seq
        if settings.do_permutation:
            room *= 2
        unused = room - len(self.positions)
        return {
            **padded_inputs(self.input_ids, self.segment_ids, length),
            "token_boundary": self.token_boundary + [0] * (length - len(self.token_boundary)),
            "masked_lm_positions": self.positions + [0] * unused,
            "masked_lm_ids": self.labels + [0] * unused,
            "masked_lm_weights": [1.0] * len(self.positions) + [0.0] * unused,
            "next_sentence_labels": [self.next_sentence_label],
        }


class InstanceMaker:
    """Builder of instances from blocks of documents."""

    def __init__(self, settings: RecordSettings, vocabulary: Vocabulary):
        """Create the builder.

        Args:
          settings: settings of the instances.
          vocabulary: properties of the pieces.
        """
        self.settings = settings
        self.vocabulary = vocabulary
        self._ngram_limits = ngram_limits(settings.ngram, settings.favor_shorter_ngram)

    def block_instances(
        self, documents: Sequence[Document], block_number: int, pass_number: int
    ) -> list[Instance]:
        """Build the instances of one pass over the documents of a block, in random order."""
        rng = random.Random(f"{self.settings.random_seed}/{pass_number}/{block_number}")
        instances = [
            self._instance(segment_a, segment_b, label, rng)
            for index in range(len(documents))
            for segment_a, segment_b, label in self._pairs(documents, index, rng)
        ]
        rng.shuffle(instances)
        return instances

    def _pairs(
        self, documents: Sequence[Document], index: int, rng: random.Random
    ) -> Iterator[tuple[list[int], list[int], int]]:
        """Yield the pairs of segments of a document, with their labels.

        A pair takes sentences up to the target length, but at least two. If only one sentence
        remains at the end, it is paired with the one before it.
        """
        document = documents[index]
        if len(document) < 2:
            return
        target, start = self.settings.max_seq_length - SPECIAL_TOKENS, 0
        if rng.random() < self.settings.short_seq_prob:
            target = rng.randint(2, target)
        while start < len(document):
            end, length = start, 0
            while end < len(document) and (length < target or end - start < 2):
                length += len(document[end])
                end += 1
            first = min(start, end - 2)
            cut = rng.randrange(first + 1, end)
            is_other = rng.random() < 0.5
            if is_other and self.settings.random_next_sentence and len(documents) > 1:
                cut = max(cut, start + 1)  # the next pair starts at the cut
                segment_a = _joined(document[start:cut])
                start = cut
                yield segment_a, self._other_text(documents, index, target - len(segment_a), rng), 1
                continue
            segment_a, segment_b = _joined(document[first:cut]), _joined(document[cut:end])
            start = end
            if is_other and not self.settings.random_next_sentence:
                yield segment_b, segment_a, 1
            else:
                yield segment_a, segment_b, 0

    def _other_text(
        self, documents: Sequence[Document], index: int, length: int, rng: random.Random
    ) -> list[int]:
        """Pieces of another document from a random sentence on, up to about a length."""
        other = documents[(index + rng.randrange(1, len(documents))) % len(documents)]
        pieces: list[int] = []
        for sentence in other[rng.randrange(len(other)) :]:
            pieces += sentence
            if len(pieces) >= length:
                break
        return pieces

    def _instance(
        self, segment_a: list[int], segment_b: list[int], label: int, rng: random.Random
    ) -> Instance:
        """Build an instance from two segments of any length."""
        room = self.settings.max_seq_length - SPECIAL_TOKENS
        if len(segment_a) + len(segment_b) > room:
            kept_b = min(len(segment_b), max(room // 2, room - len(segment_a)))
            segment_a = self._truncated(segment_a, room - kept_b, rng)
            segment_b = self._truncated(segment_b, kept_b, rng)
        vocabulary = self.vocabulary
        ids = [vocabulary.cls_id, *segment_a, vocabulary.sep_id, *segment_b, vocabulary.sep_id]
        boundary = [vocabulary.starts_word[piece] for piece in ids]
        num_a = len(segment_a) + 2
        segment_ids = [0] * num_a + [1] * (len(ids) - num_a)
        chosen = self._mask(ids, rng)
        return Instance(ids, segment_ids, boundary, *chosen, label)

    def _truncated(self, segment: list[int], length: int, rng: random.Random) -> list[int]:
        """Truncate a segment at random ends; the result starts at the start of a word."""
        excess = len(segment) - length
        if excess <= 0:
            return segment
        front = bin(rng.getrandbits(excess)).count("1")
        later = range(front, len(segment))
        starts = (i for i in later if self.vocabulary.starts_word[segment[i]])
        front = next(starts, 0)  # 0 if no later word starts
        return segment[front : front + length]

    def _mask(self, ids: list[int], rng: random.Random) -> tuple[list[int], list[int]]:
        """Mask and permute pieces in place.

        Returns:
          Positions of the pieces to predict, ascending, and their original ids.
        """
        settings = self.settings
        if not settings.masked_lm_prob:
            return [], []
        budget = max(1, round(len(ids) * settings.masked_lm_prob))
        budget = min(budget, settings.max_predictions_per_seq)
        chooser = NgramChooser(self.words(ids), self._ngram_limits, rng)
        labels = {}
        for position in chooser.choose(budget):
            labels[position] = ids[position]
            ids[position] = self._replacement(ids[position], rng)
        if settings.do_permutation:
            sources = chooser.choose(budget)
            pieces = [ids[position] for position in sources]
            labels.update(zip(sources, pieces))
            rng.shuffle(pieces)
            for position, piece in zip(sources, pieces):
                ids[position] = piece
        positions = sorted(labels)
        return positions, [labels[position] for position in positions]

    def _replacement(self, piece: int, rng: random.Random) -> int:
        """Replacement of a masked piece in the input (BERT, section 3.1)."""
        draw = rng.random()
        if draw < MASKED_SHARE:
            return self.vocabulary.mask_id
        if draw < MASKED_SHARE + KEPT_SHARE:
            return piece
        return rng.choice(self.vocabulary.ordinary_ids)

    def words(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Find the words that may be masked; words with special tokens are excluded.

        Returns:
          Start and end (exclusive) of each word, as positions in `ids`.
        """
        vocabulary, whole = self.vocabulary, self.settings.do_whole_word_mask
        words: list[tuple[int, int]] = []
        for position, piece in enumerate(ids):
            if vocabulary.is_special[piece]:
                continue
            if vocabulary.starts_word[piece] or not whole:
                words.append((position, position + 1))
            elif words and words[-1][1] == position:
                words[-1] = (words[-1][0], position + 1)
        return words


def _joined(sentences: Iterable[Sequence[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(sentences))


class NgramChooser:
    """Chooser of random n-grams of words that do not overlap."""

    def __init__(
        self, words: Sequence[tuple[int, int]], limits: Sequence[float], rng: random.Random
    ):
        """Create the chooser.

        Args:
          words: start and end (exclusive) of each word; n-grams do not cross gaps between words.
          limits: cumulative probabilities of n-grams of 1, 2, ... words, without the last, 1.
          rng: random generator.
        """
        self._words = words
        self._limits = limits
        self._rng = rng
        self._is_free = [True] * len(words)

    def choose(self, budget: int) -> list[int]:
        """Choose n-grams of up to `budget` pieces in total; return the positions of the pieces."""
        positions: list[int] = []
        for ngram in self.ngrams(budget):
            positions += range(self._words[ngram[0]][0], self._words[ngram[-1]][1])
        return positions

    def ngrams(self, budget: int) -> Iterator[range]:
        """Yield n-grams of up to `budget` pieces in total, as ranges of words."""
        while budget > 0:
            draw = self._rng.random()
            size = 1 + sum(draw >= limit for limit in self._limits)
            ngram = self._draw(size, budget)
            if not ngram:
                return
            for word in ngram:
                self._is_free[word] = False
                budget -= self._words[word][1] - self._words[word][0]
            yield ngram

    def _draw(self, max_size: int, budget: int) -> range | None:
        """Draw a free n-gram of `max_size` words, or else of fewer, within the budget."""
        num_words, rng = len(self._words), self._rng
        for size in range(max_size, 0, -1):
            for _ in range(_RANDOM_TRIES):
                start = int(rng.random() * num_words)
                ngram = range(start, start + size)
                if self._fits(ngram, budget):
                    return ngram
            ngrams = (range(start, start + size) for start in range(num_words))
            fitting = [ngram for ngram in ngrams if self._fits(ngram, budget)]
            if fitting:
                return rng.choice(fitting)
        return None

    def _fits(self, ngram: range, budget: int) -> bool:
        words = self._words
        if ngram[-1] >= len(words) or not self._is_free[ngram[0]]:
            return False
        start = end = words[ngram[0]][0]
        for word in ngram:
            if words[word][0] != end or not self._is_free[word]:
                return False
            end = words[word][1]
        return end - start <= budget

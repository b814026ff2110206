"""Generates two small tasks in the file format of GLUE, one like MRPC and one like STS-B.

The sentences come from `make_squad.py`: each states one fact about an invented woman, town or ship.
In `MRPC/`, the label says whether two sentences are paraphrases; if not, they state different facts
about the same subject. In `STS-B/`, the score says how similar two sentences are: 3 points for the
same kind of fact, 1 for the same subject and 1 for the same answer. The same seed generates the
same files.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Callable

from make_squad import SUBJECTS, Fact, Writer, name_stems

PARAPHRASE_COLUMNS = ("#1 ID", "#2 ID", "#1 String", "#2 String")
SIMILARITY_COLUMNS = (
    "index",
    "genre",
    "filename",
    "year",
    "old_index",
    "source1",
    "source2",
    "sentence1",
    "sentence2",
)


class PairWriter:
    """Generator of random sentence pairs."""

    def __init__(self, rng: random.Random):
        """Make a generator with its source of randomness."""
        self._rng = rng
        self._words = Writer(rng, name_stems())

    def paraphrase(self) -> tuple[str, str, str]:
        """Generate two sentences about one subject, and "1" if they are paraphrases, else "0"."""
        kind = self._rng.choice(sorted(SUBJECTS))
        fact, other = self._rng.sample(SUBJECTS[kind].facts, 2)
        name, answer = self._words.name(kind), self._words.answer(fact.sort)
        first, second = self._wordings(fact)
        label = self._rng.choice("01")
        sentence = _sentence(first, name, answer)
        if label == "0":
            second, answer = other.sentences[0], self._words.answer(other.sort)
        return sentence, _sentence(second, name, answer), label

    def similarity(self) -> tuple[str, str, str]:
        """Generate two sentences, and their similarity: from "0.000" to "5.000"."""
        kind = self._rng.choice(sorted(SUBJECTS))
        fact, other = self._rng.sample(SUBJECTS[kind].facts, 2)
        name, answer = self._words.name(kind), self._words.answer(fact.sort)
        first, second = self._wordings(fact)
        same_fact, same_name, same_answer = (self._rng.random() < 0.5 for _ in range(3))
        sentence = _sentence(first, name, answer)
        if not same_name:
            name = self._words.name(kind)
        if not same_fact:
            second, same_answer = other.sentences[0], False
        if not same_answer:
            answer = self._words.answer(fact.sort if same_fact else other.sort)
        score = 3.0 * same_fact + same_name + same_answer
        return sentence, _sentence(second, name, answer), f"{score:.3f}"

    def _wordings(self, fact: Fact) -> list[str]:
        """Two wordings of a fact, in random order."""
        return self._rng.sample(fact.sentences, 2)


def _sentence(wording, name, answer):
    text = wording.format(s=name, a=answer)
    return f"{text[0].upper()}{text[1:]}."


def write_paraphrases(path: Path, pairs: list[tuple[str, str, str]], has_labels: bool) -> None:
    """Write a file in the format of MRPC."""
    first_column = "Quality" if has_labels else "index"
    rows = [(first_column, *PARAPHRASE_COLUMNS)]
    for number, (first, second, label) in enumerate(pairs):
        ids = (str(2 * number), str(2 * number + 1))
        rows.append((label if has_labels else str(number), *ids, first, second))
    _write(path, rows)


def write_similarities(path: Path, pairs: list[tuple[str, str, str]], has_labels: bool) -> None:
    """Write a file in the format of STS-B."""
    rows = [SIMILARITY_COLUMNS + ("score",) * has_labels]
    for number, (first, second, score) in enumerate(pairs):
        source = ("main-made", "made", "2020", f"{number:04}", "none", "none")
        rows.append((str(number), *source, first, second) + (score,) * has_labels)
    _write(path, rows)


def _write(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def make_task(
    directory: Path,
    make_pair: Callable[[], tuple[str, str, str]],
    write: Callable[[Path, list[tuple[str, str, str]], bool], None],
    rows: int,
    heldout: int,
) -> None:
    """Write `train.tsv`, `dev.tsv` and `test.tsv` of a task.

    Args:
      directory: output directory, created if missing.
      make_pair: function that generates two sentences and their label or score.
      write: function that writes a file from a path, pairs, and whether it has labels.
      rows: number of training rows.
      heldout: number of rows in each of the other files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for split, number in (("train", rows), ("dev", heldout), ("test", heldout)):
        write(directory / f"{split}.tsv", [make_pair() for _ in range(number)], split != "test")


def main() -> None:
    """Generate the files from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="directory for MRPC/ and STS-B/")
    parser.add_argument("--rows", type=int, default=2000, help="training rows per task")
    parser.add_argument("--heldout", type=int, default=200, help="rows per dev and test set")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    writer = PairWriter(random.Random(args.seed))
    sizes = (args.rows, args.heldout)
    make_task(args.directory / "MRPC", writer.paraphrase, write_paraphrases, *sizes)
    make_task(args.directory / "STS-B", writer.similarity, write_similarities, *sizes)


if __name__ == "__main__":
    main()

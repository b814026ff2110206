"""Generates a CSV file with 200 sentences and what each is about: a person, a town or a ship.

The sentences come from `make_squad.py`. `facts.csv` has the columns `text` and `label`, `new.csv`
sentences without labels. The same seed generates the same files.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

from make_squad import SUBJECTS, Writer, name_stems


def make_rows(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Generate sentences, each with the kind of its subject."""
    words, rows = Writer(rng, name_stems()), []
    for number in range(count):
        kind = sorted(SUBJECTS)[number % len(SUBJECTS)]
        fact = rng.choice(SUBJECTS[kind].facts)
        wording = rng.choice(fact.sentences)
        text = wording.format(s=words.name(kind), a=words.answer(fact.sort))
        rows.append((f"{text[0].upper()}{text[1:]}.", kind))
    return rows


def main() -> None:
    """Generate the files from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="directory for facts.csv and new.csv")
    parser.add_argument("--rows", type=int, default=200, help="rows of facts.csv")
    parser.add_argument("--new", type=int, default=20, help="rows of new.csv")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    rows = make_rows(random.Random(args.seed), args.rows + args.new)
    _write(args.directory / "facts.csv", [("text", "label"), *rows[: args.rows]])
    _write(args.directory / "new.csv", [("text",), *((text,) for text, _ in rows[args.rows :])])


def _write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()

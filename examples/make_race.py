"""Generates a small set of multiple-choice questions in the file format of RACE.

Articles, questions and answers come from `make_squad.py`: each article states some facts about an
invented woman, town or ship. The article names one of the four options of a question for middle
schools, and two of a question for high schools, of which one belongs to another fact. The same seed
generates the same files.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from make_squad import SUBJECTS, Fact, Writer, name_stems

LETTERS = "ABCD"
FACTS_PER_ARTICLE = 3
QUESTIONS_PER_ARTICLE = 2
GAP = "_"


class ArticleWriter:
    """Generator of random articles with questions."""

    def __init__(self, rng: random.Random):
        """Make a generator with its source of randomness."""
        self._rng = rng
        self._words = Writer(rng, name_stems())

    def article(self, level: str, number: int) -> dict:
        """Generate an article with its questions: the object in a file of RACE.

        Args:
          level: "middle" or "high".
          number: number of the article, for its id.
        """
        rng = self._rng
        kind = rng.choice(sorted(SUBJECTS))
        name = self._words.name(kind)
        facts = self._facts(kind, level)
        answers = {fact: self._words.answer(fact.sort) for fact in facts}
        stated = rng.sample(facts, len(facts))
        article = {"id": f"{level}{number}.txt", "questions": [], "options": [], "answers": []}
        article["article"] = " ".join(
            _sentence(rng.choice(fact.sentences), name, answers[fact]) for fact in stated
        )
        for fact in facts[:QUESTIONS_PER_ARTICLE]:
            options = self._options(fact, answers)
            article["questions"].append(self._question(fact, name))
            article["options"].append(options)
            article["answers"].append(LETTERS[options.index(answers[fact])])
        return article

    def _facts(self, kind: str, level: str) -> list[Fact]:
        """Choose the facts of an article; those to ask about come first."""
        facts = self._rng.sample(SUBJECTS[kind].facts, len(SUBJECTS[kind].facts))
        sorts = [fact.sort for fact in facts]
        if level == "high":  # two facts of one sort
            first = next(fact for fact in facts if sorts.count(fact.sort) > 1)
            facts.sort(key=lambda fact: fact.sort != first.sort)
        else:  # one of each sort
            facts = [fact for number, fact in enumerate(facts) if fact.sort not in sorts[:number]]
        return facts[:FACTS_PER_ARTICLE]

    def _options(self, fact: Fact, answers: dict[Fact, str]) -> list[str]:
        """Four options for a fact: all answers of its sort in the article, and invented ones."""
        options = {answer for other, answer in answers.items() if other.sort == fact.sort}
        while len(options) < len(LETTERS):
            options.add(self._words.answer(fact.sort))
        return self._rng.sample(sorted(options), len(options))

    def _question(self, fact: Fact, name: str) -> str:
        """Question about a fact, or its statement with a gap."""
        if self._rng.random() < 0.5:
            return self._rng.choice(fact.questions).format(s=name)
        return _sentence(self._rng.choice(fact.sentences), name, GAP)


def _sentence(wording, name, answer):
    text = wording.format(s=name, a=answer)
    return f"{text[0].upper()}{text[1:]}."


def make_files(directory: Path, articles: int, heldout: int, seed: int) -> None:
    """Write `{train,dev,test}/{middle,high}/all.txt`, with an article per line.

    Args:
      directory: output directory, created if missing.
      articles: number of training articles of each level, with two questions each.
      heldout: number of articles of each level in the dev and in the test set.
      seed: seed of all random choices.
    """
    writer = ArticleWriter(random.Random(seed))
    for split, count in (("train", articles), ("dev", heldout), ("test", heldout)):
        for level in ("middle", "high"):
            folder = directory / split / level
            folder.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(writer.article(level, number)) for number in range(count)]
            (folder / "all.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    """Generate the files from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="directory for train/, dev/ and test/")
    parser.add_argument("--articles", type=int, default=1000, help="training articles per level")
    parser.add_argument("--heldout", type=int, default=50, help="dev and test articles per level")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    make_files(args.directory, args.articles, args.heldout, args.seed)


if __name__ == "__main__":
    main()

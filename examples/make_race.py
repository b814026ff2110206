"""Generates a small set of multiple-choice questions in the file format of RACE.

Articles, questions and answers come from `make_squad.py`: each article states four facts about an
invented woman, town or ship, and their answers are the options of its questions. Those for middle
schools are of four kinds, such as a place, a year, a name and a number, so only one fits the
question. For high schools two of them are of the same kind, so the model has to read the
article. The same seed generates the same files.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from make_squad import SUBJECTS, Fact, Writer, name_stems

LETTERS = "ABCD"
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
        answers = self._answers(facts)
        article = {"id": f"{level}{number}.txt", "questions": [], "options": [], "answers": []}
        article["article"] = " ".join(
            _sentence(rng.choice(fact.sentences), name, answers[fact])
            for fact in rng.sample(facts, len(facts))
        )
        for fact in facts[:QUESTIONS_PER_ARTICLE]:
            options = rng.sample(list(answers.values()), len(answers))
            article["questions"].append(self._question(fact, name))
            article["options"].append(options)
            article["answers"].append(LETTERS[options.index(answers[fact])])
        return article

    def _facts(self, kind: str, level: str) -> list[Fact]:
        """Choose four facts of an article; those to ask about come first."""
        facts = self._rng.sample(SUBJECTS[kind].facts, len(SUBJECTS[kind].facts))
        first_of_sort = {fact.sort: fact for fact in reversed(facts)}
        others = [fact for fact in facts if first_of_sort[fact.sort] is not fact]
        chosen = list(first_of_sort.values())
        if level == "high":  # two facts of one sort
            second = others[0]
            pair = [first_of_sort[second.sort], second]
            chosen = [*pair, *(fact for fact in chosen if fact not in pair)]
        return chosen[: len(LETTERS)]

    def _answers(self, facts: list[Fact]) -> dict[Fact, str]:
        """Generate a different answer for each fact."""
        answers = {}
        for fact in facts:
            answer = self._words.answer(fact.sort)
            while answer in answers.values():
                answer = self._words.answer(fact.sort)
            answers[fact] = answer
        return answers

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
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="directory for train/, dev/ and test/")
    parser.add_argument("--articles", type=int, default=1000, help="training articles per level")
    parser.add_argument("--heldout", type=int, default=50, help="dev and test articles per level")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    make_files(args.directory, args.articles, args.heldout, args.seed)


if __name__ == "__main__":
    main()

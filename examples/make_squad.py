"""Generates a small reading-comprehension dataset in the format of SQuAD v1.1 or v2.0.

Each paragraph describes an invented woman, town or ship. The order of the facts varies, and so does
the wording of facts and questions. Some facts have answers of the same kind (place of birth, later
home), so the model has to match the question with the right sentence. No name in the held-out set
appears in the training set.

With `--v2`, half of the questions have no answer: they ask for a fact about the subject that its
paragraph leaves out.

The files are `train.json`, `heldout.json` and `corpus.txt`. The latter has the sentences of the
training paragraphs, one per line, with an empty line after each paragraph. The same seed generates
the same files.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

FACTS_PER_PARAGRAPH = 5
FACTS_PER_V2_PARAGRAPH = 4  # leaves two for questions without an answer
QUESTIONS_PER_PARAGRAPH = 4


@dataclass(frozen=True)
class Fact:
    """A fact about a subject, as templates; {s} is the subject, {a} the answer of kind `sort`."""

    sort: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """A kind of subject: pronouns for later sentences, and facts."""

    pronouns: tuple[str, ...]
    facts: tuple[Fact, ...]


SUBJECTS = {
    "person": Subject(
        ("She",),
        (
            Fact(
                "town",
                ("{s} was born in {a}", "The birthplace of {s} was {a}"),
                ("Where was {s} born?", "What was the birthplace of {s}?"),
            ),
            Fact(
                "town",
                ("{s} later moved to {a}", "Later {s} moved to the town of {a}"),
                ("Where did {s} move later?", "To which town did {s} move?"),
            ),
            Fact(
                "person",
                ("{s} was taught by {a}", "The teacher of {s} was {a}"),
                ("Who taught {s}?", "Who was the teacher of {s}?"),
            ),
            Fact(
                "year",
                ("{s} won the river race in {a}", "In {a}, {s} won the river race"),
                ("When did {s} win the river race?", "In what year was the race won by {s}?"),
            ),
            Fact(
                "trade",
                ("{s} worked as a {a}", "{s} earned a living as a {a}"),
                ("What did {s} work as?", "What was the trade of {s}?"),
            ),
            Fact(
                "instrument",
                ("{s} played the {a}", "On Sundays {s} played the {a}"),
                ("What instrument did {s} play?", "What did {s} play on Sundays?"),
            ),
            Fact(
                "count",
                ("{s} kept {a} horses", "There were {a} horses in the stable of {s}"),
                ("How many horses did {s} keep?", "How many horses were in the stable of {s}?"),
            ),
        ),
    ),
    "town": Subject(
        ("It", "The town"),
        (
            Fact(
                "person",
                ("{s} was founded by {a}", "The founder of {s} was {a}"),
                ("Who founded {s}?", "Who was the founder of {s}?"),
            ),
            Fact(
                "year",
                ("{s} burned down in {a}", "In {a}, {s} burned down"),
                ("When did {s} burn down?", "In what year did {s} burn down?"),
            ),
            Fact(
                "year",
                ("{s} got a railway station in {a}", "The railway reached {s} in {a}"),
                ("When did the railway reach {s}?", "In what year did {s} get a railway station?"),
            ),
            Fact(
                "count",
                ("{s} has {a} bridges", "There are {a} bridges in {s}"),
                ("How many bridges are in {s}?", "How many bridges does {s} have?"),
            ),
            Fact(
                "goods",
                ("{s} is famous for {a}", "People visit {s} for the sake of {a}"),
                ("What is {s} famous for?", "For the sake of what do people visit {s}?"),
            ),
            Fact(
                "town",
                ("{s} lies close to {a}", "A short road leads from {s} to {a}"),
                ("Which town lies close to {s}?", "Where does the road from {s} lead?"),
            ),
        ),
    ),
    "ship": Subject(
        ("She", "The ship"),
        (
            Fact(
                "person",
                ("{s} was commanded by {a}", "The captain of {s} was {a}"),
                ("Who commanded {s}?", "Who was the captain of {s}?"),
            ),
            Fact(
                "town",
                ("{s} was built in {a}", "Workers in {a} built {s}"),
                ("Where was {s} built?", "In which town did workers build {s}?"),
            ),
            Fact(
                "town",
                ("{s} sank near {a}", "Not far from {a}, {s} sank"),
                ("Where did {s} sink?", "Near which town did {s} sink?"),
            ),
            Fact(
                "year",
                ("{s} first sailed in {a}", "The first voyage of {s} was in {a}"),
                ("When did {s} first sail?", "In what year was the first voyage of {s}?"),
            ),
            Fact(
                "goods",
                ("{s} carried {a}", "The cargo of {s} was {a}"),
                ("What did {s} carry?", "What was the cargo of {s}?"),
            ),
            Fact(
                "count",
                ("{s} had {a} sails", "There were {a} sails on {s}"),
                ("How many sails did {s} have?", "How many sails were on {s}?"),
            ),
        ),
    ),
}
WORDS = {
    "trade": "baker carpenter clerk fisher gardener miller painter smith tailor weaver",
    "instrument": "cello drum fiddle flute harp horn lute organ trumpet viola",
    "count": "two three four five six seven eight nine ten eleven twelve twenty thirty forty",
    "goods": "amber apples cheese copper glass honey iron linen pepper salt silk wool",
}
FIRST_NAMES = "Ada Bela Clara Dora Ella Frida Greta Hilda Ida Karla Lena Mina Nora Olga Paula Rosa"
SYLLABLES = "ba be da do fa ga ka ke la le li lo ma mi mo na no pa ra ri ro sa se ta ti to va vi"
TOWN_ENDINGS = "burg ford ham ton wick"
HELDOUT_STEMS = 80  # of the 756 pairs of syllables


def name_stems() -> list[str]:
    """All pairs of syllables, as the stems of names."""
    return ["".join(pair).capitalize() for pair in itertools.permutations(SYLLABLES.split(), 2)]


class Writer:
    """Generator of random names, answers and paragraphs."""

    def __init__(self, rng: random.Random, stems: Sequence[str], is_v2: bool = False):
        """Make a generator.

        Args:
          rng: source of randomness.
          stems: stems of the names of people, towns and ships.
          is_v2: whether half of the questions have no answer.
        """
        self._rng = rng
        self._stems = stems
        self._is_v2 = is_v2

    def name(self, sort: str) -> str:
        """Generate the name of a person, town or ship."""
        stem = self._rng.choice(self._stems)
        if sort == "person":
            return f"{self._rng.choice(FIRST_NAMES.split())} {stem}"
        if sort == "town":
            return stem + self._rng.choice(TOWN_ENDINGS.split())
        return f"the {stem}"

    def answer(self, sort: str) -> str:
        """Generate an answer for facts of a `sort`."""
        if sort == "year":
            return str(self._rng.randrange(1500, 2000, 10))
        if sort in WORDS:
            return self._rng.choice(WORDS[sort].split())
        return self.name(sort)

    def paragraph(self, number: int) -> tuple[str, list[str], dict]:
        """Generate a paragraph: the subject's name, the sentences, and the entry of a SQuAD file.

        Args:
          number: number of the paragraph, for unique question ids.
        """
        rng = self._rng
        kind = rng.choice(sorted(SUBJECTS))
        subject, name = SUBJECTS[kind], self.name(kind)
        pronoun = rng.choice(subject.pronouns)
        text, sentences, answers = "", [], []
        num_facts = FACTS_PER_V2_PARAGRAPH if self._is_v2 else FACTS_PER_PARAGRAPH
        for fact in rng.sample(subject.facts, num_facts):
            before, after = rng.choice(fact.sentences).split("{a}")
            may_use_pronoun = sentences and before.startswith("{s}")
            mention = pronoun if may_use_pronoun and rng.random() < 0.7 else name
            before, after = before.format(s=mention), after.format(s=mention)
            answer = self.answer(fact.sort)
            answers.append((fact, {"text": answer, "answer_start": len(text + before)}))
            sentences.append(f"{before[0].upper()}{before[1:]}{answer}{after}.")
            text += sentences[-1] + " "
        asked = self._asked(subject, answers)
        questions = [
            {
                "id": f"{kind}-{number}-{index}",
                "question": rng.choice(fact.questions).format(s=name),
                "answers": [answer] if answer else [],
                **({"is_impossible": not answer} if self._is_v2 else {}),
            }
            for index, (fact, answer) in enumerate(asked)
        ]
        return name, sentences, {"context": text.strip(), "qas": questions}

    def _asked(self, subject, answers):
        """Choose the facts to ask for, each with its answer, or None if it is left out."""
        if not self._is_v2:
            return self._rng.sample(answers, QUESTIONS_PER_PARAGRAPH)
        told = [fact for fact, _ in answers]
        left_out = [(fact, None) for fact in subject.facts if fact not in told]
        half = QUESTIONS_PER_PARAGRAPH // 2
        asked = self._rng.sample(answers, half) + self._rng.sample(left_out, half)
        self._rng.shuffle(asked)
        return asked


def make_files(
    directory: str | Path, paragraphs: int, heldout: int, seed: int, is_v2: bool = False
) -> None:
    """Write `train.json`, `heldout.json` and `corpus.txt`.

    Args:
      directory: output directory, created if missing.
      paragraphs: number of training paragraphs, with four questions each.
      heldout: number of held-out paragraphs.
      seed: seed of all random choices.
      is_v2: whether to write SQuAD v2.0, in which half of the questions have no answer.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    stems = name_stems()
    rng.shuffle(stems)
    writers = {
        "train": (Writer(rng, stems[HELDOUT_STEMS:], is_v2), paragraphs),
        "heldout": (Writer(rng, stems[:HELDOUT_STEMS], is_v2), heldout),
    }
    splits = {
        split: [writer.paragraph(number) for number in range(count)]
        for split, (writer, count) in writers.items()
    }
    for split, entries in splits.items():
        data = [{"title": name, "paragraphs": [paragraph]} for name, _, paragraph in entries]
        text = json.dumps({"version": "v2.0" if is_v2 else "1.1", "data": data}, indent=1)
        (directory / f"{split}.json").write_text(text, encoding="utf-8")
    documents = ("\n".join(sentences) + "\n" for _, sentences, _ in splits["train"])
    (directory / "corpus.txt").write_text("\n".join(documents), encoding="utf-8")


def main() -> None:
    """Generate the files from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", help="output directory")
    parser.add_argument(
        "--paragraphs", type=int, default=2000, help="number of training paragraphs"
    )
    parser.add_argument("--heldout", type=int, default=100, help="number of held-out paragraphs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--v2", action="store_true", help="SQuAD v2.0: half have no answer")
    args = parser.parse_args()
    make_files(args.directory, args.paragraphs, args.heldout, args.seed, args.v2)


if __name__ == "__main__":
    main()

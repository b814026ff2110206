"""Tests of SQuAD's sections of the report page."""

from __future__ import annotations

import json

import pytest

from albert_tf.report import blocks
from albert_tf.tasks.squad import report
from albert_tf.tasks.squad.data import Answer, Question

PASSAGE = "The tower was built in 1889 by Gustave Eiffel. 😀 It is in Paris."


def question(name, text, truth, passage=PASSAGE):
    answers = (Answer(truth, passage.find(truth)),) if truth else ()
    return Question(name, text, passage, answers)


def answer(*best, num_windows=1):
    entries = [{"text": text, "probability": p} for text, p in best]
    return {
        "n_best": entries,
        "starts": [PASSAGE.find(text) for text, _ in best],
        "num_windows": num_windows,
    }


QUESTIONS = [
    question("right", "Where is the tower?", "Paris"),
    question("partly", "By whom was it built?", "Gustave Eiffel"),
    question("sure", "In what year was it built?", "1889"),
    question("unsure", "How many years has it stood?", "1889"),
    question("unknown", "Is it red?", None),
]
ANSWERS = [
    answer(("Paris", 0.95), ("1889", 0.05)),
    answer(("Eiffel", 0.6), num_windows=2),
    answer(("Paris", 0.9), ("1889", 0.08), ("The tower", 0.01), ("was", 0.01)),
    answer(("Paris", 0.4), ("1889", 0.3)),
    answer(("Paris", 0.4)),
]


@pytest.fixture
def found():
    return report.outcomes(QUESTIONS, ANSWERS)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("What's the name?", "what"),
        ("In which year did what happen?", "which"),
        ("To whom does it belong?", "who"),
        ("Whose is it?", "who"),
        ("How much is it?", "how many"),
        ("How did it happen?", "how"),
        ("Name the year.", "other"),
    ],
)
def test_question_words(text, word):
    assert report.question_word(text) == word


def test_breakdowns_have_the_means_of_their_groups(found):
    by_word, by_answer, by_passage, by_windows = report.breakdowns(found, found)
    assert by_word.groups == ["what", "who", "where", "how many"]
    assert by_word.counts == [1, 1, 1, 1]
    assert by_word.series["F1"] == pytest.approx([0, 200 / 3, 100, 0])
    assert by_word.series["exact match"] == [0, 0, 100, 0]
    assert (by_answer.groups, by_answer.counts) == (["1", "2"], [3, 1])
    assert (by_passage.groups, by_passage.counts) == (["1 to 74"], [4])
    assert by_windows.groups == ["1", "2"]
    assert by_windows.series["F1"] == pytest.approx([100 / 3, 200 / 3])


def test_the_calibration_curve_has_the_means_of_its_bins(found):
    points = report.calibration(found).series["answers"]
    assert points == [pytest.approx(point) for point in ([0.4, 0], [0.6, 0], [0.925, 0.5])]


def test_questions_are_listed_worst_and_surest_first_with_their_answers_in_place(found):
    listing = report.listing(found)
    assert [item["rows"][-1][1] for item in listing.items] == ["sure", "unsure", "partly", "right"]
    states = [blocks.WRONG, blocks.WRONG, blocks.PARTLY_RIGHT, blocks.RIGHT]
    assert [item["state"] for item in listing.items] == states
    assert listing.passages == [PASSAGE]
    sure = listing.items[0]
    marked = [(PASSAGE[start:end], kind) for start, end, kind in sure["spans"]]
    assert marked == [("1889", "true"), ("Paris", "1"), ("1889", "2"), ("The tower", "3")]
    assert sure["rows"][:4] == [
        ["1", "Paris", "90.0%"],
        ["2", "1889", "8.0%"],
        ["3", "The tower", "1.0%"],
        ["✓", "1889", ""],
    ]


def test_without_true_answers_there_are_no_sections():
    assert report.sections(QUESTIONS[4:], ANSWERS[4:]) == []


def test_a_list_that_is_too_large_keeps_its_first_examples():
    passages = ["a" * 1000 + str(number) for number in range(10)]
    items = [blocks.example(f"<{p[-1]}>", passage=p) for p in passages for _ in range(2)]
    listing = blocks.fitting_examples("Texts", items, most_bytes=5 * 1400)
    assert 8 <= len(listing.items) < 14
    assert listing.total == 20
    assert listing.passages == passages[: len(listing.passages)]
    size = len(json.dumps(listing.as_json()).replace("<", "\\u003c").replace(">", "\\u003e"))
    assert size < 5 * 1400


def test_questions_without_an_answer():
    questions = [
        Question("has", "Who built it?", PASSAGE, QUESTIONS[1].answers, is_impossible=False),
        Question("none", "Who sold it?", PASSAGE, is_impossible=True),
        Question("missed", "Where is it?", PASSAGE, QUESTIONS[0].answers, is_impossible=False),
        Question("invented", "Where was it?", PASSAGE, is_impossible=True),
    ]
    answers = [
        {**answer((text, 0.5)), "null_score": score}
        for text, score in (("Gustave Eiffel", -3.0), ("1889", 4.0), ("Paris", 2.0), ("1889", -1.0))
    ]
    found = report.outcomes(questions, answers, threshold=1.0)
    assert [(o.f1, o.exact_match) for o in found] == [(1, 1), (1, 1), (0, 0), (0, 0)]
    kinds, without, _, listing = report.sections(questions, answers, 1.0)
    assert kinds.blocks[0].groups == ["has an answer", "has no answer"]
    assert kinds.blocks[0].series["F1"] == [50, 50]
    assert kinds.blocks[2].counts == [1, 1]  # by length of the answer: only where there is one
    histogram, curves = without.blocks
    assert sum(histogram.series["has an answer"]) == 2
    assert histogram.vertical == {"threshold 1": 1.0}
    inner = dict(map(tuple, curves.series["F1"]))  # the lowest and the highest 1% are left out
    assert inner == {-1.0: 50.0, 2.0: 75.0}
    items = listing.blocks[0].items
    assert {item["rows"][-1][1]: item["state"] for item in items} == {
        "has": blocks.RIGHT,
        "none": blocks.RIGHT,
        "missed": blocks.WRONG,
        "invented": blocks.WRONG,
    }
    missed = next(item for item in items if item["rows"][-1][1] == "missed")
    assert missed["facts"] == ["F1 0", "no answer"]
    assert missed["groups"] == ["where", "has an answer"]
    assert ["", "no answer", "2"] in missed["rows"]

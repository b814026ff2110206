"""SQuAD: sections of the report page, from the predictions of a checkpoint."""

from __future__ import annotations

import bisect
import collections
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np

from albert_tf.report.blocks import (
    PARTLY_RIGHT,
    RIGHT,
    TRUE_SPAN,
    WRONG,
    Bars,
    Block,
    Histogram,
    Lines,
    Section,
    example,
    fitting_examples,
)
from albert_tf.tasks.squad import metrics
from albert_tf.tasks.squad.data import Question

QUESTION_WORDS = ("what", "which", "who", "when", "where", "why", "how many", "how", "other")

_FORMS = {"whom": "who", "whose": "who"}
_AMOUNTS = ("many", "much", "long", "old", "far", "often", "large", "big", "tall", "high")
_ANSWER_WORDS = (2, 3, 4, 6, 11)  # starts of the bins of lengths after the first, in words
_PASSAGE_WORDS = (75, 125, 175, 250, 400)
_WINDOWS = (2, 3, 4, 6)
_CALIBRATION_BINS = 10
_SCORE_BINS = 40
_ANSWERABILITIES = ("has an answer", "has no answer")
_NO_ANSWER = "no answer"
_SHOWN_ANSWERS = 3
_EXAMPLES_BYTES = 16_000_000  # there is one list in a page


@dataclass(frozen=True)
class Outcome:
    """A question with its predicted answers, and their scores against the true answers.

    Attributes:
      question: the question.
      answer: its prediction; see `AnswerCollector.answer`.
      f1: F1 of the answer, 0 to 1.
      exact_match: exact match of the answer, 0 or 1.
      has_prediction: whether the best span is the answer, and not "no answer".
    """

    question: Question
    answer: Mapping[str, Any]
    f1: float
    exact_match: int
    has_prediction: bool

    @property
    def probability(self) -> float:
        """Probability of the best span among the n best."""
        return self.answer["n_best"][0]["probability"]


def sections(
    questions: Sequence[Question], answers: Sequence[dict[str, Any]], threshold: float | None = None
) -> list[Section]:
    """Sections of the report page; none without true answers.

    Args:
      questions: all questions; of SQuAD v2.0, it is known which of them have an answer.
      answers: predictions of `SquadTask` for them, in the same order.
      threshold: score of "no answer" at or above which that is the prediction; None in v1.1.
    """
    found = outcomes(questions, answers, threshold)
    if not found:
        return []
    answerable = [outcome for outcome in found if not outcome.question.is_impossible]
    kinds, without = breakdowns(found, answerable), []
    if threshold is not None:
        by_answer = _bars(
            "By whether there is an answer", "the passage", found, _answerability, _ANSWERABILITIES
        )
        kinds.insert(0, by_answer)
        without = [Section("Questions without an answer", threshold_charts(found, threshold))]
    return [
        Section("F1 and exact match by kind of question", kinds),
        *without,
        Section("Probabilities", [calibration(answerable)] if answerable else []),
        Section("Questions", [listing(found)]),
    ]


def outcomes(
    questions: Sequence[Question], answers: Sequence[dict[str, Any]], threshold: float | None = None
) -> list[Outcome]:
    """Score the predictions for the questions with known true answers; see `sections`."""
    found = []
    for question, answer in zip(questions, answers):
        best = answer["n_best"][0]["text"]
        has_prediction = threshold is None or answer["null_score"] < threshold
        if threshold is not None:
            scores = metrics.v2_scores(question, best if has_prediction else "")
        elif question.answers:
            scores = metrics.question_scores(question, best)
        else:
            continue
        found.append(Outcome(question, answer, *scores, has_prediction))
    return found


def threshold_charts(found: Sequence[Outcome], threshold: float) -> list[Block]:
    """Scores of "no answer", and F1 and exact match for each threshold."""
    scores = np.array([outcome.answer["null_score"] for outcome in found])
    low, high = np.percentile(scores, (1, 99))
    edges = np.linspace(low, max(high, low + 1e-3), _SCORE_BINS + 1)
    clipped = np.clip(scores, edges[0], edges[-1])
    is_impossible = np.array([bool(outcome.question.is_impossible) for outcome in found])
    series = {
        name: np.histogram(clipped[is_impossible == group], edges)[0].tolist()
        for group, name in enumerate(_ANSWERABILITIES)
    }
    line = {f"threshold {threshold:.3g}": threshold}
    order = np.argsort(scores, kind="stable")
    span_scores = np.array(
        [metrics.v2_scores(o.question, o.answer["n_best"][0]["text"]) for o in found]
    )
    # With a threshold just above the n-th score, the first n questions have their span.
    gains = (span_scores - is_impossible[:, np.newaxis])[order]
    percent = 100 * (is_impossible.sum() + np.cumsum(gains, axis=0)) / len(found)
    is_shown = (edges[0] <= scores[order]) & (scores[order] <= edges[-1])
    curves = {
        name: np.stack([scores[order], values], axis=1)[is_shown].tolist()
        for name, values in zip(("F1", "exact match"), percent.T)
    }
    return [
        Histogram(
            "Scores of “no answer”",
            "score (logit)",
            float(edges[0]),
            float(edges[1] - edges[0]),
            series,
            line,
            "If the score reaches the threshold, the prediction is “no answer”. Scores beyond the "
            "ends count in the first and the last bin.",
        ),
        Lines("F1 and exact match by threshold", "threshold", "percent", curves, vertical=line),
    ]


def _answerability(outcome: Outcome) -> str:
    return _ANSWERABILITIES[bool(outcome.question.is_impossible)]


def question_word(text: str) -> str:
    """Question word of a question, one of `QUESTION_WORDS`; the first if there are several."""
    words = [word.strip("?,.;:!\"'()").split("'")[0] for word in text.lower().split()]
    for number, word in enumerate(words):
        word = _FORMS.get(word, word)
        if word == "how" and words[number + 1 : number + 2] and words[number + 1] in _AMOUNTS:
            return "how many"
        if word in QUESTION_WORDS and word != "other":
            return word
    return "other"


def breakdowns(found: Sequence[Outcome], answerable: Sequence[Outcome]) -> list[Block]:
    """Charts of F1 and exact match by properties of the questions.

    Args:
      found: all questions.
      answerable: questions that have an answer; all are shown if there are none.
    """
    return [
        _bars(
            "By question word",
            "question word",
            found,
            lambda o: question_word(o.question.text),
            QUESTION_WORDS,
        ),
        _binned(
            "By length of the answer",
            "words in the true answer",
            answerable or found,
            lambda o: len(o.question.answers[0].text.split()) if o.question.answers else 1,
            _ANSWER_WORDS,
        ),
        _binned(
            "By length of the passage",
            "words in the passage",
            found,
            lambda o: len(o.question.paragraph.split()),
            _PASSAGE_WORDS,
        ),
        _binned(
            "By number of windows",
            "windows of the passage",
            found,
            lambda o: max(o.answer["num_windows"], 1),
            _WINDOWS,
        ),
    ]


def _binned(
    caption: str,
    axis: str,
    found: Sequence[Outcome],
    value_of: Callable[[Outcome], int],
    starts: Sequence[int],
) -> Bars:
    """Chart by a number, in bins that begin at 1 and at `starts`."""
    names = [_bin_name(*pair) for pair in zip((1, *starts), (*starts, None))]
    return _bars(
        caption, axis, found, lambda o: names[bisect.bisect_right(starts, value_of(o))], names
    )


def _bin_name(first: int, following: int | None) -> str:
    if following is None:
        return f"{first} or more"
    return str(first) if following == first + 1 else f"{first} to {following - 1}"


def _bars(
    caption: str,
    axis: str,
    found: Iterable[Outcome],
    group_of: Callable[[Outcome], str],
    groups: Sequence[str],
) -> Bars:
    """Chart of the mean scores of each group that has questions."""
    members = collections.defaultdict(list)
    for outcome in found:
        members[group_of(outcome)].append(outcome)
    groups = [group for group in groups if group in members]
    return Bars(
        caption,
        axis,
        groups,
        {
            "F1": [100 * fmean(o.f1 for o in members[group]) for group in groups],
            "exact match": [100 * fmean(o.exact_match for o in members[group]) for group in groups],
        },
        counts=[len(members[group]) for group in groups],
        unit="percent",
        top=100,
    )


def calibration(found: Sequence[Outcome]) -> Block:
    """Exact match by the probability of the best answer, in bins of equal width."""
    bins = collections.defaultdict(list)
    for outcome in found:
        index = min(int(outcome.probability * _CALIBRATION_BINS), _CALIBRATION_BINS - 1)
        bins[index].append((outcome.probability, outcome.exact_match))
    points = [
        [sum(column) / len(members) for column in zip(*members)]
        for _, members in sorted(bins.items())
    ]
    return Lines(
        "Calibration: exact match by the probability of the best answer",
        "probability among the n best",
        "share of exact matches",
        {"answers": points},
        has_diagonal=True,
        has_dots=True,
    )


def listing(found: Sequence[Outcome]) -> Block:
    """The questions, worst first; among equally wrong ones the most confident first."""
    worst_first = sorted(found, key=lambda o: (max(o.f1, o.exact_match), -o.probability))
    words = {question_word(outcome.question.text) for outcome in found}
    filters: dict[str, Sequence[str]] = {
        "Question word": [word for word in QUESTION_WORDS if word in words]
    }
    if "null_score" in found[0].answer:
        filters["The passage"] = _ANSWERABILITIES
    return fitting_examples(
        "Questions, worst first",
        [_example(outcome) for outcome in worst_first],
        _EXAMPLES_BYTES,
        filters=filters,
        columns=("", "answer", "probability"),
        legend={
            TRUE_SPAN: "✓ true answers",
            "1": "1 best answer",
            "2": "2, 3 next answers",
        },
    )


def _example(outcome: Outcome) -> dict[str, Any]:
    question, answer = outcome.question, outcome.answer
    state = RIGHT if outcome.exact_match else PARTLY_RIGHT if outcome.f1 > 0 else WRONG
    facts = [f"F1 {100 * outcome.f1:.0f}"]
    if outcome.has_prediction:
        facts += [f"“{answer['n_best'][0]['text']}”", f"{100 * outcome.probability:.0f}%"]
    else:
        facts.append(_NO_ANSWER)
    rows, groups = [], [question_word(question.text)]
    marked = [[*span, TRUE_SPAN] for span in sorted(_true_spans(question))]
    best = zip(answer["n_best"][:_SHOWN_ANSWERS], answer["starts"])
    for number, (entry, start) in enumerate(best, 1):
        rows.append([str(number), entry["text"], f"{100 * entry['probability']:.1f}%"])
        if start is not None:
            marked.append([start, start + len(entry["text"]), str(number)])
    if "null_score" in answer:
        rows.append(["", _NO_ANSWER, f"{answer['null_score']:.3g}"])
        groups.append(_answerability(outcome))
    truths = list(dict.fromkeys(answer.text for answer in question.answers)) or [_NO_ANSWER]
    rows += [["✓", text, ""] for text in truths]
    rows.append(["id", question.id, ""])
    return example(
        question.text,
        state=state,
        facts=facts,
        groups=groups,
        passage=question.paragraph,
        spans=marked,
        rows=rows,
    )


def _true_spans(question: Question) -> set[tuple[int, int]]:
    """Start and end of the true answers that are at their offsets, without duplicates."""
    return {
        (answer.start, answer.start + len(answer.text))
        for answer in question.answers
        if answer.start >= 0 and question.paragraph.startswith(answer.text, answer.start)
    }

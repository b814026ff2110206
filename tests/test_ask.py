"""Tests of ask.py: answers from a checkpoint and from an exported model."""

from __future__ import annotations

import csv
import gc
import json
from dataclasses import asdict

import numpy as np
import pytest

import ask
from albert_tf.inference.question_answering import Model, checkpoint_scorer, load_model
from albert_tf.inference.trained_model import read_text
from albert_tf.io.errors import InputError
from albert_tf.tasks.squad.data import V2, Question, read_squad
from albert_tf.tasks.squad.features import Feature
from albert_tf.tasks.squad.settings import NullAnswerSettings
from albert_tf.tasks.squad.v2 import THRESHOLD
from golden import checkpoint_of, tiny_config
from scripts import (
    SAMPLE_MODEL,
    SAMPLE_PREDICT,
    SAMPLE_V2_PREDICT,
    SQUAD_CHECKPOINT,
    SQUAD_V2_FLAGS,
    TINY_CONFIG,
    fail,
    run_script,
    run_squad,
    run_squad_v2,
    succeed,
)

SETTINGS = {"max_seq_length": 96, "doc_stride": 32, "max_query_length": 24}
SQUAD_V2_CHECKPOINT = SQUAD_V2_FLAGS["init_checkpoint"]
ANSWER_SETTINGS = NullAnswerSettings(**SETTINGS)
MODEL = {"albert_config_file": TINY_CONFIG, "spm_model_file": SAMPLE_MODEL}


@pytest.fixture(scope="module")
def n_best(tmp_path_factory):
    """N-best lists of run_squad_v1.py on the sample."""
    directory = tmp_path_factory.mktemp("predicted")
    succeed(run_squad(directory, do_train=False))
    return json.loads((directory / "nbest_predictions.json").read_text())


def test_answers_are_those_of_a_run(n_best, sample_tokenizer):
    """Compare the answers to the last question of each paragraph."""
    scorer = checkpoint_scorer(tiny_config(), str(SQUAD_CHECKPOINT))
    model = Model(sample_tokenizer, scorer, ANSWER_SETTINGS)
    questions = read_squad(str(SAMPLE_PREDICT), False)
    for paragraph, question in {question.paragraph: question for question in questions}.items():
        answers = model.answer(question.text, paragraph)
        expected = n_best[question.id]
        assert [answer.text for answer in answers] == [entry["text"] for entry in expected]
        assert [answer.probability for answer in answers] == pytest.approx(
            [entry["probability"] for entry in expected], abs=1e-4
        )
        for answer in answers:
            assert paragraph[answer.start : answer.end] == answer.text
            line = paragraph.split("\n")[answer.line - 1]
            first_line = answer.text.split("\n")[0]
            assert line[answer.column - 1 :].startswith(first_line)


@pytest.fixture
def page(tmp_path):
    """Path of a text file with a title and a paragraph of the sample, and a question about it."""
    question = read_squad(str(SAMPLE_PREDICT), False)[0]
    text = f"\ufeffA title\r\n{question.paragraph}"
    (tmp_path / "page.txt").write_bytes(text.encode())
    return tmp_path / "page.txt", question.text


def ask_by_command(page, **flags):
    path, question = page
    return run_script("ask.py", {"text_file": path, "question": question, **flags})


def test_a_checkpoint_and_an_exported_model_answer_alike(page, exported):
    """The exported model needs no flags for config, tokenizer and settings."""
    options = {"json": True, "num_answers": 3}
    results = [
        ask_by_command(page, model=exported.parent, **options),
        ask_by_command(page, model=SQUAD_CHECKPOINT, **options, **MODEL, **SETTINGS),
    ]
    for result in results:
        succeed(result)
    answers, same_answers = (json.loads(result.stdout) for result in results)
    text = page[0].read_bytes().decode("utf-8-sig")
    assert len(answers) == 3
    for answer, same in zip(answers, same_answers):
        assert text[answer["start"] : answer["end"]] == answer["text"]
        rounded = {x: pytest.approx(same[x], abs=1e-4) for x in ("probability", "score")}
        assert answer == {**same, **rounded}

    shown = run_script(
        "ask.py",
        {"model": exported, "text_file": "-", "question": page[1]},
        input=page[0].read_bytes().decode(),
    )
    assert succeed(shown) == ""
    best = answers[0]
    assert shown.stdout.splitlines() == [
        *best["text"].splitlines(),
        f"  probability {best['probability']:.3f}; standard input, line {best['line']}, column "
        f"{best['column']} (characters {best['start']} to {best['end']})",
    ]


def test_all_missing_flags_are_told_at_once():
    lines = fail(run_script("ask.py", {"model": " "}))
    assert [line.split()[1] for line in lines] == ["--model", "--text_file", "--question"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"question": " "}, "--question is missing"),
        ({"model": "none"}, "--model none: No such file or directory; correct the path"),
        ({"albert_config_file": None}, "give --albert_config_file"),
    ],
)
def test_flags_that_are_wrong(page, flags, message):
    (line,) = fail(ask_by_command(page, **{"model": SQUAD_CHECKPOINT, **MODEL, **flags}))
    assert message in line


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.txt", "none.txt: cannot read the text: No such file"),
        (str(SAMPLE_MODEL), "sample.model: the text is not UTF-8"),
        ("/dev/null", "the file has no text"),
    ],
)
def test_texts_that_cannot_be_read(path, message):
    with pytest.raises(InputError, match=message):
        read_text(path)


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """Output directory of run_squad_v2.py for the sample, and its exported model."""
    directory = tmp_path_factory.mktemp("answered")
    succeed(run_squad_v2(directory / "run", do_train=False, export_dir=directory / "export"))
    return directory / "run", directory / "export"


def test_a_model_of_squad_v2_may_find_no_answer(answered, page, tmp_path):
    """The threshold is that of the exported model, or of thresholds.json beside a checkpoint."""
    directory, export = answered
    n_best, null_odds = (
        json.loads((directory / name).read_text())
        for name in ("nbest_predictions.json", "null_odds.json")
    )
    found = json.loads((directory / "thresholds.json").read_text())[THRESHOLD]
    assert load_model(str(export)).settings.null_score_diff_threshold == found
    questions = read_squad(str(SAMPLE_V2_PREDICT), False, V2)
    asked = {question.paragraph: question for question in questions}
    *_, below, above = sorted(null_odds[question.id] for question in asked.values())[:6]
    model = load_model(str(export), settings={THRESHOLD: (below + above) / 2})
    counts = [0, 0]
    for paragraph, question in asked.items():
        answers, score = model.answer(question.text, paragraph), null_odds[question.id]
        has_none = bool(answers) and answers[0].is_none
        assert has_none == (score >= above)
        counts[has_none] += 1
        if has_none:
            none = answers.pop(0)
            assert none.probability == pytest.approx(1 / (1 + np.exp(-score)), abs=1e-5)
        expected = [entry for entry in n_best[question.id] if entry["start_log_prob"] > -1e6]
        assert [answer.text for answer in answers] == [entry["text"] for entry in expected]
        assert [answer.probability for answer in answers] == pytest.approx(
            [entry["probability"] for entry in expected], abs=1e-4
        )
    assert min(counts) > 3

    for path in SQUAD_V2_CHECKPOINT.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "thresholds.json").write_bytes((directory / "thresholds.json").read_bytes())
    flags = {"model": tmp_path, **MODEL, **SETTINGS, "num_answers": 2}
    result = ask_by_command(page, **flags, json=True)
    succeed(result)
    path, question = page
    expected = load_model(str(export)).answer(question, read_text(str(path)))[:2]
    assert expected[0].is_none
    assert json.loads(result.stdout) == [
        {
            **asdict(answer),
            "probability": pytest.approx(answer.probability, abs=1e-4),
            "score": pytest.approx(answer.score, abs=1e-4),
        }
        for answer in expected
    ]
    shown = ask_by_command(page, **flags, null_score_diff_threshold=-1000)
    succeed(shown)
    assert shown.stdout.splitlines()[:2] == [
        "no answer",
        f"  probability {expected[0].probability:.3f}",
    ]


def test_a_checkpoint_of_another_task():
    with pytest.raises(InputError, match=r"classifier/model\.ckpt-best.* cls/squad/output_weights"):
        checkpoint_scorer(tiny_config(), checkpoint_of("classifier"))


def test_no_room_for_the_text(sample_tokenizer):
    with pytest.raises(InputError, match="--max_seq_length 20 leaves no room for the paragraph"):
        Model(sample_tokenizer, None, NullAnswerSettings(max_seq_length=20)).answer("a", "b")


def test_no_answer(sample_tokenizer):
    """No span is valid if all best starts are in the question."""

    def scorer(inputs):
        scores = np.arange(inputs["input_ids"].size, 0.0, -1.0).reshape([1, -1])
        return {"start_log_prob": scores, "end_log_prob": scores}

    question = "who built the tower on the hill by the sea"
    model = Model(sample_tokenizer, scorer, NullAnswerSettings(n_best_size=3))
    assert model.answer(question, "he") == []


TEXTS_OF_ANY_KIND = {
    "table": "".join(f"{number:<40}{'stone':<40}lamp\n" for number in range(300)) + "last    gold",
    "source code": "".join(f"{' ' * 16}lamp({number})\n" for number in range(300)) + "\tgold",
    "combining characters": "lamp " + "\u0301\u0327" * 5000 + " gold",
    "Hangul": "한국어 나라 " * 300 + " gold",
    "one word": "lamp" * 3000 + " gold",
}


@pytest.mark.parametrize("name", TEXTS_OF_ANY_KIND)
def test_any_text_has_an_answer(sample_tokenizer, name):
    gold = sample_tokenizer.ids_of_text("gold", True)

    def scorer(inputs):
        """Scores of 1 where the answer "gold" starts and ends."""
        starts, ends = np.zeros([2, *inputs["input_ids"].shape])
        for row, ids in enumerate(inputs["input_ids"].tolist()):
            for place in range(len(ids)):
                if ids[place : place + len(gold)] == gold:
                    starts[row, place] = ends[row, place + len(gold) - 1] = 1
        return {"start_log_prob": starts, "end_log_prob": ends}

    text = TEXTS_OF_ANY_KIND[name]
    answers = Model(sample_tokenizer, scorer, ANSWER_SETTINGS).answer("where?", text)
    assert answers[0].text == "gold"
    assert answers[0].start == len(text) - 4
    assert answers[0].end == len(text)


def test_a_text_of_combining_characters_alone(sample_tokenizer):
    assert Model(sample_tokenizer, None, ANSWER_SETTINGS).answer("where?", "\u0301" * 9) == []


def test_windows_are_scored_as_they_are_made(sample_tokenizer):
    """At no time are there more features than a batch needs."""
    counts = []

    def scorer(inputs):
        counts.append(sum(isinstance(thing, Feature) for thing in gc.get_objects()))
        zeros = np.zeros(inputs["input_ids"].shape)
        return {"start_log_prob": zeros, "end_log_prob": zeros}

    settings = NullAnswerSettings(predict_batch_size=4, **SETTINGS)
    Model(sample_tokenizer, scorer, settings).answer("where?", "the lamp was lit " * 300)
    assert len(counts) > 10
    assert max(counts) <= 8


def test_many_questions_are_answered_like_each_alone(sample_tokenizer):
    """Batches have windows of several questions, also of one whose text has no pieces."""
    scorer = checkpoint_scorer(tiny_config(), str(SQUAD_CHECKPOINT))
    questions = read_squad(str(SAMPLE_PREDICT), False)[:5]
    questions.insert(2, Question("none", "Where?", "\u0301" * 9))
    settings = NullAnswerSettings(predict_batch_size=7, **SETTINGS)
    model = Model(sample_tokenizer, scorer, settings)
    for question, answers in zip(questions, model.answer_all(questions)):
        alone = model.answer(question.text, question.paragraph)
        assert [(x.text, x.start) for x in answers] == [(x.text, x.start) for x in alone]
        for name in ("probability", "score"):
            values = [[getattr(answer, name) for answer in x] for x in (answers, alone)]
            assert values[0] == pytest.approx(values[1], abs=1e-4)
        assert bool(answers) == (question.id != "none")


def test_questions_of_a_file_and_of_a_directory(tmp_path, exported):
    questions = read_squad(str(SAMPLE_PREDICT), False)
    first, last = questions[0], questions[-1]
    (tmp_path / "pages").mkdir()
    for question, name in ((first, "first.txt"), (last, "last.txt")):
        (tmp_path / "pages" / name).write_text(question.paragraph, encoding="utf-8")
    lines = [
        {"id": "a", "question": first.text, "text": first.paragraph},
        {"id": "b", "question": last.text, "text_file": "pages/last.txt"},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    model = load_model(str(exported))

    settings = {"model": str(exported), "answers_file": str(tmp_path / "answers.csv")}
    ask.main(ask.Settings(questions_file=str(path), num_answers=2, **settings))
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["rank"]) for row in rows] == [
        (name, rank) for name in "ab" for rank in "12"
    ]
    for question, pair in ((first, rows[:2]), (last, rows[2:])):
        expected = model.answer(question.text, question.paragraph)
        for row, answer in zip(pair, expected):
            assert (row["answer"], row["start"]) == (answer.text, str(answer.start))
            assert float(row["probability"]) == pytest.approx(answer.probability, abs=1e-4)

    settings["answers_file"] = str(tmp_path / "ranked.jsonl")
    ask.main(ask.Settings(text_dir=str(tmp_path / "pages"), question=first.text, **settings))
    lines = (tmp_path / "ranked.jsonl").read_text(encoding="utf-8").splitlines()
    ranked = [json.loads(line) for line in lines]
    assert {row["id"] for row in ranked} == {"first.txt", "last.txt"}
    assert [row["rank"] for row in ranked] == [1, 2]
    assert ranked[0]["score"] > ranked[1]["score"]
    for row in ranked:
        text = (tmp_path / "pages" / row["id"]).read_text(encoding="utf-8")
        assert text[row["start"] : row["end"]] == row["answer"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"text_file": "x"}, "give one of --text_file, --questions_file and --text_dir"),
        ({"text_dir": "x"}, "give one of --text_file, --questions_file and --text_dir"),
        ({"question": "Who?"}, "--question: give it with --text_dir"),
        ({"model": None}, "--model is missing"),
        ({"answers_file": "x.doc"}, r"x\.doc: the name does not tell the format"),
    ],
)
def test_flags_of_many_questions(tmp_path, flags, message):
    (tmp_path / "x.csv").write_text("question,text\nWho?,He.\n")
    given = {"model": "none", "questions_file": str(tmp_path / "x.csv"), **flags}
    with pytest.raises(InputError, match=message):
        ask.main(ask.Settings(**given))

"""Reading of RACE, and errors in its articles."""

from __future__ import annotations

import json
import shutil

import pytest

from albert_tf.io.errors import InputError
from albert_tf.tasks.race.data import LETTERS, LEVELS, find_articles, read_articles
from scripts import SAMPLE_RACE


@pytest.fixture
def articles():
    """The articles of the sample's dev set, as JSON values."""
    lines = (SAMPLE_RACE / "dev/middle/all.txt").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write(directory, articles, split="dev", level="middle"):
    """Write articles as published: a file for each, numbered from 9 on."""
    folder = directory / "RACE" / split / level
    folder.mkdir(parents=True)
    for number, article in enumerate(articles, 9):
        (folder / f"{number}.txt").write_text(json.dumps(article), encoding="utf-8")
    return folder


def read(path, needs_answers=True):
    return read_articles(str(path), "middle", needs_answers)


def test_the_sample():
    paths = find_articles(str(SAMPLE_RACE), "dev", LEVELS)
    assert paths == {
        "dev/middle": str(SAMPLE_RACE / "dev/middle/all.txt"),
        "dev/high": str(SAMPLE_RACE / "dev/high/all.txt"),
    }
    questions = read(paths["dev/middle"])
    assert [question.id for question in questions] == [
        "middle1.txt-0",
        "middle1.txt-1",
        "middle2.txt-0",
    ]
    assert [LETTERS[question.label] for question in questions] == ["B", "C", "B"]
    assert questions[0].article == questions[1].article
    assert questions[0].level == "middle"
    assert [len(question.options) for question in questions] == [4, 4, 4]


def test_both_layouts_have_the_same_questions(articles, tmp_path):
    folder = write(tmp_path, articles)
    (folder / ".10.txt").write_text("of another program")
    assert find_articles(str(tmp_path), "dev", ["middle"]) == {"dev/middle": str(folder)}
    expected = read(SAMPLE_RACE / "dev/middle/all.txt")
    assert read(folder) == expected
    shutil.copy(SAMPLE_RACE / "dev/middle/all.txt", folder)
    assert find_articles(str(tmp_path / "RACE"), "dev", ["middle"]) == {
        "dev/middle": str(folder / "all.txt")
    }


def test_articles_without_questions_and_unanswered_test_questions(articles, tmp_path):
    articles[0].update(questions=[], options=[], answers=[])
    del articles[1]["answers"]
    (question,) = read(write(tmp_path, articles, "test"), needs_answers=False)
    assert (question.id, question.label) == ("middle2.txt-0", None)


def test_missing_articles(articles, tmp_path):
    write(tmp_path, articles)
    with pytest.raises(InputError) as error:
        find_articles(str(tmp_path), "dev", LEVELS)
    assert str(error.value) == (
        f"{tmp_path}/RACE/dev/high: no articles (*.txt) there; give the whole of RACE (--data_dir "
        "is its directory or the parent directory), or use one level (--middle_only, --high_only)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": ["B", "E"]}, 'answers[1] is "E", not one of A, B, C, D'),
        ({"answers": ["B", "b"]}, 'answers[1] is "b", not one of A, B, C, D'),
        ({"answers": ["B", 2]}, "answers[1] is 2, not a string"),
        ({"options": [["a", "b", "c"], ["a"] * 4]}, "options[0] has 3 entries, not 4"),
        ({"options": [["a"] * 5, ["a"] * 4]}, "options[0] has 5 entries, not 4"),
        ({"options": ["abcd", ["a"] * 4]}, 'options[0] is "abcd", not a list of strings'),
        ({"article": " \n"}, "the article is empty"),
        ({"article": None}, "article is null, not a string"),
        ({"questions": ["Why?"]}, "1 questions, but 2 lists of options and 2 answers"),
        ({"id": "middle2.txt"}, 'the id "middle2.txt" is also the id of '),
    ],
)
def test_faults_of_an_article(articles, tmp_path, changes, message):
    articles[0].update(changes)
    folder = write(tmp_path, articles[::-1])
    with pytest.raises(InputError) as error:
        read(folder)
    (line,) = error.value.args
    assert line.startswith(f"{folder}/10.txt: {message}")
    assert line.endswith("; correct the article, or download RACE again")


def test_faults_of_a_line(tmp_path):
    path = tmp_path / "all.txt"
    text = (SAMPLE_RACE / "dev/middle/all.txt").read_text(encoding="utf-8")
    path.write_text(text.replace('"answers"', "answers", 1), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}, line 1: not valid JSON: ")
    path.write_text("\n")
    with pytest.raises(InputError, match="no questions there"):
        read(path)


def test_the_first_faulty_articles_are_told_and_the_others_counted(articles, tmp_path):
    faulty = [{**articles[0], "id": f"{number}.txt", "article": ""} for number in range(8)]
    folder = write(tmp_path, faulty)
    with pytest.raises(InputError) as error:
        read(folder)
    assert [line.partition(": ")[0] for line in error.value.args] == [
        *(f"{folder}/{number}.txt" for number in range(9, 14)),
        str(folder),
    ]
    assert "and 3 more articles like these" in error.value.args[-1]

"""The generated data set, and the quickstart on a little of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

import squad_data
from scripts import ROOT

EXAMPLES = ROOT / "examples"
FILES = ("train.json", "heldout.json", "corpus.txt")


def make(directory, *arguments):
    command = [sys.executable, str(EXAMPLES / "make_squad.py"), str(directory), *arguments]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with the files of 200 training and 50 held-out paragraphs."""
    directory = tmp_path_factory.mktemp("made")
    make(directory, "--paragraphs=200", "--heldout=50")
    return directory


def test_the_same_seed_makes_the_same_files(made, tmp_path):
    make(tmp_path / "same", "--paragraphs=200", "--heldout=50", "--seed=1")
    make(tmp_path / "other", "--paragraphs=200", "--heldout=50", "--seed=2")
    for file in FILES:
        content = (made / file).read_bytes()
        assert content == (tmp_path / "same" / file).read_bytes()
        assert content != (tmp_path / "other" / file).read_bytes()


def test_answers_are_whole_words_at_their_offsets(made):
    for file, count in (("train.json", 200), ("heldout.json", 50)):
        articles = json.loads((made / file).read_text())["data"]
        assert len(articles) == count
        for article in articles:
            (paragraph,) = article["paragraphs"]
            assert len(paragraph["qas"]) == 4
            for question in paragraph["qas"]:
                (answer,) = question["answers"]
                start = answer["answer_start"]
                words = re.compile(rf"\b{re.escape(answer['text'])}\b")
                assert words.match(paragraph["context"], start)


def test_no_held_out_subject_is_in_the_training_text(made):
    corpus = (made / "corpus.txt").read_text()
    articles = json.loads((made / "heldout.json").read_text())["data"]
    for article in articles:
        assert article["title"].split()[-1] not in corpus


def test_the_corpus_has_the_sentences_of_the_training_paragraphs(made):
    documents = (made / "corpus.txt").read_text().rstrip("\n").split("\n\n")
    paragraphs = squad_data.read_squad(str(made / "train.json"), for_training=True)
    assert [" ".join(d.split("\n")) for d in documents] == [p.text for p in paragraphs]
    assert all(line.endswith(".") for d in documents for line in d.split("\n"))


def test_quickstart_shows_answers_and_both_figures(tmp_path):
    command = [sys.executable, str(EXAMPLES / "quickstart.py"), str(tmp_path)]
    command += ["--paragraphs=100", "--steps=30"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.count("python run_squad_v1.py") == 2
    assert len(re.findall(r"  question:  .*\n  predicted: .*\n  true:      .+\n", output)) == 6
    figures = r"untrained  exact match +\d+\.\d  F1 +\d+\.\d\ntrained    exact match +\d+\.\d  F1 +"
    assert re.search(figures, output)

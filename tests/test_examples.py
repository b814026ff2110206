"""Tests of the examples: generated data sets, short runs, and training on the generated data."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from absl import flags

import ask
import convert_checkpoint
import report
import run_classifier as run_classifier_script
from albert_tf.cli import flags as run_flags
from albert_tf.downloads.settings import DataSetSettings, ModelDownloadSettings
from albert_tf.run import checks
from albert_tf.tasks.glue.data import TASKS, read_examples
from albert_tf.tasks.pretraining.settings import RecordSettings
from albert_tf.tasks.race.data import LEVELS, read_articles
from albert_tf.tasks.squad.data import V2, read_squad
from readme_commands import readme_block, readme_blocks
from scripts import (
    ROOT,
    TINY_CONFIG,
    interruptible,
)
from task_factory import task_and_settings

EXAMPLES = ROOT / "examples"
FILES = ("train.json", "heldout.json", "corpus.txt")


def make(directory, *arguments, script="make_squad.py"):
    command = [sys.executable, str(EXAMPLES / script), str(directory), *arguments]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Directory with the files of 200 training and 50 held-out paragraphs."""
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
    questions = read_squad(str(made / "train.json"), for_training=True)
    paragraphs = dict.fromkeys(question.paragraph for question in questions)
    assert [" ".join(d.split("\n")) for d in documents] == list(paragraphs)
    assert all(line.endswith(".") for d in documents for line in d.split("\n"))


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """Directory of a short quickstart, and its output."""
    directory = tmp_path_factory.mktemp("quickstart")
    command = [sys.executable, str(EXAMPLES / "quickstart.py"), str(directory)]
    command += ["--paragraphs=100", "--steps=30"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return directory, result.stdout


@pytest.mark.examples
def test_quickstart_shows_answers_and_both_metrics(quickstart):
    _, output = quickstart
    assert output.count("python run_squad_v1.py") == 2
    assert len(re.findall(r"  question:  .*\n  predicted: .*\n  true:      .+\n", output)) == 6
    metrics = r"untrained  exact match +\d+\.\d  F1 +\d+\.\d\ntrained    exact match +\d+\.\d  F1 +"
    assert re.search(metrics, output)


@pytest.mark.examples
def test_ctrl_c_ends_quickstart_without_a_traceback(tmp_path):
    """The signal goes to the whole foreground group, as from a terminal."""
    command = [sys.executable, str(EXAMPLES / "quickstart.py"), str(tmp_path), "--paragraphs=100"]
    process = subprocess.Popen(
        interruptible(command),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if "step 1 of" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "stopped by SIGINT at step" in rest
    assert "Traceback" not in rest


def write_small_config(directory, vocab_size):
    """Write the config of a small model; return its path."""
    config = json.loads(TINY_CONFIG.read_text())
    config.update(embedding_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2)
    config.update(initializer_range=0.1, vocab_size=vocab_size)
    path = directory / "albert_config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def made_glue(tmp_path_factory):
    """Directory with the generated GLUE tasks and the config of a small model."""
    directory = tmp_path_factory.mktemp("glue")
    make(directory, script="make_glue.py")
    write_small_config(directory, vocab_size=420)
    return directory


def test_the_same_seed_makes_the_same_tasks(made_glue, tmp_path):
    make(tmp_path / "same", "--seed=1", script="make_glue.py")
    make(tmp_path / "other", "--seed=2", script="make_glue.py")
    for task in ("MRPC", "STS-B"):
        for split in ("train", "dev", "test"):
            content = (made_glue / task / f"{split}.tsv").read_bytes()
            assert content == (tmp_path / "same" / task / f"{split}.tsv").read_bytes()
            assert content != (tmp_path / "other" / task / f"{split}.tsv").read_bytes()


def test_generated_pairs_have_the_labels_that_they_should(made_glue):
    mrpc, sts_b = TASKS["mrpc"], TASKS["sts-b"]
    pairs = read_examples(str(made_glue / "MRPC/train.tsv"), mrpc, "train")
    assert len(pairs) == 2000
    assert 900 < sum(pair.label for pair in pairs) < 1100
    similar = read_examples(str(made_glue / "STS-B/train.tsv"), sts_b, "train")
    assert {pair.label for pair in similar} == {0.0, 1.0, 3.0, 4.0, 5.0}
    for pair in similar:
        words = [{word.strip(".") for word in text.split()} for text in pair.texts]
        if pair.label == 5:  # same name and answer
            assert len(words[0] & words[1]) >= 2, pair.texts
    for split in ("dev", "test"):
        assert len(read_examples(str(made_glue / f"MRPC/{split}.tsv"), mrpc, split)) == 200


SETTINGS = {
    **{
        f"run_{name}.py": task_and_settings(name)[1] for name in ("squad_v2", "race", "pretraining")
    },
    "run_squad_v1.py": task_and_settings("squad")[1],
    "run_classifier.py": run_classifier_script.Settings,
    "create_pretraining_data.py": RecordSettings,
    "ask.py": ask.Settings,
    "convert_checkpoint.py": convert_checkpoint.Settings,
    "report.py": report.Settings,
    "download/download_dataset.py": DataSetSettings,
    "download/download_pretrained_model.py": ModelDownloadSettings,
}


def printed_runs(block: str) -> list[tuple[str, Any]]:
    """Scripts and settings of the commands in a block, without "…"; wrong flags are an error."""
    runs = []
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line.replace("…", ""), comments=True)
        for script in SETTINGS.keys() & {*words}:
            values = flags.FlagValues()
            run_flags.define(SETTINGS[script], values)
            values(words[words.index(script) :])
            runs.append((script, run_flags.read(SETTINGS[script], values)))
    return runs


def test_the_printed_flags_are_those_of_the_scripts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scripts = [script for block in readme_blocks() for script, _ in printed_runs(block)]
    assert {*scripts} == SETTINGS.keys()


@pytest.mark.examples
@pytest.mark.parametrize(
    ("task", "made", "counts"),
    [("race", "quickstart/RACE", (2000, 100)), ("squad_v2", "quickstart/squad_v2", (8000, 400))],
)
def test_the_printed_trainings_on_generated_questions_start(
    request, quickstart, tmp_path, monkeypatch, task, made, counts
):
    """Their files and flags pass the checks before a run. They take minutes to the end."""
    monkeypatch.chdir(tmp_path)
    block = readme_block(f".py {made}")
    generated = request.getfixturevalue({"race": "made_race", "squad_v2": "made_v2"}[task])
    Path("quickstart").mkdir()
    Path(made).symlink_to(generated / "RACE" if task == "race" else generated)
    for name in ("albert_config.json", "sentencepiece.model"):
        (Path("quickstart") / name).symlink_to(quickstart[0] / name)
    ((_, settings),) = printed_runs(block)
    context = checks.check(task_and_settings(task)[0], settings)
    assert (len(context.train.examples), len(context.dev[0].examples)) == counts


@pytest.fixture
def checkout(tmp_path):
    """Folder with links to the project, to run commands as they are printed."""
    for name in ("run_classifier.py", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture(scope="module")
def made_race(tmp_path_factory):
    """Directory with the generated questions."""
    directory = tmp_path_factory.mktemp("made_race")
    make(directory / "RACE", script="make_race.py")
    return directory


def test_the_same_seed_makes_the_same_articles(made_race, tmp_path):
    make(tmp_path / "same", "--seed=1", script="make_race.py")
    make(tmp_path / "other", "--seed=2", script="make_race.py")
    for split in ("train", "dev", "test"):
        for level in LEVELS:
            file = f"{split}/{level}/all.txt"
            content = (made_race / "RACE" / file).read_bytes()
            assert content == (tmp_path / "same" / file).read_bytes()
            assert content != (tmp_path / "other" / file).read_bytes()


@pytest.mark.parametrize(("level", "most"), [("middle", 1), ("high", 2)])
def test_generated_articles_state_all_options(made_race, level, most):
    """In a question for high schools, two options are towns or two are years."""
    path = made_race / "RACE/dev" / level / "all.txt"
    questions = read_articles(str(path), level, needs_answers=True)
    assert len(questions) == 100
    for question in questions:
        assert len(set(question.options)) == 4
        assert all(option in question.article for option in question.options)
        towns = sum(bool(re.fullmatch("[A-Z][a-z]+", option)) for option in question.options)
        years = sum(option.isdigit() for option in question.options)
        assert max(towns, years) <= most
        assert level == "middle" or 2 in (towns, years)


@pytest.fixture(scope="module")
def made_v2(tmp_path_factory):
    """Directory with the generated files of SQuAD v2.0."""
    directory = tmp_path_factory.mktemp("v2")
    make(directory, "--v2")
    return directory


def test_half_of_the_generated_questions_of_v2_have_no_answer(made_v2):
    for file, count in (("train.json", 8000), ("heldout.json", 400)):
        questions = read_squad(str(made_v2 / file), for_training=True, version=V2)
        assert len(questions) == count
        assert sum(question.is_impossible for question in questions) == count / 2
        assert len({question.paragraph for question in questions}) == count / 4


@pytest.mark.examples
def test_text_to_answers_shows_both_metrics(tmp_path):
    command = [sys.executable, str(EXAMPLES / "text_to_answers.py"), str(tmp_path)]
    command += ["--paragraphs=100", "--pretraining_steps=10", "--steps=10"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    commands = re.findall(r"^python (\w+\.py)", output, re.MULTILINE)
    assert commands == [
        "create_pretraining_data.py",
        "run_pretraining.py",
        "run_squad_v1.py",
        "run_squad_v1.py",
    ]
    metrics = (
        r"from_random  exact match +\d+\.\d  F1 +\d+\.\d\nfrom_text  exact match +\d+\.\d  F1 +"
    )
    assert re.search(metrics, output)
    assert json.loads((tmp_path / "pretrained/eval_results.json").read_text())["masked_lm_loss"] > 0

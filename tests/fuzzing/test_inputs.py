"""Mutations of what users give: questions, GLUE tables, texts, archives, flags."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import random
import tarfile
import zipfile

import pytest
from absl import flags

import ask
import convert_checkpoint
import run_classifier
import run_pretraining
import run_squad_v1
import run_squad_v2
from albert_tf.cli import flags as run_flags
from albert_tf.cli.settings import wrong_values
from albert_tf.downloads import archives
from albert_tf.downloads.settings import DataSetSettings, ModelDownloadSettings
from albert_tf.inference.trained_model import read_text
from albert_tf.io.errors import InputError
from albert_tf.tasks.classification.features import make_record
from albert_tf.tasks.glue import data as glue_data
from albert_tf.tasks.pretraining.instances import read_blocks
from albert_tf.tasks.pretraining.settings import RecordSettings
from albert_tf.tasks.race import data as race_data
from albert_tf.tasks.race.features import make_features
from albert_tf.tasks.race.settings import RaceSettings
from albert_tf.tasks.squad import features as squad_features
from albert_tf.tasks.squad import metrics
from albert_tf.tasks.squad.data import V1, V2, read_squad
from albert_tf.tasks.squad.settings import AnswerSettings
from mutations import COUNT, MANY, check_reader, mutated_bytes, mutated_json

TEXT = "The lamp of 1874 was lit.\nÉdith’s 東京 lamp\u2028was “not”, 3.5 m high.\n\n\nA fox.\n"
SETTINGS_CLASSES = (
    run_squad_v1.Settings,
    run_squad_v2.Settings,
    run_classifier.Settings,
    RaceSettings,
    run_pretraining.Settings,
    RecordSettings,
    ask.Settings,
    convert_checkpoint.Settings,
    ModelDownloadSettings,
    DataSetSettings,
)
ODD_FLAGS = (
    "",
    " ",
    "0",
    "-1",
    "1",
    "1.5",
    "1e-5",
    "nan",
    "-inf",
    "1e999",
    "9" * 30,
    "9" * 5000,
    "2147483648",
    "x",
    "true",
    "TRUE",
    "None",
    "a\nb",
    "a,b",
    ",",
    "\0",
    "a\0b",
    "\udcff",
    "é",
    "~",
    "~none/x",
    "/",
    ".",
    "..",
    "[a]*",
    "\\",
    "gs://x",
    "hdfs://",
    "a" * 300,
    "a/" * 3000,
)


def write_squad(path, version):
    """Write two questions; with v2.0, the second has no answer."""
    answers = [{"text": "lamp", "answer_start": 4}, {"text": "1874", "answer_start": 12}]
    questions = [
        {"id": f"q{number}", "question": "What of 1874?", "answers": [answers[number]]}
        for number in range(2)
    ]
    if version == V2:
        questions[0]["is_impossible"] = False
        questions[1].update(is_impossible=True, answers=[])
    paragraph = {"context": TEXT, "qas": questions}
    value = {"version": version, "data": [{"title": "Lamps", "paragraphs": [paragraph]}]}
    path.write_text(json.dumps(value))


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("for_training", [True, False])
def test_questions(tmp_path, sample_tokenizer, for_training, version):
    path = tmp_path / "squad.json"
    write_squad(path, version)

    def check(questions):
        assert len({question.id for question in questions}) == len(questions) > 0
        settings = AnswerSettings(max_seq_length=64, doc_stride=16, max_query_length=16)
        for feature in squad_features.make_features(
            questions, sample_tokenizer, settings, for_training
        ):
            values = feature.record(64, for_training)
            assert {len(values[name]) for name in ("input_ids", "input_mask")} == {64}
        for question in questions if for_training else ():
            assert bool(question.answers) != bool(question.is_impossible)
            for answer in question.answers[:1]:
                assert question.paragraph[answer.start :].startswith(answer.text)
        predictions = {question.id: "1874" for question in questions}
        if version == V1:
            scores = metrics.squad_metrics(questions, predictions)
            assert 0 <= scores["exact_match"] <= scores["f1"] <= 100
        elif None not in (question.is_impossible for question in questions):
            scores = metrics.squad_v2_metrics(questions, predictions)
            assert 0 <= scores["exact"] <= scores["f1"] <= 100

    results, errors = check_reader(
        path,
        lambda: read_squad(str(path), for_training, version),
        check,
        mutated_json,
        MANY,
    )
    assert results
    assert errors


def glue_table(task, split):
    """A valid table of three rows in the layout of a task's file."""
    columns = ["index", *task.texts, task.label_column]
    if split == "test":
        columns.remove(task.label_column)
    elif task.columns_of_labelled_files:
        columns = list(task.columns_of_labelled_files)
    has_header = split == "test" or not task.columns_of_labelled_files
    rows = [columns] if has_header else []
    for number in range(3):
        values = {"index": str(number), task.label_column: (task.labels or ("3.8",))[0]}
        rows.append([values.get(column, f"A lamp “{number}”, é.") for column in columns])
    return "".join("\t".join(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("task", glue_data.TASKS.values(), ids=lambda task: task.name)
def test_glue_tables(tmp_path, sample_tokenizer, task, split):
    path = tmp_path / f"{split}.tsv"
    path.write_bytes(glue_table(task, split))

    def check(examples):
        assert examples
        for example in examples:
            assert len(example.texts) == len(task.texts)
            assert 0 <= example.label < (len(task.labels) or glue_data.HIGHEST_SCORE + 0.01)
            record = make_record(example.texts, example.label, sample_tokenizer, 32, True)
            assert {len(values) for values in list(record.values())[:3]} == {32}

    results, errors = check_reader(
        path, lambda: glue_data.read_examples(str(path), task, split), check
    )
    assert results
    assert errors


@pytest.mark.parametrize(
    ("name", "mutate", "most_lines"),
    [("1.txt", mutated_json, 1), ("all.txt", mutated_bytes, 10)],  # a line for each bad article
)
@pytest.mark.parametrize("needs_answers", [True, False])
def test_articles(tmp_path, sample_tokenizer, needs_answers, name, mutate, most_lines):
    path = tmp_path / name
    questions = {"questions": ["What _ ?", "Why?"], "options": [list("wxyz")] * 2}
    article = {"id": "high1.txt", "article": TEXT, **questions, "answers": ["B", "D"]}
    articles = [article, {**article, "id": "high2.txt"}] if name == "all.txt" else [article]
    path.write_text("\n".join(map(json.dumps, articles)))
    read_path = str(path if name == "all.txt" else tmp_path)

    def check(examples):
        assert examples
        for example, feature in zip(
            examples, make_features(examples, sample_tokenizer, 32, 8, True)
        ):
            assert example.label in ((0, 1, 2, 3) if needs_answers else (0, 1, 2, 3, None))
            record = feature.record(32)
            assert {len(record[name]) for name in ("input_ids", "input_mask")} == {4 * 32}

    results, errors = check_reader(
        path,
        lambda: race_data.read_articles(read_path, "high", needs_answers),
        check,
        mutate,
        MANY,
        most_lines=most_lines,
    )
    assert results
    assert errors


@pytest.mark.parametrize("strict", [True, False])
def test_texts_for_pretraining(tmp_path, strict):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")

    def check(blocks):
        lines = [line for block in blocks for document in block for line in document]
        assert all(line and line == line.strip() and "\n" not in line for line in lines)

    results, errors = check_reader(
        path, lambda: list(read_blocks([str(path)], strict)), check, count=MANY
    )
    assert results
    assert bool(errors) == strict


def test_a_text_to_ask(tmp_path):
    path = tmp_path / "page.txt"
    path.write_text(TEXT, encoding="utf-8")

    def check(text):
        assert text.strip()
        assert text.encode() in (path.read_bytes(), path.read_bytes()[3:])

    results, errors = check_reader(path, lambda: read_text(str(path)), check, count=MANY)
    assert results
    assert errors


def tar_archive():
    """A tar archive, not compressed."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in ("top/a.txt", f"top/{'b' * 120}.txt"):
            info = tarfile.TarInfo(name)
            info.size = 100
            tar.addfile(info, io.BytesIO(b"0123456789" * 10))
    return data.getvalue()


def zip_archive(compression):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as file:
        for name in ("top/a.txt", "top/é.txt"):
            file.writestr(name, b"0123456789" * 10)
    return data.getvalue()


def mutated_tar(rng, data):
    """Change an archive inside of its compression, which has a checksum."""
    return gzip.compress(mutated_bytes(rng, gzip.decompress(data)), 1)


@pytest.mark.parametrize(
    ("name", "data", "mutate"),
    [
        ("a.tar.gz", gzip.compress(tar_archive()), mutated_bytes),
        ("a.tar.gz", gzip.compress(tar_archive()), mutated_tar),
        ("a.zip", zip_archive(zipfile.ZIP_STORED), mutated_bytes),
        ("a.zip", zip_archive(zipfile.ZIP_DEFLATED), mutated_bytes),
    ],
    ids=["tar.gz", "tar", "zip-stored", "zip"],
)
def test_archives(tmp_path, name, data, mutate):
    path = tmp_path / "archives" / name
    path.parent.mkdir()
    path.write_bytes(data)
    numbers = iter(range(MANY + 1))

    def read():
        directory = tmp_path / "out" / str(next(numbers))
        directory.mkdir(parents=True)
        archives.unpack(path, directory, 1000)
        return directory

    def check(directory):
        unpacked = [file for file in directory.rglob("*") if not file.is_dir()]
        assert sum(file.stat().st_size for file in unpacked) <= 1000
        assert not any(file.is_symlink() for file in unpacked)

    results, errors = check_reader(path, read, check, mutate, MANY)
    assert results
    assert errors
    assert {path.name for path in tmp_path.iterdir()} == {"archives", "out"}


@pytest.mark.parametrize("settings_class", SETTINGS_CLASSES, ids=lambda c: c.__module__)
def test_flags(settings_class):
    names = [field.name for field in dataclasses.fields(settings_class)]
    results = errors = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        given = {name: rng.choice(ODD_FLAGS) for name in rng.sample(names, rng.choice((1, 1, 2)))}
        flag_values = flags.FlagValues()
        run_flags.define(settings_class, flag_values)
        try:
            flag_values(["script", *(f"--{name}={value}" for name, value in given.items())])
            settings = run_flags.read(settings_class, flag_values)
        except InputError as error:
            lines = str(error).splitlines()
            assert len(lines) <= len(given), (given, lines)
            assert all(any(f"--{name}" in line for name in given) for line in lines), lines
            errors += 1
        except Exception as error:
            raise AssertionError(f"{given}: {error!r}") from error
        else:
            assert not wrong_values(settings)
            results += 1
    assert results
    assert errors

"""End-to-end tests of create_pretraining_data.py from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.records import manifests, record_files
from golden import GOLDEN
from scripts import (
    PRETRAINING_DATA_FLAGS,
    SAMPLE_MODEL,
    command,
    create_pretraining_data,
    fail,
    succeed,
)

SAMPLE_CORPUS = GOLDEN / "sample/sample_corpus.txt"
# Fields that the original reads.
SPEC = {
    "input_ids": tf.io.FixedLenFeature([64], tf.int64),
    "input_mask": tf.io.FixedLenFeature([64], tf.int64),
    "segment_ids": tf.io.FixedLenFeature([64], tf.int64),
    "token_boundary": tf.io.FixedLenFeature([64], tf.int64),
    "masked_lm_positions": tf.io.FixedLenFeature([10], tf.int64),
    "masked_lm_ids": tf.io.FixedLenFeature([10], tf.int64),
    "masked_lm_weights": tf.io.FixedLenFeature([10], tf.float32),
    "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
}


def parsed(*paths):
    """Features of all records, as arrays by name."""
    serialized = [record for path in paths for record in record_files.read_records(str(path))]
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(tf.io.parse_example(serialized, SPEC))


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus):
    """Directory of three record files, made from two text files by two workers, and the log."""
    directory = tmp_path_factory.mktemp("made")
    return directory, succeed(make(directory, corpus, num_workers=2))


def names_in(directory):
    """Names of the files in a directory but locks."""
    return {path.name for path in directory.iterdir() if path.suffix != ".lock"}


def make(directory, corpus, **flags):
    output_files = ",".join(str(directory / f"records-{number}") for number in range(3))
    input_files = f"{corpus},{SAMPLE_CORPUS.parent}/*corpus.txt"
    return create_pretraining_data(output_files, input_file=input_files, **flags)


def test_files_and_log(made):
    directory, log = made
    names = {f"records-{number}{end}" for number in range(3) for end in ("", ".manifest.json")}
    assert names_in(directory) == names
    manifests = [json.loads((directory / f"records-{n}.manifest.json").read_text()) for n in (0, 2)]
    counts = [manifest["records"] for manifest in manifests]
    assert counts[0] - counts[1] in (0, 1)
    assert manifests[0]["settings"]["vocab_size"] == 420
    assert manifests[0]["settings"]["dupe_factor"] == 2
    assert set(manifests[0]["settings"]) == {
        "do_lower_case",
        "do_permutation",
        "do_whole_word_mask",
        "dupe_factor",
        "favor_shorter_ngram",
        "input_file_mode",
        "masked_lm_prob",
        "max_predictions_per_seq",
        "max_seq_length",
        "ngram",
        "output_files",
        "random_next_sentence",
        "random_seed",
        "short_seq_prob",
        "vocab_size",
    }
    assert set(manifests[0]["inputs"]) >= {str(SAMPLE_MODEL), str(SAMPLE_CORPUS)}
    assert "documents with" in log
    assert re.search(r"building records: \d+ records, \d+/s", log)
    assert all(line[0] == "I" for line in log.splitlines()), log


def test_the_records_do_not_depend_on_the_number_of_workers(made, corpus, tmp_path):
    directory, _ = made
    succeed(make(tmp_path, corpus, num_workers=1))
    for path in directory.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_seed_makes_other_records(made, corpus, tmp_path):
    directory, _ = made
    succeed(make(tmp_path, corpus, random_seed=1))
    assert (tmp_path / "records-0").read_bytes() != (directory / "records-0").read_bytes()


def test_the_original_can_read_the_records(made):
    directory, _ = made
    features = parsed(*(directory / f"records-{number}" for number in range(3)))
    lengths = features["input_mask"].sum(axis=1)
    assert lengths.max() == 64
    assert features["input_ids"].max() < 420
    for row in range(len(lengths)):
        length, ids = lengths[row], features["input_ids"][row]
        assert features["input_mask"][row, :length].all()
        assert not ids[length:].any()
        assert not features["token_boundary"][row, length:].any()
        assert ids[0] == 2
        assert ids[length - 1] == 3
        assert (
            features["token_boundary"][row, 0] == features["token_boundary"][row, length - 1] == 1
        )
        predictions = int(features["masked_lm_weights"][row].sum())
        assert features["masked_lm_weights"][row].tolist() == [1] * predictions + [0] * (
            10 - predictions
        )
        positions = features["masked_lm_positions"][row]
        assert (np.diff(positions[:predictions]) > 0).all()
        assert positions[0] > 0
        assert positions.max() < length - 1
    assert set(features["next_sentence_labels"].ravel()) == {0, 1}


def test_records_are_used_again(made, corpus):
    directory, _ = made
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    log = succeed(make(directory, corpus))
    assert log.count(": reusing ") == 3
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_other_settings_make_the_records_again(corpus, tmp_path):
    succeed(make(tmp_path, corpus))
    log = succeed(make(tmp_path, corpus, ngram=2))
    assert log.count(": rebuilding because ngram is now 2, was 3") == 3
    assert "reusing" not in log


def test_permutations_take_twice_the_room(tmp_path):
    path = tmp_path / "records"
    succeed(create_pretraining_data(path, input_file=SAMPLE_CORPUS, do_permutation=True))
    example = tf.train.Example.FromString(next(record_files.read_records(str(path))))
    assert len(example.features.feature["masked_lm_ids"].int64_list.value) == 20


def test_single_sentences_are_counted(tmp_path):
    text = tmp_path / "text"
    text.write_text("When was the lighthouse finished?\n\n" + SAMPLE_CORPUS.read_text())
    log = succeed(create_pretraining_data(tmp_path / "records", input_file=text))
    assert "skipped 1 documents of a single sentence" in log


def test_bytes_that_are_not_utf8_can_be_left_out(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"\xff" + SAMPLE_CORPUS.read_bytes())
    path = tmp_path / "records"
    (line,) = fail(create_pretraining_data(path, input_file=text))
    assert line.startswith(f"error: {text}, line 1: not UTF-8")
    assert names_in(tmp_path) == {"text"}
    succeed(create_pretraining_data(path, input_file=text, input_file_mode="rb"))
    succeed(create_pretraining_data(tmp_path / "plain", input_file=SAMPLE_CORPUS))
    assert path.read_bytes() == (tmp_path / "plain").read_bytes()


def test_a_killed_run_leaves_no_file_that_looks_whole(tmp_path, corpus):
    flags = {**PRETRAINING_DATA_FLAGS, "input_file": corpus, "output_file": tmp_path / "records"}
    flags.update(dupe_factor=100_000, num_workers=2)
    process = subprocess.Popen(
        command("create_pretraining_data.py", flags), stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 120
    while not any(path.stat().st_size for path in tmp_path.glob("records.tmp-*")):
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "records").exists()
    assert not manifests.manifest_path(str(tmp_path / "records")).exists()


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        ({"input_file": None}, ["--input_file is missing"]),
        ({"input_file": "none-*.txt"}, ["--input_file none-*.txt: no such file"]),
        ({"input_file": f"{SAMPLE_CORPUS},none.txt"}, ["--input_file none.txt: no such file"]),
        ({"output_file": None}, ["--output_file is missing"]),
        ({"output_file": "a,b,a"}, ["--output_file a,b,a: empty or duplicate file name"]),
        ({"output_file": "/proc/none/a"}, ["--output_file /proc/none: No such file or directory"]),
        ({"spm_model_file": None}, ["a tokenizer needs a SentencePiece model or a vocabulary"]),
        (
            {"spm_model_file": "none.model"},
            ["--spm_model_file none.model: No such file or directory"],
        ),
        ({"max_seq_length": 4}, ["--max_seq_length 4 leaves no room for two segments after 3"]),
        (
            {"input_file": None, "output_file": None, "spm_model_file": None},
            ["a tokenizer needs", "--input_file is missing", "--output_file is missing"],
        ),
    ],
)
def test_flags(tmp_path, flags, messages):
    flags = {"input_file": SAMPLE_CORPUS, "output_file": tmp_path / "records", **flags}
    lines = fail(create_pretraining_data(**flags))
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages):
        assert line.startswith(f"error: {message}"), line
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_without_a_mask(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[UNK]\n[CLS]\n[SEP]\n")
    (line,) = fail(
        create_pretraining_data(
            tmp_path / "records", input_file=SAMPLE_CORPUS, spm_model_file=None, vocab_file=path
        )
    )
    assert line.startswith(f"error: {path}: the vocabulary has no [MASK]; give the one that comes")


def test_text_without_pairs(tmp_path):
    text = tmp_path / "text"
    text.write_text("one\n\ntwo\n")
    (line,) = fail(create_pretraining_data(tmp_path / "records", input_file=text))
    assert line.startswith(f"error: {text}: no document has two sentences or more")
    assert names_in(tmp_path) == {"text"}

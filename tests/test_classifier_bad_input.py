"""Error messages of run_classifier.py for bad input: one line with file, place and remedy."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.records import manifests
from albert_tf.run_dir import checkpoints
from golden import GOLDEN, checkpoint_of
from scripts import SAMPLE_GLUE, fail, record_file, run_classifier, succeed
from task_factory import make_context, refusals


@pytest.fixture
def data_dir(tmp_path):
    """A copy of the sample data, for tests to modify."""
    return Path(shutil.copytree(SAMPLE_GLUE, tmp_path / "glue"))


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        ({"data_dir": None}, ["--data_dir is missing"]),
        (
            {"data_dir": "none"},
            3 * [r"none/\w+\.tsv: cannot read the file: No such file .*contains MRPC/"],
        ),
        ({"task_name": None}, ["--task_name is missing: give one of cola, mnli, "]),
        (
            {"task_name": "squad"},
            ["--task_name squad: unknown task; give one of cola, mnli"],
        ),
        (
            {"task_name": "ax", "do_predict": False, "init_checkpoint": None},
            ["--task_name ax has no train set", "--task_name ax has no dev set: .* mnli"],
        ),
        (
            {"task_name": "rte"},
            3 * [r"/\w+\.tsv: cannot read the file: No such file .*contains RTE/"],
        ),
        (
            {"do_train": False, "do_eval": False, "do_predict": False},
            ["nothing to do: give --do_train, --do_eval or --do_predict"],
        ),
        ({"spm_model_file": None}, ["a tokenizer needs a SentencePiece model or a vocabulary"]),
        ({"spm_model_file": "none.model"}, ["none.model: SentencePiece model not found"]),
        ({"max_seq_length": 3}, ["--max_seq_length 3 leaves no room for text after 3 special"]),
        ({"max_seq_length": 200}, ["--max_seq_length is 200, but the model .* 128 tokens"]),
        ({"cached_dir": "/proc/none"}, ["--cached_dir /proc/none: No such file or directory"]),
        ({"output_dir": None}, ["--output_dir is missing"]),
        (
            {"do_train": False, "init_checkpoint": None},
            ["no checkpoint to predict with; give --init_checkpoint"],
        ),
        (
            {"do_train": False, "init_checkpoint": checkpoint_of("pretraining")},
            ["the checkpoint has no output_weights, output_bias; fine-tune it first"],
        ),
        (
            {"task_name": "sts-b"},
            [r"does not fit .*output_weights has shape \[2, 32\], not \[1, 32\]"],
        ),
        (
            {"albert_config_file": "none.json", "task_name": "squad", "data_dir": None},
            ["none.json: cannot read", "--task_name squad", "--data_dir is missing"],
        ),
    ],
)
def test_flags(tmp_path, flags, messages):
    lines = refusals("classifier", **{"output_dir": tmp_path / "run", **flags})
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages):
        assert re.search(message, line), line
    if (tmp_path / "run").exists():
        assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("MRPC/train.tsv", "\t15\t", "\t", "line 4 has 4 columns, not 5; correct the file"),
        ("MRPC/dev.tsv", "0\t13", "3\t13", "line 3: the label '3' is not one of 0, 1; correct"),
        ("MRPC/test.tsv", "#2 String", "string", "line 1: the header has no column #2 String"),
        ("STS-B/dev.tsv", "0.250", "a", "line 3: the score 'a' is not a number from 0 to 5"),
        ("CoLA/train.tsv", "a1\t0", "a1\tx", "line 2: the label 'x' is not one of 0, 1"),
    ],
)
def test_rows(data_dir, file, old, new, message):
    path = data_dir / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    task = path.parent.name
    flags = {"data_dir": data_dir, "task_name": task, "init_checkpoint": None}
    (line,) = refusals("classifier", data_dir / "run", **flags)
    assert re.match(f"{path}(, |: ){message}", line)


def test_problems_of_all_files_are_told_at_once(data_dir):
    (data_dir / "MRPC/train.tsv").write_bytes(b"")
    (data_dir / "MRPC/dev.tsv").write_bytes(b"\xff\xfe\n")
    (data_dir / "MRPC/test.tsv").unlink()
    not_model = data_dir / "MRPC/dev.tsv"
    lines = fail(run_classifier(data_dir / "run", data_dir=data_dir, spm_model_file=not_model))
    expected = [
        f"{not_model}: not a SentencePiece model",
        f"{data_dir}/MRPC/train.tsv: the file has no rows",
        f"{data_dir}/MRPC/dev.tsv, line 1: not UTF-8",
        f"{data_dir}/MRPC/test.tsv: cannot read the file: No such file or directory",
    ]
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected):
        assert line.startswith(f"error: {start}"), line


def test_a_vocabulary_of_another_size(tmp_path):
    config = json.loads((GOLDEN / "tiny_model/albert_config.json").read_text())
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**config, "vocab_size": 30000}))
    (line, *_) = refusals("classifier", tmp_path / "run", albert_config_file=path)
    assert re.search(r"sample\.model: the vocabulary has 420 pieces, but .* vocab_size 30000", line)


def test_a_vocabulary_without_special_tokens(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[CLS]", *(f"w{n}" for n in range(418))]) + "\n")
    (line,) = refusals("classifier", tmp_path / "run", spm_model_file=None, vocab_file=path)
    assert line == (
        f"{path}: the vocabulary has no [SEP], [UNK]; give the one that comes with the model"
    )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Output directory of an evaluation and prediction with the golden checkpoint."""
    directory = tmp_path_factory.mktemp("evaluated")
    succeed(run_classifier(directory, do_train=False))
    return directory


@pytest.fixture
def finished(evaluated, tmp_path):
    """A copy of `evaluated` without its results, for tests to modify."""
    directory = Path(shutil.copytree(evaluated, tmp_path / "run"))
    shutil.rmtree(directory / "evaluations")
    return directory


def foreign(directory):
    """Path of the dev set's records, like one of another program, without a manifest."""
    path = record_file(directory, "mrpc_eval")
    manifests.manifest_path(str(path)).unlink()
    return path


def test_damaged_records(finished):
    path = foreign(finished)
    with path.open("r+b") as file:
        file.seek(700)
        file.write(b"\xff\x00\xff\x00")
    (line,) = fail(run_classifier(finished, do_train=False))
    assert re.match(
        rf"error: {path}: record \d is damaged; copy the file again, or "
        "remove it to rebuild it",
        line,
    )


def test_records_of_another_length_are_made_beside_the_old(finished):
    log = succeed(run_classifier(finished, do_train=False, max_seq_length=48))
    assert log.count(".tf_record: wrote 5 records") == 2
    for name in ("eval", "predict"):
        assert len(list(finished.glob(f"mrpc_{name}-*.tf_record"))) == 2


def test_records_of_another_program_with_another_length(finished, caplog):
    """They have the plain name, which is not ours to replace."""
    foreign(finished).rename(finished / "mrpc_eval.tf_record")
    context = make_context("classifier", finished, do_train=False, max_seq_length=48)
    assert "mrpc_eval.tf_record: record 1 has 40 values of input_ids, this run needs" in caplog.text
    assert re.search("mrpc_eval-[0-9a-f]{12}.tf_record$", context.dev[0].paths[0])


def test_records_of_other_rows(finished, data_dir):
    """A record file without a manifest, and a dev set with one row fewer."""
    records = foreign(finished).rename(finished / "mrpc_eval.tf_record")
    path = data_dir / "MRPC/dev.tsv"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]))
    (line,) = fail(run_classifier(finished, do_train=False, data_dir=data_dir))
    assert line == (
        f"error: {records} has 5 examples, but {path} has 4; remove the first to rebuild it"
    )


def test_a_checkpoint_whose_training_has_diverged(tmp_path, graph):
    golden = checkpoint_of("regression")
    for name in checkpoints.shapes_in(golden):
        tf.get_variable(name, initializer=tf.train.load_variable(golden, name) * math.nan)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "diverged"))
    (line,) = fail(
        run_classifier(
            tmp_path / "run", do_train=False, task_name="sts-b", init_checkpoint=checkpoint
        )
    )
    assert re.match(rf"error: {checkpoint}: the predictions are not finite, .* train again", line)

"""Error messages of run_squad_v1.py for bad input: one line with file, place and remedy."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.records import manifests, record_files
from forks import ForkServer, current_environment
from golden import GOLDEN, checkpoint_of
from scripts import (
    SAMPLE_PREDICT,
    SAMPLE_TRAIN,
    SQUAD_FLAGS,
    assert_same_answers,
    command,
    fail,
    files,
    load,
    record_file,
    run_squad,
    succeed,
)
from task_factory import refusals


def with_change(tmp_path, source, change):
    """Copy a JSON file, modified by `change`."""
    value = json.loads(Path(source).read_text(encoding="utf-8"))
    change(value)
    path = tmp_path / f"changed-{Path(source).name}"
    path.write_text(json.dumps(value))
    return path


def first_question(squad):
    return squad["data"][0]["paragraphs"][0]["qas"][0]


def moved_answer(squad):
    first_question(squad)["answers"][0]["answer_start"] = 3


def same_id(squad):
    first_question(squad)["id"] = "sample-0002"


def no_answers(squad):
    first_question(squad)["answers"] = []


@pytest.mark.parametrize(
    ("flag", "source", "change", "message"),
    [
        (
            "train_file",
            SAMPLE_TRAIN,
            moved_answer,
            "question sample-0001: the answer '1874' is not at its answer_start 3, where "
            "the text is .*; it is at 45: correct the file",
        ),
        ("train_file", SAMPLE_TRAIN, no_answers, "question sample-0001: no answer to train on"),
        ("predict_file", SAMPLE_PREDICT, same_id, "question sample-0002: duplicate id"),
    ],
)
def test_questions(tmp_path, flag, source, change, message):
    path = with_change(tmp_path, source, change)
    (line,) = refusals("squad", tmp_path / "run", **{flag: path})
    assert re.match(f"{path}: {message}", line)


def test_broken_json(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text(SAMPLE_TRAIN.read_text(encoding="utf-8")[:5000], encoding="utf-8")
    (line,) = refusals("squad", tmp_path / "run", train_file=path)
    assert re.match(rf"{path}: not valid JSON: .* line \d+ column \d+", line)


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        ({"spm_model_file": "none.model"}, ["none.model: SentencePiece model not found"]),
        (
            {"spm_model_file": None},
            ["a tokenizer needs a SentencePiece model", "--spm_model_file is missing"],
        ),
        ({"albert_config_file": None}, ["--albert_config_file is missing"]),
        ({"albert_config_file": "none.json"}, ["none.json: cannot read the model config"]),
        ({"train_file": None}, ["--train_file is missing"]),
        ({"predict_file": "none.json"}, ["none.json: cannot read the questions: No such file"]),
        ({"init_checkpoint": "none/model.ckpt"}, ["none/model.ckpt: no checkpoint found"]),
        (
            {"max_seq_length": 129},
            ["--max_seq_length is 129, but the model of .* reads at most 128 tokens"],
        ),
        ({"max_seq_length": 27}, ["--max_seq_length 27 leaves no room for the paragraph"]),
        ({"length_buckets": "32,97"}, ["--length_buckets 32,97: give lengths between 1 and"]),
        ({"length_buckets": "x"}, ["--length_buckets x: give integers"]),
        ({"device": "gpu"}, ["--device=gpu: TensorFlow sees no GPU"]),
        ({"device": "hpu"}, ["--device=hpu: "]),
        ({"use_tpu": True}, ["--use_tpu: TPUs are not supported"]),
        ({"output_dir": "/proc/none"}, ["--output_dir /proc/none: No such file or directory"]),
        ({"do_train": False, "do_predict": False}, ["nothing to do"]),
        ({"train_batch_size": 100}, [r"42 examples in batches of 100 .* make less than one step"]),
        (
            {"do_train": False, "init_checkpoint": None},
            ["no checkpoint to predict with; give --init_checkpoint"],
        ),
        (
            {"do_train": False, "init_checkpoint": checkpoint_of("pretraining")},
            ["the checkpoint has no cls/squad/output_weights, .*fine-tune it first"],
        ),
        (
            {"albert_config_file": None, "train_file": "a", "predict_file": "b"},
            ["--albert_config_file is missing", "a: cannot read", "b: cannot read"],
        ),
    ],
)
def test_flags(tmp_path, flags, messages):
    lines = refusals("squad", **{"output_dir": tmp_path / "run", **flags})
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages):
        assert re.search(message, line)


def test_nothing_is_written_before_the_inputs_are_checked(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{}")
    (line,) = fail(run_squad(tmp_path / "run", train_file=path))
    assert line.startswith(f"error: {path}: data is missing")
    assert files(tmp_path / "run") == {"run.lock"}


def config(tmp_path, **changes):
    return with_change(
        tmp_path, GOLDEN / "tiny_model/albert_config.json", lambda values: values.update(changes)
    )


def test_a_config_that_does_not_fit_the_checkpoint(tmp_path):
    path = config(tmp_path, intermediate_size=128)
    (line,) = refusals("squad", tmp_path / "run", albert_config_file=path)
    assert "the checkpoint does not fit --albert_config_file: " in line
    assert "intermediate/dense/kernel has shape [32, 64], not [32, 128]" in line


def test_a_config_that_does_not_fit_the_vocabulary(tmp_path):
    path = config(tmp_path, vocab_size=30000)
    (line, *_) = refusals("squad", tmp_path / "run", albert_config_file=path)
    assert re.search(r"sample\.model: the vocabulary has 420 pieces, but .* vocab_size 30000", line)


def test_a_directory_with_another_model(run_of_one_step, tmp_path):
    path = config(tmp_path, intermediate_size=128)
    (line,) = refusals("squad", run_of_one_step, albert_config_file=path, init_checkpoint=None)
    assert re.search(r"/model\.ckpt-1: the checkpoint does not fit", line)


def test_a_traceback_with_verbosity_1(tmp_path):
    result = run_squad(tmp_path, train_file="none.json", verbosity=1)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "InputError: --train_file none.json: No such file or directory" in result.stderr


@pytest.fixture(scope="module")
def run_of_one_step(tmp_path_factory):
    """Output directory of a run of one step, with predictions."""
    directory = tmp_path_factory.mktemp("finished")
    succeed(run_squad(directory, train_steps=1))
    return directory


@pytest.fixture
def finished(run_of_one_step, tmp_path):
    """A copy of `run_of_one_step`, for tests to modify."""
    return Path(shutil.copytree(run_of_one_step, tmp_path / "run"))


def damage(path, position):
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"\xff\x00\xff\x00")


def foreign(directory, name):
    """Path of a record file that is like one of another program, without a manifest."""
    path = record_file(directory, name)
    manifests.manifest_path(str(path)).unlink()
    return path


def test_damaged_records_are_made_again(finished):
    path = record_file(finished, "train_features")
    whole = path.read_bytes()
    damage(path, 50000)
    log = succeed(run_squad(finished, train_steps=2, do_predict=False))
    assert f"{path}: rebuilding because its content has changed" in log
    assert path.read_bytes() == whole


def test_damaged_training_records(finished):
    """Damage in a file of another program, of which the first record alone is checked."""
    path = foreign(finished, "train_features")
    damage(path, 50000)
    (line,) = fail(run_squad(finished, train_steps=50))
    assert re.match(
        rf"error: {path}: record \d+ is damaged; copy the file again, "
        "or remove it to rebuild it",
        line,
    )


def test_damaged_prediction_records(finished):
    shutil.rmtree(finished / "evaluations")
    path = foreign(finished, "predict_features")
    damage(path, 50000)
    (line,) = fail(run_squad(finished, train_steps=1))
    assert re.match(rf"error: {path}: record \d+ is damaged", line)


def test_cut_records_are_made_again(finished):
    path = record_file(finished, "train_features")
    whole = path.read_bytes()
    path.write_bytes(whole[:100000])
    log = succeed(run_squad(finished, train_steps=2, do_predict=False))
    assert f": rebuilding because its size is now 100000 bytes, was {len(whole)}" in log
    assert path.read_bytes() == whole


def test_features_in_a_given_file_are_made_again_for_other_settings(tmp_path):
    given = {"train_feature_file": tmp_path / "train", "do_predict": False}
    succeed(run_squad(tmp_path / "run", train_steps=1, **given))
    log = succeed(run_squad(tmp_path / "run", train_steps=2, **given, doc_stride=48))
    assert f"{tmp_path}/train: rebuilding because doc_stride is now 48, was 32" in log


def test_lost_records(finished):
    """Files of features and windows that do not belong together."""
    shutil.rmtree(finished / "evaluations")
    path = foreign(finished, "predict_features")
    some = list(record_files.read_records(str(path)))[:10]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in some:
            writer.write(record)
    (line,) = fail(run_squad(finished, train_steps=1))
    assert re.search(r"do not belong together: the first has 10 records, the second 171;", line)


@pytest.mark.parametrize("name", ["run.json", "settings.json", "log.txt", "model.ckpt-7.index"])
def test_a_pipe_in_the_output_directory(finished, name):
    (finished / name).unlink(missing_ok=True)
    os.mkfifo(finished / name)
    (line,) = fail(run_squad(finished))
    assert line == (
        f"error: {finished}/{name}: is a pipe, which can be read only once; put a file in its place"
    )


def test_a_pipe_as_input(tmp_path):
    os.mkfifo(tmp_path / "train.json")
    (line,) = fail(run_squad(tmp_path / "run", train_file=tmp_path / "train.json"))
    assert line.startswith(f"error: {tmp_path}/train.json: is a pipe, which can be read only once")


def test_a_pickle_as_left_file(tmp_path):
    path = tmp_path / "left.pkl"
    path.write_bytes(pickle.dumps([1, 2, 3]))
    flags = {"do_train": False, "predict_feature_left_file": path}
    (line,) = refusals("squad", tmp_path / "run", **flags)
    assert re.match(f"{path}: no manifest next to it, so it was not written by", line)


def test_a_damaged_checkpoint(finished):
    with (finished / "model.ckpt-1.data-00000-of-00001").open("r+b") as file:
        file.truncate(1000)
    flags = {"train_steps": 2, "do_predict": False}
    (line,) = fail(run_squad(finished, **flags))
    assert line == (
        f"error: {finished}/model.ckpt-1: the checkpoint is incomplete: "
        f"{finished}/model.ckpt-1.data-* has been cut; copy it again, or remove "
        f"{finished}/model.ckpt-1.* to start over"
    )
    for file in finished.glob("model.ckpt-1.*"):
        file.unlink()
    log = succeed(run_squad(finished, **flags))
    assert "training for 2 steps" in log


def test_a_damaged_checkpoint_in_prediction(finished):
    """The best checkpoint is a copy of another, which is damaged alike."""
    for name in ("model.ckpt-best", load(finished / "eval_results.json")["best_checkpoint"]):
        damage(finished / f"{name}.data-00000-of-00001", 1000)
    (line,) = fail(run_squad(finished, do_train=False, n_best_size=3))
    assert re.match(rf"error: {finished}/model\.ckpt-best: the best .* lost: .* is damaged", line)


# The file system is too small for features, checkpoints or results, in this order.
SMALL_DISKS = (64, 600, 1500)  # kilobytes


@pytest.fixture(scope="module")
def small_disks(tmp_path_factory):
    """Directory with file systems of few kilobytes, and a server whose scripts see them."""
    directory = tmp_path_factory.mktemp("disks")
    mounts = []
    for kilobytes in SMALL_DISKS:
        (directory / f"{kilobytes}").mkdir()
        mounts.append(f"mount -t tmpfs -o size={kilobytes}k tmpfs {directory}/{kilobytes}")
    unshared = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    run_by = [*unshared, f'{" && ".join(mounts)} && exec "$@"', "sh"]
    server = ForkServer(current_environment(), run_by)
    yield directory, server
    server.close()


def test_predictions_of_a_model_that_can_only_be_read(run_of_one_step, tmp_path):
    """They need nothing but a directory of their own."""
    mount = f"mount --bind -o ro {run_of_one_step} {run_of_one_step}"
    remount = f"mount -o remount,bind,ro {run_of_one_step}"
    run_by = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    server = ForkServer(
        current_environment(), [*run_by, f'{mount} && {remount} && exec "$@"', "sh"]
    )
    flags = {"output_dir": run_of_one_step, "predict_file": SAMPLE_PREDICT, "do_train": False}
    flags.update(prediction_dir=tmp_path / "answers", device="cpu")
    log, before = tmp_path / "log", files(run_of_one_step)
    server.start(command("run_squad_v1.py", flags)[1:], log, log)
    assert server.wait() == 0, log.read_text()
    server.close()
    assert files(run_of_one_step) == before
    assert_same_answers(run_of_one_step, tmp_path / "answers", tolerance=0)


@pytest.mark.parametrize("kilobytes", SMALL_DISKS)
def test_a_full_disk(small_disks, kilobytes, tmp_path):
    directory, server = small_disks
    flags = {**SQUAD_FLAGS, "output_dir": directory / f"{kilobytes}/run"}
    log = tmp_path / "log"
    server.start(command("run_squad_v1.py", flags)[1:], log, log)
    assert server.wait() == 1
    (line,) = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the disk is full: ")
    assert line.endswith("free some space and run the same command again")

"""Checkpoints by their prefixes: completeness, saving, copies, and checks against a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints
from golden import build, checkpoint_of
from run_dir.saved import SUFFIXES, cut, flip_byte

pytestmark = pytest.mark.tensorflow

SQUAD = Path(checkpoint_of("squad"))


def test_step_of():
    assert checkpoints.step_of("/a-7/model.ckpt-300") == 300
    assert checkpoints.step_of("/a/model.ckpt-best") is None


@pytest.fixture
def copied(tmp_path):
    """Prefix of a copy of a complete checkpoint, without a meta graph."""
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copyfile(f"{SQUAD}{suffix}", tmp_path / f"model.ckpt-8{suffix}")
    return str(tmp_path / "model.ckpt-8")


DAMAGES = [
    (lambda p: cut(Path(f"{p}.data-00000-of-00001")), "model.ckpt-8.data-* has been cut"),
    (lambda p: Path(f"{p}.data-00000-of-00001").unlink(), "data-* is missing"),
    (lambda p: Path(f"{p}.index").unlink(), "model.ckpt-8.index is missing"),
    (lambda p: cut(Path(f"{p}.index")), "model.ckpt-8.index cannot be read"),
    (lambda p: Path(f"{p}.index").write_bytes(b""), ".index cannot be read"),
    (
        lambda p: Path(f"{p}.data-00000-of-00001").rename(f"{p}.data-00000-of-00002"),
        "some of ",
    ),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_the_problem_of_an_incomplete_checkpoint(copied, damage, reason):
    assert checkpoints.problem(copied) is None
    damage(copied)
    assert reason in checkpoints.problem(copied)


@pytest.mark.parametrize("offset", [0, -1])
def test_a_flipped_byte_shows_when_the_data_are_read(copied, offset):
    assert checkpoints.problem(copied, reads_data=True) is None
    flip_byte(copied, offset)
    assert checkpoints.problem(copied) is None
    assert "data-* is damaged" in checkpoints.problem(copied, reads_data=True)


def test_saving(tmp_path, graph):
    variable = tf.get_variable("w", [3], initializer=tf.ones_initializer())
    saver = tf.train.Saver(sharded=True)
    prefix = str(tmp_path / "model.ckpt-6")
    with tf.Session() as session:
        session.run(variable.initializer)
        checkpoints.save(session, saver, b"graph", prefix, only_to_resume=True)
        assert checkpoints.is_only_to_resume(prefix)
        first = checkpoints.digest(prefix)
        session.run(variable.assign([1.0, 2.0, 3.0]))
        checkpoints.save(session, saver, b"graph", prefix)
    assert not checkpoints.is_only_to_resume(prefix)
    assert checkpoints.digest(prefix) != first
    assert tf.train.load_variable(prefix, "w").tolist() == [1.0, 2.0, 3.0]
    assert {path.name for path in tmp_path.iterdir()} == {f"model.ckpt-6{s}" for s in SUFFIXES}


def test_a_copy_replaces_the_last(tmp_path):
    for name, content in (("model.ckpt-1", b"old"), ("model.ckpt-2", b"new")):
        for suffix in SUFFIXES:
            (tmp_path / f"{name}{suffix}").write_bytes(content)
    (tmp_path / "model.ckpt-1.data-00001-of-00002").write_bytes(b"old shard")
    best = str(tmp_path / "model.ckpt-best")
    checkpoints.copy(str(tmp_path / "model.ckpt-1"), best)
    assert (tmp_path / "model.ckpt-best.data-00001-of-00002").read_bytes() == b"old shard"
    checkpoints.copy(str(tmp_path / "model.ckpt-2"), best)
    copy = {file.name: file.read_bytes() for file in tmp_path.glob("model.ckpt-best*")}
    assert copy == {f"model.ckpt-best{suffix}": b"new" for suffix in SUFFIXES}


@pytest.mark.parametrize("operation", ["copy", "remove"])
def test_a_checkpoint_has_an_index_only_while_it_is_complete(copied, monkeypatch, operation):
    """The index is written last and removed first, so a kill in between leaves no index."""
    target = copied.replace("8", "best")
    indexes = []

    def noting(function):
        def noted(path, *args, **kwargs):
            indexes.append((Path(path).suffix, Path(f"{target}.index").exists()))
            return function(path, *args, **kwargs)

        return noted

    checkpoints.copy(copied, target)
    name = "replace" if operation == "copy" else "unlink"
    monkeypatch.setattr(Path, name, noting(getattr(Path, name)))
    if operation == "copy":
        checkpoints.copy(copied, target)
        assert [suffix for suffix, _ in indexes] == [".data-00000-of-00001", ".index"]
        assert not any(exists for _, exists in indexes)
    else:
        checkpoints.remove(target)
        assert indexes == [(".index", True), (".data-00000-of-00001", False)]


def shapes():
    return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}


def test_fitting_checkpoints(graph):
    build("squad")
    checkpoints.check_fits(str(SQUAD), shapes(), all_needed=True)
    checkpoints.check_fits(checkpoint_of("pretraining"), shapes(), all_needed=False)


def test_a_checkpoint_without_the_head_cannot_predict(graph):
    build("squad")
    with pytest.raises(
        InputError, match="has no cls/squad/output_weights, cls/squad/output_bias; fine-tune"
    ):
        checkpoints.check_fits(checkpoint_of("pretraining"), shapes(), all_needed=True)


def test_a_checkpoint_of_another_size_is_refused():
    model = {"bert/pooler/dense/bias": [64], "bert/embeddings/word_embeddings": [420, 16]}
    with pytest.raises(
        InputError,
        match=r"bert/pooler/dense/bias has shape \[32\], not \[64\]; give the config",
    ):
        checkpoints.check_fits(str(SQUAD), model, all_needed=False)


def test_a_checkpoint_of_something_else_is_refused():
    with pytest.raises(InputError, match="the checkpoint has none of the model's 1 variables"):
        checkpoints.check_fits(str(SQUAD), {"w": [1]}, all_needed=False)


def test_an_unreadable_checkpoint_is_refused(tmp_path):
    (tmp_path / "model.ckpt-1.index").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        checkpoints.shapes_in(str(tmp_path / "model.ckpt-1"))

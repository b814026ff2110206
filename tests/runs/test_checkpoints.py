"""Search for checkpoints, checks against the model, and initialization from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.errors import InputError
from albert_tf.runs import checkpoints
from golden import build, checkpoint_of

SQUAD = Path(checkpoint_of("squad"))


def shapes():
    return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}


@pytest.mark.parametrize("suffix", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_any_of_its_files_means_the_checkpoint(suffix):
    assert checkpoints.find_checkpoint(f"{SQUAD}{suffix}") == str(SQUAD)


def test_a_directory_means_its_best_or_latest_checkpoint(tmp_path, graph):
    tf.get_variable("w", [])
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in (5, 10):
            saver.save(session, str(tmp_path / "model.ckpt"), step)
    assert checkpoints.find_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-10")
    checkpoints.keep_as_best(str(tmp_path / "model.ckpt-5"))
    assert checkpoints.find_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-best")


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index", "none/model.ckpt-best"])
def test_missing_checkpoints_are_refused(name):
    with pytest.raises(InputError, match="no checkpoint found"):
        checkpoints.find_checkpoint(str(SQUAD.parent / name))


def test_the_message_names_checkpoints_nearby():
    with pytest.raises(InputError, match=f"the directory has {SQUAD}$"):
        checkpoints.find_checkpoint(str(SQUAD.parent / "model.ckpt"))


def test_incomplete_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match="no checkpoint in this directory"):
        checkpoints.find_checkpoint(str(tmp_path))
    shutil.copy(f"{SQUAD}.index", tmp_path)
    with pytest.raises(InputError, match=r"model\.ckpt-best\.data-\* is missing"):
        checkpoints.find_checkpoint(str(tmp_path / "model.ckpt-best"))


def test_saved_checkpoints_are_listed_by_age_without_the_first(tmp_path, graph):
    tf.get_variable("w", [])
    saver = tf.train.Saver(max_to_keep=3)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in (0, 90, 100):
            saver.save(session, str(tmp_path / "model.ckpt"), step)
    names = [Path(prefix).name for prefix in checkpoints.saved_checkpoints(str(tmp_path))]
    assert names == ["model.ckpt-90", "model.ckpt-100"]
    assert checkpoints.saved_checkpoints(str(tmp_path / "none")) == []


def test_step_of():
    assert checkpoints.step_of("/a-7/model.ckpt-300") == 300
    assert checkpoints.step_of("/a/model.ckpt-best") is None


def test_the_best_checkpoint_is_a_copy_that_replaces_the_last(tmp_path):
    for name, content in (("model.ckpt-1", b"old"), ("model.ckpt-2", b"new")):
        for suffix in (".index", ".meta", ".data-00000-of-00001"):
            (tmp_path / f"{name}{suffix}").write_bytes(content)
    (tmp_path / "model.ckpt-1.data-00001-of-00002").write_bytes(b"old shard")
    checkpoints.keep_as_best(str(tmp_path / "model.ckpt-1"))
    assert (tmp_path / "model.ckpt-best.data-00001-of-00002").read_bytes() == b"old shard"
    checkpoints.keep_as_best(str(tmp_path / "model.ckpt-2"))
    best = {file.name: file.read_bytes() for file in tmp_path.glob("model.ckpt-best*")}
    assert best == {
        "model.ckpt-best.index": b"new",
        "model.ckpt-best.meta": b"new",
        "model.ckpt-best.data-00000-of-00001": b"new",
    }


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    kept = {
        "checkpoint",
        "graph.pbtxt",
        "model.ckpt-4.index",
        "model.ckpt-4.data-00000-of-00001",
        "model.ckpt-best.index",
        "notes.tmp",
    }
    half_written = {
        "checkpoint.tmp2d0692b07c774e1cb0e9f8a4e6936d5c",
        "graph.pbtxt.tmp2d0692b07c774e1cb0e9f8a4e6936d5c",
        "model.ckpt-8.meta.tmp2d0692b07c774e1cb0e9f8a4e6936d5c",
        "model.ckpt-8.index.tempstate1234567",
        "model.ckpt-best.index.tmp",
    }
    for name in kept | half_written:
        (tmp_path / name).touch()
    part = tmp_path / "model.ckpt-8_temp" / "part-00000-of-00001.index"
    part.parent.mkdir()
    part.touch()
    checkpoints.remove_unfinished(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == kept
    checkpoints.remove_unfinished(str(tmp_path / "not there yet"))


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


def test_start_from_another_head(graph, caplog):
    caplog.set_level("INFO")
    build("squad")
    checkpoints.initialize_from(checkpoint_of("pretraining"))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run({v.op.name: v for v in tf.trainable_variables()})
    name = "bert/embeddings/word_embeddings"
    saved = tf.train.load_variable(checkpoint_of("pretraining"), name)
    np.testing.assert_array_equal(values[name], saved)
    assert "25 of 27 variables start from" in caplog.text
    assert "randomly initialized: cls/squad/output_weights, cls/squad/output_bias" in caplog.text
    assert "unused variables of the checkpoint: cls/predictions/output_bias, " in caplog.text
    assert "and 3 more" in caplog.text

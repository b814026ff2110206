"""Search for checkpoints, checks against the model, and initialization from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoint_files, checkpoints
from golden import build, checkpoint_of

pytestmark = pytest.mark.tensorflow

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
            saver.save(session, str(tmp_path / "model.ckpt"), step, write_state=False)
    assert checkpoints.find_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-10")
    checkpoint_files.keep_as_best(str(tmp_path / "model.ckpt-5"))
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
    assert " and 2 more" in caplog.text

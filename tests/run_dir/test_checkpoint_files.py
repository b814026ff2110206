"""Files of checkpoints: search, completeness, saving, copies, removal; the file `checkpoint`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.run_dir import checkpoint_files
from golden import checkpoint_of

pytestmark = pytest.mark.tensorflow

SQUAD = Path(checkpoint_of("squad"))
SUFFIXES = (".index", ".meta", ".data-00000-of-00001")


def copy_to(directory, *steps):
    """Copies of a complete checkpoint under the names of these steps."""
    prefixes = [str(directory / f"model.ckpt-{step}") for step in steps]
    for prefix in prefixes:
        Path(f"{prefix}.meta").touch()
        for suffix in (".index", ".data-00000-of-00001"):
            shutil.copyfile(f"{SQUAD}{suffix}", f"{prefix}{suffix}")
    return prefixes


def test_step_of():
    assert checkpoint_files.step_of("/a-7/model.ckpt-300") == 300
    assert checkpoint_files.step_of("/a/model.ckpt-best") is None


def test_checkpoints_are_found_by_their_files_in_the_order_of_steps(tmp_path):
    copy_to(tmp_path, 100, 0, 90)
    copy_to(tmp_path, "best")
    names = [Path(p).name for p in checkpoint_files.saved_checkpoints(str(tmp_path))]
    assert names == ["model.ckpt-0", "model.ckpt-90", "model.ckpt-100"]
    assert checkpoint_files.saved_checkpoints(str(tmp_path / "none")) == []


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def without_meta(directory):
    (directory / "model.ckpt-8.meta").unlink()


DAMAGES = [
    (lambda d: cut(d / "model.ckpt-8.data-00000-of-00001"), r"model\.ckpt-8\.data-\* has been cut"),
    (lambda d: (d / "model.ckpt-8.data-00000-of-00001").unlink(), r"data-\* is missing"),
    (lambda d: (d / "model.ckpt-8.index").unlink(), r"model\.ckpt-8\.index is missing"),
    (lambda d: cut(d / "model.ckpt-8.index"), r"model\.ckpt-8\.index cannot be read"),
    (lambda d: (d / "model.ckpt-8.index").write_bytes(b""), r"\.index cannot be read"),
    (
        lambda d: (d / "model.ckpt-8.data-00000-of-00001").rename(
            d / "model.ckpt-8.data-00000-of-00002"
        ),
        r"some of .*model\.ckpt-8\.data-\* are missing",
    ),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_incomplete_checkpoints_are_not_used(tmp_path, damage, reason):
    first, second = copy_to(tmp_path, 4, 8)
    damage(tmp_path)
    assert re.search(reason, checkpoint_files.problem(second))
    assert checkpoint_files.problem(first) is None
    assert checkpoint_files.saved_checkpoints(str(tmp_path)) == [first]


def test_a_checkpoint_without_meta_graph_is_complete(tmp_path):
    (prefix,) = copy_to(tmp_path, 8)
    without_meta(tmp_path)
    assert checkpoint_files.saved_checkpoints(str(tmp_path)) == [prefix]
    checkpoint_files.add_missing_meta_graphs(str(tmp_path), b"graph")
    assert (tmp_path / "model.ckpt-8.meta").read_bytes() == b"graph"


def test_saving(tmp_path, graph):
    variable = tf.get_variable("w", [3], initializer=tf.ones_initializer())
    saver = tf.train.Saver(sharded=True)
    prefix = str(tmp_path / "model.ckpt-6")
    with tf.Session() as session:
        session.run(variable.initializer)
        checkpoint_files.save(session, saver, b"graph", prefix, only_to_resume=True)
        assert checkpoint_files.is_only_to_resume(prefix)
        first = checkpoint_files.digest(prefix)
        session.run(variable.assign([1.0, 2.0, 3.0]))
        checkpoint_files.save(session, saver, b"graph", prefix)
    assert not checkpoint_files.is_only_to_resume(prefix)
    assert checkpoint_files.digest(prefix) != first
    assert tf.train.load_variable(prefix, "w").tolist() == [1.0, 2.0, 3.0]
    assert {path.name for path in tmp_path.iterdir()} == {f"model.ckpt-6{s}" for s in SUFFIXES}


def test_the_best_checkpoint_is_a_copy_that_replaces_the_last(tmp_path):
    for name, content in (("model.ckpt-1", b"old"), ("model.ckpt-2", b"new")):
        for suffix in SUFFIXES:
            (tmp_path / f"{name}{suffix}").write_bytes(content)
    (tmp_path / "model.ckpt-1.data-00001-of-00002").write_bytes(b"old shard")
    checkpoint_files.keep_as_best(str(tmp_path / "model.ckpt-1"))
    assert (tmp_path / "model.ckpt-best.data-00001-of-00002").read_bytes() == b"old shard"
    checkpoint_files.keep_as_best(str(tmp_path / "model.ckpt-2"))
    best = {file.name: file.read_bytes() for file in tmp_path.glob("model.ckpt-best*")}
    assert best == {f"model.ckpt-best{suffix}": b"new" for suffix in SUFFIXES}


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    kept = {
        "checkpoint",
        "graph.pbtxt",
        "model.ckpt-4.index",
        "model.ckpt-4.data-00000-of-00001",
        "model.ckpt-best.index",
        "model.ckpt-best.meta",
        "notes.tmp",
    }
    half_written = {
        "checkpoint.tmp2d0692b07c774e1cb0e9f8a4e6936d5c",
        "graph.pbtxt.tmp2d0692b07c774e1cb0e9f8a4e6936d5c",
        "model.ckpt-8.meta",
        "model.ckpt-8.only-to-resume",
        "model.ckpt-8.data-00000-of-00001",
        "model.ckpt-8.meta.tmp2d0692b07c774e1cb0e9f8a4e6936d5c",
        "model.ckpt-8.index.tempstate1234567",
        "model.ckpt-best.index.tmp",
    }
    for name in kept | half_written:
        (tmp_path / name).touch()
    part = tmp_path / "model.ckpt-8_temp" / "part-00000-of-00001.index"
    part.parent.mkdir()
    part.touch()
    checkpoint_files.remove_unfinished(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == kept
    checkpoint_files.remove_unfinished(str(tmp_path / "not there yet"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "checkpoint is missing or cannot be read"),
        (b"", "checkpoint is missing or cannot be read"),
        (b"\xff\x00garbage", "checkpoint is missing or cannot be read"),
        (b'model_checkpoint_path: "/elsewhere/model.ckpt-8"\n', "names /elsewhere/model.ckpt-8"),
        (b'model_checkpoint_path: "../other/model.ckpt-8"\n', "names .*other/model.ckpt-8"),
        (b'model_checkpoint_path: "model.ckpt-4"\n', "names model.ckpt-4"),
        (b'model_checkpoint_path: "model.ckpt-9"\n', "names model.ckpt-9"),
    ],
)
def test_the_file_checkpoint_is_corrected(tmp_path, caplog, content, message):
    prefixes = copy_to(tmp_path, 4, 8)
    path = tmp_path / "checkpoint"
    if content is not None:
        path.write_bytes(content)
    checkpoint_files.correct_state(str(tmp_path), prefixes)
    (record,) = caplog.records
    assert re.search(f"{message}: resuming from {prefixes[1]}", record.getMessage())
    assert tf.train.latest_checkpoint(str(tmp_path)) == prefixes[1]
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_paths) == prefixes


def test_a_right_file_checkpoint_stays(tmp_path, caplog):
    prefixes = copy_to(tmp_path, 4, 8)
    path = tmp_path / "checkpoint"
    for named in ("model.ckpt-8", tmp_path / "model.ckpt-8"):
        path.write_text(f'model_checkpoint_path: "{named}"\n')
        checkpoint_files.correct_state(str(tmp_path), prefixes)
        assert path.read_text() == f'model_checkpoint_path: "{named}"\n'
    assert not caplog.records


def test_a_file_checkpoint_without_checkpoints_is_removed(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_text(f'model_checkpoint_path: "{SQUAD}"\n')
    checkpoint_files.correct_state(str(tmp_path), [])
    assert not path.exists()
    checkpoint_files.correct_state(str(tmp_path), [])

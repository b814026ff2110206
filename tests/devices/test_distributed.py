"""Shards, single-process runs, and launch errors; for several processes see test_horovod.py."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices import distributed, reductions
from albert_tf.records import datasets
from scripts import SQUAD_FLAGS, fail, run_script


def run_squad(output_dir, use_horovod, **environment):
    """Run run_squad_v1.py with changed environment variables."""
    flags = {**SQUAD_FLAGS, "output_dir": output_dir, "use_horovod": use_horovod}
    fresh = "PYTHONPATH" in environment
    return run_script("run_squad_v1.py", flags, env=environment, fresh=fresh)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (10, 3, [range(0, 4), range(4, 7), range(7, 10)]),
        (9, 3, [range(0, 3), range(3, 6), range(6, 9)]),
        (2, 3, [range(0, 1), range(1, 2), range(2, 2)]),
        (5, 1, [range(0, 5)]),
    ],
)
def test_shards(count, size, expected):
    assert [distributed.shard_of(count, rank, size) for rank in range(size)] == expected


def test_shards_of_files():
    """Ten records in three files, split over three ranks into 4, 3 and 3."""
    counts = [5, 1, 4]
    spans = [datasets.spans_of(distributed.shard_of(10, rank, 3), counts) for rank in range(3)]
    assert spans == [
        [range(0, 4), range(0, 0), range(0, 0)],
        [range(4, 5), range(0, 1), range(0, 1)],
        [range(5, 5), range(1, 1), range(1, 4)],
    ]


def test_one_process():
    assert (distributed.rank(), distributed.size(), distributed.local_rank()) == (0, 1, 0)
    assert distributed.is_chief()
    assert distributed.own_shard(7) == range(7)
    assert distributed.own_file("x.tfrecord") == "x.tfrecord"
    assert distributed.own_directory("out") == "out"
    assert distributed.shard_setting() == {}
    assert distributed.gather({"a": 1}) == [{"a": 1}]
    assert distributed.broadcast("b") == "b"
    assert distributed.sum_of_earlier(lambda: 1 // 0) == 0
    tensor = tf.constant([1.0])
    assert reductions.average([tensor], "mean", "fp16") == [tensor]
    assert reductions.training_hooks() == []


@pytest.mark.parametrize(("disabled", "enabled"), [("", True), ("0", True), ("True", False)])
def test_the_scoped_allocator(monkeypatch, disabled, enabled):
    monkeypatch.setenv("TF_DISABLE_SCOPED_ALLOCATOR", disabled)
    config = tf.ConfigProto()
    reductions.share_buffers(config)
    options = config.graph_options.rewrite_options
    ops = list(options.scoped_allocator_opts.enable_op)
    assert ops == (["HorovodAllreduce"] if enabled else [])
    assert (options.scoped_allocator_optimization == options.ON) == enabled


def test_without_horovod(tmp_path):
    """An empty package `horovod` hides an installed one."""
    (tmp_path / "horovod").mkdir()
    (tmp_path / "horovod/__init__.py").touch()
    result = run_squad(tmp_path / "out", True, PYTHONPATH=str(tmp_path))
    (error,) = fail(result)
    assert "--use_horovod: Horovod is not installed; run `make horovod`" in error


def test_unloadable_horovod(tmp_path):
    (tmp_path / "horovod/tensorflow").mkdir(parents=True)
    (tmp_path / "horovod/__init__.py").touch()
    (tmp_path / "horovod/tensorflow/__init__.py").write_text("raise ImportError('old symbol')")
    result = run_squad(tmp_path / "out", True, PYTHONPATH=str(tmp_path))
    (error,) = fail(result)
    assert "Horovod cannot be loaded (old symbol); rebuild it" in error


def test_several_processes_without_the_flag(tmp_path):
    (error,) = fail(run_squad(tmp_path, False, OMPI_COMM_WORLD_SIZE="2"))
    assert "2 processes were launched without --use_horovod" in error
    assert "add --use_horovod" in error

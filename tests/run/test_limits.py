"""`--max_train_examples` and `--max_eval_examples`."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.io.errors import InputError
from albert_tf.records import manifests, record_files
from albert_tf.run import evaluation
from task_factory import make_context

LIMITS = {"max_train_examples": 3, "max_eval_examples": 2}


def test_examples_are_spread_over_the_file(tmp_path):
    whole = make_context("classifier", tmp_path / "whole")
    limited = make_context("classifier", tmp_path / "run", **LIMITS)
    for name, places in (("train_shards", (0, 1, 3)), ("eval_shards", (0, 2))):
        (every,), (some,) = getattr(whole, name), getattr(limited, name)
        assert some.examples == [every.examples[place] for place in places]
    assert len(limited.test_shards[0].examples) == 5


def test_records_and_results_depend_on_the_limits(tmp_path):
    counts, results = zip(*(made(tmp_path, limits) for limits in ({}, LIMITS, {})))
    assert counts == ([5, 5], [3, 2], [5, 5])
    assert results[1] == {**results[0], "max_eval_examples": 2}
    assert results[2] == results[0]


def made(directory, limits):
    """Numbers of the records made for training and evaluation, and what results depend on."""
    setup = make_context("classifier", directory, **limits)
    shards = (*setup.train_shards, *setup.eval_shards)
    for shard in shards:
        shard.prepare()
        shard._readers.clear()  # lets the next run make the files again
    return [shard.num_records for shard in shards], evaluation._evaluated_on(setup)


def test_a_file_without_a_manifest_is_used_whole(tmp_path):
    (shard,) = make_context("classifier", tmp_path).train_shards
    shard.prepare()
    manifests.manifest_path(shard.paths[0]).unlink()
    message = r"mrpc_train\.tf_record: has no manifest, so it is used whole; leave out --max_train"
    with pytest.raises(InputError, match=message):
        make_context("classifier", tmp_path, **LIMITS)


def test_records_of_pretraining(tmp_path, pretraining_files, graph):
    limits = {"max_train_examples": 10, "max_eval_examples": 5}
    setup = make_context("pretraining", tmp_path, input_file=pretraining_files, **limits)
    (train,), (evaluated,) = setup.train_shards, setup.eval_shards
    assert evaluated.examples == range(5)
    batch = tf.data.make_one_shot_iterator(train.training_dataset(0)).get_next()["input_ids"]
    with tf.Session() as session:
        rows = {tuple(row) for _ in range(5) for row in session.run(batch)}
    first = next(iter(sorted(train.paths)))
    assert record_files.count_records(first) > 10
    assert len(rows) == 10  # five batches of eight take each four times

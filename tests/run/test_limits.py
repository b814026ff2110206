"""`--max_train_examples` and `--max_eval_examples`."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices.device import PORTABLE
from albert_tf.graph.prediction import Predictor
from albert_tf.io.errors import InputError
from albert_tf.records import record_files
from albert_tf.run import training
from albert_tf.run.evaluation import Evaluator
from albert_tf.run_dir.evaluations import read_results
from task_factory import make_context

LIMITS = {"max_train_examples": 3, "max_eval_examples": 2}


def test_examples_are_spread_over_the_file(tmp_path):
    whole = make_context("classifier", tmp_path / "whole")
    limited = make_context("classifier", tmp_path / "run", **LIMITS)
    for every, some, places in (
        (whole.train, limited.train, (0, 1, 3)),
        (whole.dev[0], limited.dev[0], (0, 2)),
    ):
        assert some.examples == [every.examples[place] for place in places]
    assert len(limited.test[0].examples) == 5


def test_records_and_results_depend_on_the_limits(tmp_path):
    counts, results = zip(*(made(tmp_path, limits) for limits in ({}, LIMITS, {})))
    assert counts == ([5, 5], [3, 2], [5, 5])
    assert results[1] != results[0]
    assert results[2] == results[0]


def made(directory, limits):
    """Numbers of the records for training and evaluation, and the inputs of the outcome."""
    context = make_context("classifier", directory, do_predict=False, **limits)
    shards = (context.train, *context.dev)
    for shard in shards:
        shard.prepare()
    only_evaluate = {"do_train": False, "do_predict": False, **limits}
    context = make_context("classifier", directory / "evaluated", **only_evaluate)
    predictor = Predictor(context.task, PORTABLE)
    Evaluator(context, predictor).finish()
    predictor.close()
    inputs = read_results(directory / "evaluated").text("inputs")
    return [shard.num_records for shard in shards], inputs


def test_a_file_without_a_manifest_is_used_whole(tmp_path):
    shard = make_context("classifier", tmp_path).train
    shard.prepare()
    Path(shard.paths[0]).rename(tmp_path / "mrpc_train.tf_record")
    message = r"mrpc_train\.tf_record: has no manifest, so it is used whole; leave out --max_train"
    with pytest.raises(InputError, match=message):
        make_context("classifier", tmp_path, **LIMITS)


def test_records_of_pretraining(tmp_path, pretraining_files, graph):
    limits = {"max_train_examples": 10, "max_eval_examples": 5}
    context = make_context("pretraining", tmp_path, input_file=pretraining_files, **limits)
    train, (evaluated,) = context.train, context.dev
    assert evaluated.num_examples == 5
    dataset = training.training_dataset(context, 0)
    batch = tf.data.make_one_shot_iterator(dataset).get_next()["input_ids"]
    with tf.Session() as session:
        rows = {tuple(row) for _ in range(5) for row in session.run(batch)}
    first = next(iter(sorted(train.paths)))
    assert record_files.count_records(first) > 10
    assert len(rows) == 10  # five batches of eight take each four times

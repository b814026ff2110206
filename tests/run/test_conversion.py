"""Conversion of examples to records by worker processes."""

from __future__ import annotations

import json
import os

import pytest

from albert_tf.devices import distributed
from albert_tf.records import record_files
from albert_tf.run import conversion
from albert_tf.tasks.squad.data import Question
from golden import golden_lines, golden_records
from task_factory import make_context


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of four examples, of which the sample has enough for several workers."""
    monkeypatch.setattr(conversion, "_CHUNK", 4)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_records_do_not_depend_on_the_workers(tmp_path, num_workers):
    setup = make_context("squad", tmp_path, num_workers=num_workers)
    for shard, split in zip(setup.shards, ("train", "predict")):
        shard.prepare()
        assert list(record_files.read_records(shard.paths[0])) == golden_records(split)
    windows = [json.loads(window) for window in record_files.read_records(shard.paths[1])]
    expected = [line["example_index"] for line in golden_lines("squad_predict_s96")]
    assert [window["question"] for window in windows] == expected


def test_examples_that_belong_together_share_a_chunk():
    examples = ["a1", "b1", "b2", "b3", "b4", "c1", "d1", "d2", "d3"]

    def same_letter(first, second):
        return first[0] == second[0]

    spans = conversion.chunk_spans(examples, same_letter, 3)
    assert list(spans) == [range(5), range(5, 9)]
    assert list(conversion.chunk_spans([], same_letter, 3)) == []


def test_skipped_examples_are_counted_and_named(tmp_path, caplog):
    setup = make_context("squad", tmp_path)
    questions = [Question(f"q{n}", "Who?", " " if n % 5 == 3 else f"Text {n}") for n in range(12)]
    (shard,) = setup.eval_shards
    chunks = list(conversion.convert(setup.task, shard.data_set, questions, 2))
    assert [len(chunk.records) for chunk in chunks] == [3, 4, 3]
    (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert message == (
        "skipped 2 examples, as normalization leaves nothing of their paragraph: q3 q8"
    )


def test_one_process_takes_all_of_its_cores():
    assert distributed.own_cores() == len(os.sched_getaffinity(0))

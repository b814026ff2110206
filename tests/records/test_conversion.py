"""Conversion of examples to records by worker processes."""

from __future__ import annotations

import json
import os

import pytest

from albert_tf.devices import distributed
from albert_tf.records import conversion, record_files
from albert_tf.records.splits import Record, Skipped
from golden import golden_lines, golden_records
from task_factory import make_context


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of four examples, of which the sample has enough for several workers."""
    monkeypatch.setattr(conversion, "_CHUNK", 4)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_records_do_not_depend_on_the_workers(tmp_path, num_workers):
    context = make_context("squad", tmp_path, num_workers=num_workers)
    for shard, split in zip(context.shards, ("train", "predict")):
        shard.prepare()
        assert list(record_files.read_records(shard.paths[0])) == golden_records(split)
    windows = [json.loads(window) for window in record_files.read_records(shard.paths[1])]
    expected = [line["example_index"] for line in golden_lines("squad_predict_s96")]
    assert [window["question"] for window in windows] == expected


def doubled(examples):
    """Two records of each example that is no multiple of 5, with its index as companion."""
    for number, value in examples.items():
        if value % 5:
            yield Record({"value": [value]}, {"example": number})
            yield Record({"value": [-value]}, {"example": number})
        else:
            yield Skipped(f"x{value}", "it is a multiple of 5")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_records_are_in_the_order_of_their_examples(num_workers, caplog):
    examples = range(101, 112)
    records, companions = zip(*conversion.converted(doubled, examples, num_workers))
    assert list(records) == [
        record_files.serialize_example({"value": [sign * value]})
        for value in examples
        if value % 5
        for sign in (1, -1)
    ]
    assert [json.loads(companion)["example"] for companion in companions] == [
        number for number, value in enumerate(examples) if value % 5 for _ in range(2)
    ]
    (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert message == "skipped 2 examples, as it is a multiple of 5: x105 x110"


def test_examples_are_read_once_and_in_order():
    class Stream(list):
        """Examples that are dear to find by their index."""

        walks = 0

        def __iter__(self):
            self.walks += 1
            return super().__iter__()

        def __getitem__(self, index):
            raise AssertionError(f"example {index} is searched for")

    examples = Stream(range(101, 112))
    assert len(list(conversion.converted(doubled, examples, 2))) == 18
    assert examples.walks == 1


def test_no_examples_have_no_records():
    assert list(conversion.converted(doubled, [], 2)) == []


def test_one_process_takes_all_of_its_cores():
    assert distributed.own_cores() == len(os.sched_getaffinity(0))

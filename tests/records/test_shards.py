"""Tests of shards: names, reuse and contents of the record files of a split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.io.errors import InputError
from albert_tf.records import manifests, record_files, shards
from albert_tf.records.manifests import Origin
from albert_tf.records.shards import ExampleShard, RecordShard
from albert_tf.records.splits import DEV, TRAIN, Record, RecordSplit, Skipped, Split

FIELDS = {
    "unique_ids": tf.io.FixedLenFeature([], tf.int64),
    "input_ids": tf.io.FixedLenFeature([4], tf.int64),
    "input_mask": tf.io.FixedLenFeature([4], tf.int64),
}


def convert(examples):
    """A record for each letter of an example."""
    for number, word in examples.items():
        if not word:
            yield Skipped(f"example {number}", "it is empty")
        for letter in word:
            values = {"input_ids": [ord(letter), 1, 1, 0], "input_mask": [1, 1, 1, 0]}
            yield Record(values, {"example": number})


@pytest.fixture
def make_shard(tmp_path):
    """Function that makes the shard of a split of words, with a companion file."""
    source = tmp_path / "words"
    source.write_text("ab, c, , def")

    def make(settings=None, limit=None, **changes):
        values = {
            "batch_size": 2,
            "companion_name": "windows.tfrecord",
            "numbered": ("unique_ids", 1000),
            **changes,
        }
        split = Split(
            DEV, "features.tfrecord", {"words": str(source)}, ["ab", "c", "", "def"], **values
        )
        directory = str(tmp_path / "run")
        return ExampleShard(split.limited(limit), FIELDS, convert, settings or {}, {}, directory, 1)

    return make


def ids(path):
    """Numbers and first ids of the records of a file."""
    examples = map(tf.train.Example.FromString, record_files.read_records(path))
    return [
        (x.features.feature["unique_ids"].int64_list.value[0], chr(first))
        for x in examples
        for first in x.features.feature["input_ids"].int64_list.value[:1]
    ]


def test_records_and_companions_are_written(make_shard, tmp_path):
    shard = make_shard()
    shard.check()
    assert not shard.are_made()
    shard.prepare()
    assert shard.num_records == 6
    assert shard.are_made()
    features, windows = map(Path, shard.paths)
    assert features.parent == windows.parent == tmp_path / "run"
    assert ids(features) == [(1000 + number, letter) for number, letter in enumerate("abcdef")]
    assert [x.integer("example", 0) for x in shard.companions()] == [0, 0, 1, 3, 3, 3]
    manifest = json.loads(manifests.manifest_path(features).read_text())
    assert manifest["settings"] == {"records_version": 1}
    assert manifest["inputs"] == shard.fingerprint
    assert list(shard.fingerprint) == ["words"]


def test_files_are_named_by_what_they_are_made_of(make_shard, tmp_path):
    made = [
        make_shard(),
        make_shard({"max_seq_length": 4}),
        make_shard({"max_seq_length": 5}),
        make_shard(settings={"max_seq_length": 5}, limit=2),
        make_shard(record_dir=str(tmp_path / "cache")),
    ]
    names = [Path(shard.paths[0]).name for shard in made]
    assert len(set(names)) == 4
    assert names[4] == names[0]
    assert all(name.startswith("features-") and name.endswith(".tfrecord") for name in names)
    assert Path(made[4].paths[0]).parent == tmp_path / "cache"
    (tmp_path / "words").write_text("others")
    assert Path(make_shard().paths[0]).name not in names


@pytest.mark.parametrize("are_given", [False, True])
def test_files_are_reused_by_the_same_and_made_anew_by_others(make_shard, tmp_path, are_given):
    names = {"record_file": "features", "companion_file": "windows"}
    given = {name: str(tmp_path / path) for name, path in names.items()} if are_given else {}
    first = make_shard(**given)
    first.prepare()
    times = [Path(path).stat().st_mtime_ns for path in first.paths]
    again = make_shard(**given)
    assert again.are_made()
    again.prepare()
    assert again.num_records == 6
    assert [Path(path).stat().st_mtime_ns for path in again.paths] == times
    other = make_shard(limit=2, **given)
    other.prepare()
    assert [letter for _, letter in ids(other.paths[0])] == ["a", "b"]
    assert first.are_made() == (not are_given)
    assert other.are_made()


def test_a_lost_companion_file_is_made_again(make_shard):
    shard = make_shard()
    shard.prepare()
    Path(shard.paths[1]).unlink()
    again = make_shard()
    assert not again.are_made()
    again.prepare()
    assert len(list(again.companions())) == again.num_records == 6


@pytest.fixture
def foreign(make_shard, tmp_path):
    """A record file as if made by another program: without a manifest."""
    path = tmp_path / "run/features.tfrecord"
    shard = make_shard(record_file=str(path), companion_name=None)
    shard.prepare()
    manifests.manifest_path(path).unlink()
    return path


def test_a_file_of_another_program_is_used_with_companions_made_for_it(make_shard, foreign):
    before = foreign.stat().st_mtime_ns
    shard = make_shard()
    assert shard.paths[0] == str(foreign)
    shard.check()
    shard.prepare()
    assert shard.num_records == len(list(shard.companions())) == 6
    assert foreign.stat().st_mtime_ns == before


def test_a_file_of_another_program_that_does_not_fit_is_left_alone(make_shard, foreign, caplog):
    caplog.set_level("INFO")
    values = {"unique_ids": [1], "input_ids": [1] * 9, "input_mask": [1] * 9}
    with tf.io.TFRecordWriter(str(foreign)) as writer:
        writer.write(record_files.serialize_example(values))
    shard = make_shard()
    assert shard.paths[0] != str(foreign)
    message = "record 1 has 9 values of input_ids, this run needs 4"
    assert f"not used: {foreign}: {message}" in caplog.text
    with pytest.raises(InputError, match=message):
        make_shard(record_file=str(foreign)).check()


def test_a_file_of_another_program_has_other_examples(make_shard, foreign):
    records = list(record_files.read_records(foreign))
    with tf.io.TFRecordWriter(str(foreign)) as writer:
        for record in records[:-1]:
            writer.write(record)
    message = "do not belong together: the first has 5 records, the second 6; remove both to"
    with pytest.raises(InputError, match=message):
        make_shard().prepare()
    shard = make_shard(companion_name=None)
    shard.prepare()
    with pytest.raises(InputError, match=r"has 3 examples, but .*/words has 4; remove the first"):
        shard.check_predictions([1, 2, 3])


def test_a_file_of_another_program_is_used_whole(make_shard, foreign):
    message = "has no manifest, so it is used whole; leave out --max_train_examples and --max_eval"
    with pytest.raises(InputError, match=message):
        make_shard(limit=2).check()


def test_paths_that_cannot_be_written(make_shard, foreign, tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: is a directory; give the path of a file"):
        make_shard(record_file=str(tmp_path)).check()
    with pytest.raises(InputError, match="/words/features: not a directory; give another path"):
        make_shard(record_file=str(tmp_path / "words/features")).check()
    with pytest.raises(InputError, match=f"{foreign}: no manifest next to it, so it was not"):
        make_shard(record_file=str(tmp_path / "new"), companion_file=str(foreign)).check()


def test_a_damaged_record_is_named(make_shard):
    shard = make_shard()
    shard.check_records()  # there is none yet
    shard.prepare()
    with Path(shard.paths[0]).open("r+b") as file:
        file.seek(30)
        file.write(b"\xff\xff")
    with pytest.raises(InputError, match="record 1 is damaged; copy the file again, or remove it"):
        shard.check_records()


def batches(dataset):
    with tf.Session() as session:
        batch = tf.data.make_one_shot_iterator(dataset).get_next()
        while True:
            try:
                yield session.run(batch)
            except tf.errors.OutOfRangeError:
                return


@pytest.mark.parametrize("lengths", [[], [2, 4]])
def test_batches_to_predict_have_the_numbers_of_the_records(graph, make_shard, lengths):
    shard = make_shard()
    shard.prepare()
    found = list(batches(shard.prediction_dataset(lengths)))
    assert {batch["input_ids"].shape for batch in found} == {(2, 4 if lengths else 3)}
    numbers = np.concatenate([batch[shards.NUMBER] for batch in found])
    assert sorted(numbers) == list(range(6))
    assert list(np.concatenate([batch["unique_ids"] for batch in found])) == list(numbers + 1000)


@pytest.fixture
def record_paths(tmp_path):
    """Two record files with three and two records; their ids are 0 to 4."""
    paths, first = [], 0
    for name, count in (("x", 3), ("y", 2)):
        path = str(tmp_path / name)
        origin = Origin({"vocab_size": 100}, {})
        with manifests.record_writers([path], origin) as (writer,):
            for number in range(first, first + count):
                values = {"unique_ids": [7], "input_ids": [number] * 4, "input_mask": [1] * 4}
                writer.write(record_files.serialize_example(values))
        paths.append(path)
        first += count
    return paths


def record_shard(paths, most=None):
    split = RecordSplit(TRAIN, "input_file", paths, batch_size=2, max_records=most)
    return RecordShard(split, FIELDS, 100, "config.json")


def test_record_files_are_counted(record_paths):
    shard = record_shard(record_paths)
    assert shard.counts == dict(zip(record_paths, (3, 2)))
    assert (shard.num_examples, shard.examples) == (5, range(5))
    sizes = [Path(path).stat().st_size for path in record_paths]
    assert shard.fingerprint == {"input_file": [["x", 3, sizes[0]], ["y", 2, sizes[1]]]}
    assert shard.training_spans() == list(zip(record_paths, (range(3), range(2))))


@pytest.mark.parametrize(("most", "spans"), [(4, [range(3), range(1)]), (2, [range(2)])])
def test_a_limit_takes_the_first_records(graph, record_paths, most, spans):
    shard = record_shard(record_paths, most)
    assert shard.training_spans() == list(zip(record_paths, spans))
    assert shard.num_examples == most
    found = list(batches(shard.prediction_dataset([])))
    assert [list(batch[shards.NUMBER]) for batch in found] == [[0, 1], [2, 3]][: most // 2]
    assert [batch["input_ids"][0, 0] for batch in found] == [0, 2][: most // 2]


def test_records_of_another_vocabulary_are_refused(record_paths):
    split = RecordSplit(TRAIN, "input_file", record_paths)
    message = (
        "x: the records were made with a vocabulary of 100 pieces, but config.json has vocab_size "
        "99; make the records with the vocabulary of the model"
    )
    with pytest.raises(InputError, match=message):
        RecordShard(split, FIELDS, 99, "config.json")
    for path in record_paths:
        manifests.manifest_path(path).unlink()
    assert list(RecordShard(split, FIELDS, 5, "config.json").counts.values()) == [3, 2]
    with pytest.raises(
        InputError, match="y: the records were made with a vocabulary of at least 5"
    ):
        RecordShard(split, FIELDS, 4, "config.json")

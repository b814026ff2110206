"""Record files: atomic writes, reuse by manifest, and batches."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices import distributed
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.records import datasets, manifests, record_files
from albert_tf.records.manifests import Origin

pytestmark = pytest.mark.tensorflow

LENGTH = 8
FIELDS = {
    "unique_ids": tf.io.FixedLenFeature([], tf.int64),
    "input_ids": tf.io.FixedLenFeature([LENGTH], tf.int64),
    "input_mask": tf.io.FixedLenFeature([LENGTH], tf.int64),
    "weights": tf.io.FixedLenFeature([2], tf.float32),
}
ORIGIN = Origin({"max_seq_length": LENGTH}, {"train_file": "abc"})


def record(number, size=LENGTH):
    used = 1 + number % LENGTH
    return record_files.serialize_example(
        {
            "unique_ids": [number],
            "input_ids": [number] * used + [0] * (size - used),
            "input_mask": [1] * used + [0] * (size - used),
            "weights": [0.5, float(number)],
        }
    )


def write(path, count=20):
    with manifests.record_writers([path], ORIGIN) as (writer,):
        for number in range(count):
            writer.write(record(number))


@pytest.fixture
def path(tmp_path):
    """Path of a file with 20 records."""
    path = str(tmp_path / "features.tfrecord")
    write(path)
    return path


def run_through(make_dataset, batches=None):
    """Batches of a dataset as NumPy values."""
    values = []
    with tf.Graph().as_default(), tf.Session() as session:
        batch = tf.data.make_one_shot_iterator(make_dataset()).get_next()
        while batches is None or len(values) < batches:
            try:
                values.append(session.run(batch))
            except tf.errors.OutOfRangeError:
                break
    return values


def test_manifest(path):
    manifest = json.loads(manifests.manifest_path(path).read_text())
    assert manifest == {
        "format": 1,
        "records": 20,
        "bytes": 20 * (16 + len(record(1))),
        "sampled_digest": files.sampled_digest(path),
        "settings": {"max_seq_length": LENGTH},
        "inputs": {"train_file": "abc"},
    }


def test_a_manifest_of_another_format(path, caplog):
    file = manifests.manifest_path(path)
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    problem = "its format is 2, this version of the project reads 1"
    assert not manifests.is_made(path, ORIGIN)
    assert manifests.usable_manifest(path, ORIGIN) is None
    assert f"rebuilding because its manifest cannot be read: {file}: {problem}" in caplog.text
    with pytest.raises(InputError, match=problem):
        manifests.checked_count(path, {})


def fail_to_write(path):
    with manifests.record_writers([path], ORIGIN) as (writer,):
        writer.write(record(1))
        raise RuntimeError


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError):
        fail_to_write(str(tmp_path / "features.tfrecord"))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(path):
    before = Path(path).read_bytes()
    with pytest.raises(RuntimeError):
        fail_to_write(path)
    assert Path(path).read_bytes() == before


def test_a_killed_writer_leaves_no_file(tmp_path):
    code = (
        "import os, sys\n"
        "from albert_tf.records.manifests import Origin, record_writers\n"
        "with record_writers([sys.argv[1]], Origin({}, {})) as (writer,):\n"
        "    writer.write(b'x' * 100000)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "features.tfrecord"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert not path.exists()
    assert not manifests.manifest_path(str(path)).exists()
    with manifests.record_writers([str(path)], Origin({}, {})):
        pass
    assert set(tmp_path.iterdir()) == {path, manifests.manifest_path(str(path))}


def test_a_matching_file_is_reused(path):
    manifest = manifests.usable_manifest(path, ORIGIN)
    assert manifest.num_records == 20
    assert manifest.origin == ORIGIN


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        ({"max_seq_length": 9}, {"train_file": "abc"}, "max_seq_length is now 9, was 8"),
        ({"max_seq_length": 8, "new": 1}, {"train_file": "abc"}, "new is now 1, was None"),
        ({"max_seq_length": 8}, {"train_file": "abd"}, "train_file has changed"),
    ],
)
def test_a_file_of_another_origin_is_rebuilt(path, caplog, settings, inputs, message):
    caplog.set_level("INFO")
    assert manifests.usable_manifest(path, Origin(settings, inputs)) is None
    assert f"{path}: rebuilding because {message}" in caplog.text


def test_a_truncated_file_is_rebuilt(path, caplog):
    caplog.set_level("INFO")
    with Path(path).open("r+b") as file:
        file.truncate(1000)
    assert manifests.usable_manifest(path, ORIGIN) is None
    assert "its size is now 1000 bytes, was" in caplog.text


def test_a_missing_file_has_no_usable_manifest(tmp_path):
    assert manifests.usable_manifest(str(tmp_path / "none"), ORIGIN) is None


def test_a_file_with_a_broken_manifest_is_rebuilt_or_refused(path, caplog):
    """Records made of examples are made again; record files given by the user are not."""
    manifests.manifest_path(path).write_text('{"records": 3')
    message = r"manifest.json: not valid JSON: .*; remove it and .* to rebuild both"
    assert not manifests.is_made(path, ORIGIN)
    assert manifests.usable_manifest(path, ORIGIN) is None
    assert re.search(f"rebuilding because its manifest cannot be read: .*{message}", caplog.text)
    with pytest.raises(InputError, match=message):
        manifests.checked_count(path, FIELDS)


def test_a_given_file_is_checked_against_its_manifest(path):
    assert manifests.checked_count(path, FIELDS) == (20, ORIGIN)
    with Path(path).open("r+b") as file:
        file.seek(40)
        file.write(b"\xff")
    message = (
        r"tfrecord: its content has changed, says features\.tfrecord\.manifest\.json; copy both"
    )
    with pytest.raises(InputError, match=message):
        manifests.checked_count(path, FIELDS)


def test_a_matching_foreign_file_is_used(path, caplog):
    caplog.set_level("INFO")
    manifests.manifest_path(path).unlink()
    assert manifests.checked_count(path, FIELDS) == (20, None)
    assert "no manifest, but the first record matches; using 20 records" in caplog.text


def test_a_foreign_file_of_another_length_is_refused(tmp_path):
    path = str(tmp_path / "foreign")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record(1, size=16))
    with pytest.raises(InputError, match="record 1 has 16 values of input_ids, this run needs 8"):
        manifests.checked_count(path, FIELDS)


def test_a_foreign_file_of_another_task_is_refused(tmp_path):
    path = str(tmp_path / "foreign")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record_files.serialize_example({"unique_ids": [1]}))
    with pytest.raises(InputError, match="record 1 has no 'input_ids'"):
        manifests.checked_count(path, FIELDS)


def test_a_truncated_foreign_file_is_refused(path):
    manifests.manifest_path(path).unlink()
    with Path(path).open("r+b") as file:
        file.truncate(3 * (16 + len(record(1))) + 5)
    with pytest.raises(InputError, match="record 4 is truncated"):
        manifests.checked_count(path, FIELDS)


def test_pickles_are_refused_and_not_run(tmp_path):
    path = tmp_path / "left"
    path.write_bytes(pickle.dumps({"a": list(range(1000))}))
    with pytest.raises(InputError, match="not a TFRecord file"):
        manifests.checked_count(str(path), FIELDS)
    with pytest.raises(InputError, match="no manifest next to it"):
        manifests.check_own(str(path))


def test_an_empty_foreign_file_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match="the file has no records"):
        manifests.checked_count(str(tmp_path / "empty"), FIELDS)


def test_an_empty_file_with_a_manifest_is_refused(tmp_path):
    path = str(tmp_path / "empty")
    with manifests.record_writers([path], ORIGIN):
        pass
    with pytest.raises(InputError, match="the file has no records; remove it"):
        manifests.checked_count(path, FIELDS)


def test_a_damaged_record_is_named(path):
    with Path(path).open("r+b") as file:
        file.seek(2 * (16 + len(record(1))) + 40)
        file.write(b"\xff\x00\xff")
    assert record_files.count_records(path) == 20
    with pytest.raises(InputError, match="record 3 is damaged"):
        list(record_files.read_records(path))


def test_training_batches_hold_every_record_once_per_epoch(path):
    batches = run_through(
        lambda: datasets.training_dataset([(path, range(20))], FIELDS, 4), batches=10
    )
    assert batches[0]["input_ids"].dtype == np.int32
    assert batches[0]["input_ids"].shape == (4, LENGTH)
    assert batches[0]["weights"].dtype == np.float32
    ids = np.concatenate([batch["unique_ids"] for batch in batches])
    assert sorted(ids[:20]) == sorted(ids[20:]) == list(range(20))
    assert list(ids[:20]) != list(range(20))
    assert list(ids[:20]) != list(ids[20:])


def test_ranks_read_each_record_once(path):
    """Two files of 20 records, split over three ranks into 14, 13 and 13."""
    ids = []
    for rank in range(3):
        spans = datasets.spans_of(distributed.shard_of(40, rank, 3), [20, 20])
        count = sum(map(len, spans))
        assert count == (14, 13, 13)[rank]
        batches = run_through(
            lambda spans=spans: datasets.training_dataset(
                [(path, span) for span in spans], FIELDS, 1
            ),
            batches=count,
        )
        ids += [batch["unique_ids"][0] for batch in batches]
    assert sorted(ids) == sorted([*range(20), *range(20)])


@pytest.mark.parametrize("parallel", [False, True])
def test_training_resumes_with_the_records_not_read_yet(path, parallel):
    def ids(skip, batches):
        values = run_through(
            lambda: datasets.training_dataset([(path, range(20))], FIELDS, 3, skip, parallel),
            batches,
        )
        return [list(batch["unique_ids"]) for batch in values]

    uninterrupted = ids(0, 20)
    assert ids(3 * 11, 9) == uninterrupted[11:]


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_ranks_have_like_numbers_of_tokens_in_each_step(path, batch_size):
    """Two ranks with records of 1 to 8 tokens, in different orders."""

    def run(seed, deal_by_length, skip_steps=0, steps=32):
        batches = run_through(
            lambda: datasets.training_dataset(
                [(path, range(20))],
                FIELDS,
                batch_size,
                skip_steps * batch_size,
                seed=seed,
                deal_by_length=deal_by_length,
            ),
            steps,
        )
        ids = np.array([batch["unique_ids"] for batch in batches])
        return ids, np.array([batch["input_mask"].sum() for batch in batches])

    ranks = [run(seed, True) for seed in (1, 2)]
    shuffled = [run(seed, False) for seed in (1, 2)]
    waiting, waiting_undealt = (
        np.abs(first - second).sum() for (_, first), (_, second) in (ranks, shuffled)
    )
    assert waiting < 0.4 * waiting_undealt
    for (dealt, tokens), (undealt, _) in zip(ranks, shuffled):
        for half in (slice(16), slice(16, 32)):
            assert sorted(dealt[half].ravel()) == sorted(undealt[half].ravel())
        assert list(tokens) == list((1 + dealt % LENGTH).sum(axis=1))
    resumed, _ = run(1, True, skip_steps=11, steps=8)
    np.testing.assert_array_equal(resumed, ranks[0][0][11:19])


def test_sorted_records_need_little_padding(path, monkeypatch):
    """Twelve records are sorted together, in batches of three."""
    monkeypatch.setattr(datasets, "_BATCHES_SORTED_TOGETHER", 4)
    batches = run_through(lambda: datasets.sorted_dataset(path, FIELDS, 3, number_name="place"))
    places = [list(batch["place"]) for batch in batches]
    # The record of number n has 1 + n % 8 pieces; of equals, the first is first.
    assert places == [
        [7, 6, 5],
        [4, 3, 11],
        [2, 10, 1],
        [9, 0, 8],
        [15, 14, 13],
        [12, 19, 18],
        [17, 16],
    ]
    for batch in batches:
        assert batch["place"].dtype == np.int32
        assert list(batch["place"]) == list(batch["unique_ids"])
        longest = max(1 + number % 8 for number in batch["place"])
        for name in ("input_ids", "input_mask"):
            assert batch[name].shape == (len(batch["place"]), longest)
        for number, ids in zip(batch["unique_ids"], batch["input_ids"]):
            assert list(ids) == ([number] * (1 + number % 8) + [0] * 8)[:longest]


def test_choices_are_sorted_by_the_longest(tmp_path):
    """Records with two sequences each, as those of RACE."""
    path = str(tmp_path / "choices.tf_record")
    fields = {"input_mask": tf.io.FixedLenFeature([2, 4], tf.int64)}
    masks = [[1, 1], [4, 1], [2, 3]]  # pieces of both sequences
    with manifests.record_writers([path], ORIGIN) as (writer,):
        for both in masks:
            mask = [int(place < used) for used in both for place in range(4)]
            writer.write(record_files.serialize_example({"input_mask": mask}))
    batches = run_through(lambda: datasets.sorted_dataset(path, fields, 2, number_name="place"))
    assert [list(batch["place"]) for batch in batches] == [[1, 2], [0]]
    assert [batch["input_mask"].shape for batch in batches] == [(2, 2, 4), (1, 2, 1)]


def test_buckets_reduce_padding(path):
    batches = run_through(lambda: datasets.bucketed_dataset(path, FIELDS, 3, [2, 5, 8], "place"))
    seen = []
    for batch in batches:
        length = batch["input_ids"].shape[1]
        used = batch["input_mask"].sum(axis=1)
        assert length == min(bucket for bucket in (2, 5, 8) if bucket >= used.max())
        assert (used > {2: 0, 5: 2, 8: 5}[length]).all()
        assert len(used) <= 3
        for number, ids in zip(batch["unique_ids"], batch["input_ids"]):
            assert list(ids) == ([number] * (1 + number % 8) + [0] * 8)[:length]
        seen += list(batch["unique_ids"])
    assert sorted(seen) == list(range(20))


def test_a_single_bucket_keeps_file_and_order(path):
    batches = run_through(lambda: datasets.bucketed_dataset(path, FIELDS, 8, [LENGTH], "place"))
    assert [batch["input_ids"].shape for batch in batches] == [(8, 8), (8, 8), (4, 8)]
    assert list(np.concatenate([b["unique_ids"] for b in batches])) == list(range(20))


def test_records_are_numbered_by_their_place_in_the_file(path):
    batches = run_through(
        lambda: datasets.bucketed_dataset(path, FIELDS, 3, [2, 5, 8], number_name="place")
    )
    for batch in batches:
        assert batch["place"].dtype == np.int32
        assert list(batch["place"]) == list(batch["unique_ids"])


def test_write_json(tmp_path):
    files.write_json(tmp_path / "new" / "value.json", {"é": [1]})
    assert (tmp_path / "new" / "value.json").read_text() == (
        '{\n    "\\u00e9": [\n        1\n    ]\n}\n'
    )


def test_a_directory_in_place_of_a_file_is_named(tmp_path):
    path = tmp_path / "predictions.csv"
    path.mkdir()
    with pytest.raises(InputError) as error:
        files.write_text(path, "text")
    assert str(error.value) == (
        f"{path}: is a directory, in place of a file to write; move it, and run the same command "
        "again"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_waits_for_the_tuning_of_a_dataset(path):
    """The thread of TensorFlow's tuning may sleep on for a minute when an iterator ends."""
    of_all_kinds = [
        datasets.training_dataset([(path, range(20))], FIELDS, 3, deal_by_length=True),
        datasets.first_batches([path], FIELDS, 3),
        datasets.sorted_dataset(path, FIELDS, 3, "place"),
        datasets.bucketed_dataset(path, FIELDS, 3, [4, 8], "place"),
    ]
    assert [d.options().autotune.enabled for d in of_all_kinds] == [False] * 4

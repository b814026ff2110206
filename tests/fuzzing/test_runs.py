"""Mutations of a run's own files: records, manifests, companions, results, `run.json`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from albert_tf.run_dir.best import RESULTS_FILE
from albert_tf.run_dir.results import Results

from albert_tf.records import datasets, manifests, record_files
from albert_tf.records.manifests import Origin
from albert_tf.run import shards
from albert_tf.run_dir import checkpoint_files, run_record
from albert_tf.tasks.base import Evaluation, Prediction
from golden import checkpoint_of
from mutations import COUNT, MANY, check_reader, mutated_bytes, mutated_json
from scripts import load
from task_factory import make_context

ORIGIN = Origin({"max_seq_length": 96, "do_lower_case": True}, {"train_file": "a" * 64})


@pytest.fixture(scope="module")
def setups(tmp_path_factory):
    """Setups of the scripts for question answering and classification, by name."""
    return {
        script: make_context(script, tmp_path_factory.mktemp(script))
        for script in ("squad", "classifier")
    }


@pytest.fixture(scope="module")
def pretraining_fields():
    """Fields of pre-training records."""
    sequence = tf.io.FixedLenFeature([8], tf.int64)
    predictions = tf.io.FixedLenFeature([2], tf.int64)
    return {
        **dict.fromkeys(("input_ids", "input_mask", "segment_ids"), sequence),
        **dict.fromkeys(("masked_lm_positions", "masked_lm_ids"), predictions),
        "masked_lm_weights": tf.io.FixedLenFeature([2], tf.float32),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }


def record_of(fields):
    values = {
        name: [1.0 if field.dtype == tf.float32 else 1] * (field.shape[0] if field.shape else 1)
        for name, field in fields.items()
    }
    return record_files.serialize_example(values)


def write(path, records):
    writer = record_files.RecordWriter(path)
    for record in records:
        writer.write(record)
    writer.close()


def mutated_records(rng, data, mutate=mutated_bytes):
    """Change a record inside of its checksum; records of 12 + n + 4 bytes."""
    records, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 8], "little")
        records.append(data[position + 12 : position + 12 + length])
        position += 16 + length
    number = rng.randrange(len(records))
    records[number] = mutate(rng, records[number])
    with tempfile.NamedTemporaryFile() as file:
        write(file.name, records)
        return Path(file.name).read_bytes()


@pytest.fixture(params=["training", "prediction", "pre-training"])
def record_file(request, tmp_path, setups, pretraining_fields):
    """A record file with three records, and their fields."""
    task = setups["squad"].task
    fields = {
        "training": task.fields(task.train_set),
        "prediction": task.fields(task.eval_sets[0]),
        "pre-training": pretraining_fields,
    }[request.param]
    path = tmp_path / "features.tfrecord"
    write(path, [record_of(fields)] * 3)
    return path, fields


@pytest.mark.parametrize("mutate", [mutated_bytes, mutated_records])
def test_records(record_file, mutate):
    """What the check lets pass, TensorFlow can read, and the other way round."""
    path, fields = record_file

    def read():
        manifest = manifests.checked_manifest(str(path), fields)
        records = list(record_files.read_records(str(path)))
        try:
            features = datasets.parse_examples(tf.constant(records), fields)
        except record_files.READING_ERRORS as error:
            record_files.check_records(str(path), fields)
            raise AssertionError("not found by the check") from error
        record_files.check_records(str(path), fields)
        return manifest.num_records, features

    def check(result):
        num_records, features = result
        assert {len(values) for values in features.values()} == {num_records}
        record_files.first_values(str(path), ["input_ids"])

    results, errors = check_reader(path, read, check, mutate)
    assert results or mutate is mutated_bytes  # hardly anything escapes the checksums
    assert errors


@pytest.fixture
def with_manifest(tmp_path):
    """A record file with its manifest, and its fields."""
    path = str(tmp_path / "features.tfrecord")
    fields = {"input_ids": tf.io.FixedLenFeature([4], tf.int64)}
    manifests.write_records(path, ORIGIN, [{"input_ids": [1, 2, 3, 4]}] * 3)
    return path, fields


def test_manifests(with_manifest):
    path, fields = with_manifest

    def read():
        manifest = manifests.usable_manifest(path, ORIGIN, fields)
        assert manifests.is_made([path], ORIGIN) == (manifest is not None)
        return manifest

    def check(manifest):
        assert manifest is None or manifest.origin == ORIGIN
        assert manifest is None or 0 <= manifest.num_records <= manifest.bytes // 16

    results, errors = check_reader(manifests.manifest_path(path), read, check, mutated_json, MANY)
    assert results
    assert errors


def test_manifests_of_input_files(with_manifest):
    path, fields = with_manifest

    def check(manifest):
        assert 0 <= manifest.num_records <= manifest.bytes // 16
        assert manifest.origin.digest

    results, errors = check_reader(
        manifests.manifest_path(path),
        lambda: manifests.checked_manifest(path, fields),
        check,
        mutated_json,
        MANY,
        name="features.tfrecord",
    )
    assert results
    assert errors


def mutated_companions(rng, data):
    return mutated_records(rng, data, mutated_json)


@pytest.mark.parametrize("mutate", [mutated_bytes, mutated_companions])
def test_companions(setups, mutate):
    setup = setups["squad"]
    task, data_set = setup.task, setup.task.eval_sets[0]
    shard = shards.open_shard(task, data_set, {})
    shard.prepare()
    _, path = shard.paths
    scores = np.linspace(0.0, 1.0, task.settings.max_seq_length)
    outputs = {"start_log_prob": scores, "end_log_prob": scores}
    texts = {question.id: question.paragraph for question in data_set.examples}

    def read():
        companions = enumerate(shard.companions())
        return task.answers(
            shard.examples,
            (Prediction(number, outputs, companion) for number, companion in companions),
        )

    def check(answers):
        assert len(answers) == len(texts)
        for answer, text in zip(answers, texts.values()):
            found = [entry["text"] for entry in answer["n_best"]]
            assert all(entry in text or entry == "empty" for entry in found)

    results, errors = check_reader(Path(path), read, check, mutate)
    assert results or mutate is mutated_bytes
    assert errors


@pytest.fixture
def output_dir(tmp_path):
    """Directory with two evaluated checkpoints, of which the first is the best."""
    results = Results(str(tmp_path), {"predict_file": "abc"})
    for step, f1 in ((4, 70.0), (8, 60.0)):
        prefix = tmp_path / f"model.ckpt-{step}"
        for suffix in (".index", ".data-00000-of-00001"):
            shutil.copyfile(f"{checkpoint_of('squad')}{suffix}", f"{prefix}{suffix}")
        metrics = {"f1": f1, "exact_match": 1.0}
        files = {"predictions.json": {"q1": str(step)}}
        results.add(str(prefix), Evaluation(metrics, files), keep_best=True)
    return tmp_path


def test_results(output_dir):
    """Damaged results are a new start, or an error if `model.ckpt-best` is another checkpoint."""
    prefixes = [str(output_dir / f"model.ckpt-{step}") for step in (4, 8)]

    def read():
        results = Results(str(output_dir), {"predict_file": "abc"})
        results.mend(keep_best=True)
        results.forget_other_training(8)
        assert results.evaluations_since_best in (0, 1)
        # The best may turn out to be an earlier one, whose files are then made again.
        for prefix, f1 in 2 * list(zip(prefixes, (70.0, 60.0))):
            if not results.has(prefix):
                metrics = {"f1": f1, "exact_match": 1.0}
                results.add(prefix, Evaluation(metrics, {"predictions.json": {}}), keep_best=True)
        results.log()
        return results

    def check(results):
        assert all(results.has(prefix) for prefix in prefixes)
        assert load(output_dir / RESULTS_FILE)["best_checkpoint"] == results.best
        assert checkpoint_files.problem(str(output_dir / "model.ckpt-best")) is None

    results, _ = check_reader(output_dir / RESULTS_FILE, read, check, mutated_json)
    assert results


def test_run_records(setups):
    """A damaged record is set aside; the run goes on."""
    setup = setups["classifier"]
    path = Path(f"{setup.settings.output_dir}/run.json")
    resumed = f"{setup.settings.output_dir}/model.ckpt-4"
    Path(f"{resumed}.index").write_text("index")
    run_record.begin(setup)

    def read():
        run_record.begin(setup, resumed)
        return load(path)["starts"]

    def check(starts):
        assert starts[-1]["start"]["step"] == 4
        assert all(isinstance(start["settings"], dict) for start in starts)

    results, errors = check_reader(path, read, check, mutated_json)
    assert (results, errors) == (COUNT, 0)

"""Mutations of a run's own files: records, manifests, companions, results, `run.json`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.records import datasets, manifests, record_files
from albert_tf.records.manifests import Origin
from albert_tf.run import description
from albert_tf.run_dir import checkpoints, evaluations, record
from albert_tf.run_dir.evaluations import RESULTS_FILE, THRESHOLDS_FILE, Evaluations
from albert_tf.run_dir.run_dir import RunDir
from albert_tf.tasks.base import RecordOutput
from mutations import COUNT, MANY, check_reader, mutated_bytes, mutated_json
from scripts import load
from task_factory import make_context

ORIGIN = Origin({"max_seq_length": 96, "do_lower_case": True}, {"train_file": "a" * 64})


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """Contexts of runs of question answering and classification, by script."""
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
    for content in records:
        writer.write(content)
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
def record_file(request, tmp_path, contexts, pretraining_fields):
    """A record file with three records, and their fields."""
    context = contexts["squad"]
    fields = {
        "training": context.train.fields,
        "prediction": context.dev[0].fields,
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
        num_records, _ = manifests.checked_count(str(path), fields)
        records = list(record_files.read_records(str(path)))
        try:
            features = datasets.parse_examples(tf.constant(records), fields)
        except record_files.READING_ERRORS as error:
            record_files.check_records(str(path), fields)
            raise AssertionError("not found by the check") from error
        record_files.check_records(str(path), fields)
        return num_records, features

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
    content = record_files.serialize_example({"input_ids": [1, 2, 3, 4]})
    with manifests.record_writers([path], ORIGIN) as (writer,):
        for _ in range(3):
            writer.write(content)
    return path, fields


def test_manifests(with_manifest):
    """A damaged manifest has the records made again."""
    path, _ = with_manifest
    outcomes = []

    def read():
        manifest = manifests.usable_manifest(path, ORIGIN)
        assert manifests.is_made(path, ORIGIN) == (manifest is not None)
        return manifest

    def check(manifest):
        assert manifest is None or manifest.origin == ORIGIN
        assert manifest is None or 0 <= manifest.num_records <= Path(path).stat().st_size // 16
        outcomes.append(manifest is not None)

    results, errors = check_reader(manifests.manifest_path(path), read, check, mutated_json, MANY)
    assert (results, errors) == (MANY, 0)
    assert set(outcomes) == {True, False}


def test_manifests_of_input_files(with_manifest):
    path, fields = with_manifest

    size = Path(path).stat().st_size

    def check(result):
        num_records, origin = result
        assert 0 <= num_records <= size // 16
        assert origin.digest

    results, errors = check_reader(
        manifests.manifest_path(path),
        lambda: manifests.checked_count(path, fields),
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
def test_companions(contexts, mutate):
    task, shard = contexts["squad"].task, contexts["squad"].dev[0]
    shard.prepare()
    _, path = shard.paths
    scores = np.linspace(0.0, 1.0, task.settings.max_seq_length)
    outputs = {"start_log_prob": scores, "end_log_prob": scores}
    texts = {question.id: question.paragraph for question in shard.examples}

    def read():
        companions = enumerate(shard.companions())
        return task.predictions(
            shard.examples,
            (RecordOutput(number, outputs, companion) for number, companion in companions),
        )

    def check(predictions):
        assert len(predictions) == len(texts)
        for prediction, text in zip(predictions, texts.values()):
            found = [entry["text"] for entry in prediction["n_best"]]
            assert all(entry in text or entry == "empty" for entry in found)

    results, errors = check_reader(Path(path), read, check, mutate)
    assert results or mutate is mutated_bytes
    assert errors


INPUTS = {"predict_file": "abc"}
F1 = {4: 70.0, 8: 60.0}  # by step


@pytest.fixture
def output_dir(tmp_path):
    """Directory with two evaluated checkpoints, of which the first is the best."""
    for step in F1:
        values = {"weights": np.arange(9.0), "global_step": np.int64(step)}
        checkpoints.write_values(str(tmp_path / f"model.ckpt-{step}"), values)
    evaluate(tmp_path)
    return tmp_path


def evaluate(directory):
    """Evaluate the checkpoints that have no outcome, and make the views, as a run does."""
    run_dir, results = RunDir(directory), Evaluations(directory, INPUTS)
    run_dir.discard_other_training(max(F1))
    results.read()
    for step, f1 in F1.items():
        prefix = run_dir.prefix(step)
        if not results.has(prefix):
            metrics = {"f1": f1, "exact_match": 1.0}
            results.add(prefix, metrics, {"predictions.json": f'"{step}"'}, {"threshold": 0.5})
    run_dir.keep_best(results.best)
    results.write_views(for_training=True)
    return results


def check_views(directory, results):
    """What people read is made of the outcomes."""
    assert [outcome.checkpoint for outcome in results.outcomes] == ["model.ckpt-4", "model.ckpt-8"]
    assert results.evaluations_since_best in (0, 1)
    content = load(directory / RESULTS_FILE)
    assert content["best_checkpoint"] == results.best.checkpoint
    assert content["checkpoints"].keys() == {"model.ckpt-4", "model.ckpt-8"}
    step = results.best.order
    assert load(directory / "predictions.json") == str(step)
    best = str(directory / "model.ckpt-best")
    assert checkpoints.problem(best, reads_data=True) is None
    assert checkpoints.digest(best) == results.best.digest
    if results.best.thresholds:  # which a damaged outcome may lack
        assert evaluations.read_thresholds(best, directory) == results.best.thresholds


@pytest.mark.parametrize("name", [RESULTS_FILE, THRESHOLDS_FILE])
def test_views_of_results(output_dir, name):
    """Whatever is in the files that people read, they are made again."""

    def check(results):
        assert results.best.metrics["f1"] == 70.0
        check_views(output_dir, results)

    results, errors = check_reader(
        output_dir / name, lambda: evaluate(output_dir), check, mutated_json
    )
    assert (results, errors) == (COUNT, 0)


@pytest.mark.parametrize("step", F1)
def test_outcomes_of_checkpoints(output_dir, step):
    """A damaged outcome counts as none, and its checkpoint is evaluated again."""
    outcome = Evaluations(output_dir, INPUTS).of(str(output_dir / f"model.ckpt-{step}"))
    path = outcome.directory / "outcome.json"

    results, errors = check_reader(
        path,
        lambda: evaluate(output_dir),
        lambda results: check_views(output_dir, results),
        mutated_json,
    )
    assert (results, errors) == (COUNT, 0)


def test_run_records(contexts):
    """A damaged record is set aside; the run goes on."""
    context = contexts["classifier"]
    directory = context.run_dir.path
    record.append(directory, description.entry(context, None, None))
    again = description.entry(context, "model.ckpt-4", None)

    def read():
        record.append(directory, again)
        return load(directory / record.NAME)["starts"]

    def check(starts):
        assert starts[-1]["start"]["step"] == 4
        assert all(isinstance(start["settings"], dict) for start in starts)

    results, errors = check_reader(directory / record.NAME, read, check, mutated_json)
    assert (results, errors) == (COUNT, 0)

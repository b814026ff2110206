"""Predictions of checkpoints for the shards of splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from albert_tf.devices.device import PORTABLE
from albert_tf.graph import prediction
from albert_tf.graph.prediction import Predictor
from albert_tf.io.errors import InputError
from albert_tf.records import manifests, record_files
from albert_tf.records.shards import IS_REAL, NUMBER
from albert_tf.run_dir import checkpoints
from golden import checkpoint_of
from task_factory import make_context

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def predictor_of():
    """Function that makes the predictor of a context; it is closed at the end."""
    made = []

    def make(context, length_buckets=()):
        predictor = Predictor(context.task, PORTABLE, length_buckets=length_buckets)
        made.append(predictor)
        return predictor

    yield make
    for predictor in made:
        predictor.close()


@pytest.mark.parametrize("lengths", [[], [48, 72, 96]], ids=["sorted", "buckets"])
def test_answers_do_not_depend_on_the_order_of_the_records(tmp_path, predictor_of, lengths):
    context = make_context("squad", tmp_path, do_train=False)
    (shard,) = context.dev
    found, in_file_order = (
        predictor_of(context, batch_lengths).predictions(checkpoint_of("squad"), shard)
        for batch_lengths in (lengths, [96])
    )
    assert len(found) == len(shard.examples)
    for ours, theirs in zip(found, in_file_order):
        for one, other in zip(ours["n_best"], theirs["n_best"]):
            assert one["text"] == other["text"]
            assert one["probability"] == pytest.approx(other["probability"], rel=1e-4)


def changed_checkpoint(path, change):
    """Write the golden classifier with changed output weights."""
    names = checkpoints.model_shapes_in(checkpoint_of("classifier"))
    values = checkpoints.read_values(checkpoint_of("classifier"), names)
    checkpoints.write_values(
        str(path), {**values, "output_weights": change * values["output_weights"]}
    )
    return str(path)


def test_one_session_predicts_with_several_checkpoints(tmp_path, predictor_of):
    context = make_context("classifier", tmp_path / "run", do_train=False)
    other = changed_checkpoint(tmp_path / "model.ckpt-1", np.float32(-1))
    predictor, first, (dev,), (test,) = (
        predictor_of(context),
        checkpoint_of("classifier"),
        context.dev,
        context.test,
    )
    of_dev = predictor.predictions(first, dev)
    assert len(of_dev) == len(dev.examples) == 5
    of_test = predictor.predictions(first, test)
    changed = predictor.predictions(other, dev)
    for ours, theirs in zip(of_dev, changed):
        assert ours["logits"] != pytest.approx(theirs["logits"], abs=1e-3)
    # The order of the calls changes nothing.
    assert predictor.predictions(first, test) == of_test
    assert predictor_of(context).predictions(first, dev) == of_dev


def test_a_model_that_has_diverged_is_named(tmp_path, predictor_of):
    context = make_context("classifier", tmp_path / "run", do_train=False)
    diverged = changed_checkpoint(tmp_path / "model.ckpt-1", np.float32("nan"))
    message = (
        "ckpt-1: the predictions are not finite, as training has diverged; train again with a lower "
        "--learning_rate, in another --output_dir"
    )
    with pytest.raises(InputError, match=message):
        predictor_of(context).predictions(diverged, context.dev[0])


def test_a_damaged_checkpoint_is_named(tmp_path, predictor_of):
    context = make_context("classifier", tmp_path / "run", do_train=False)
    prefix = tmp_path / "model.ckpt-1"
    for path in checkpoints.files_of(checkpoint_of("classifier")):
        shutil.copyfile(path, f"{prefix}{path.name[len('model.ckpt-best') :]}")
    data = Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:2000] + bytes(2000) + data.read_bytes()[4000:])
    with pytest.raises(
        InputError, match=r"model\.ckpt-1: the checkpoint is damaged \(.*\); copy it"
    ):
        predictor_of(context).predictions(str(prefix), context.dev[0])


def test_records_of_other_examples_are_refused(tmp_path, predictor_of):
    """A file without a manifest has one record less than the split has examples."""
    context = make_context("classifier", tmp_path / "run", do_train=False)
    (shard,) = context.dev
    shard.prepare()
    records = list(record_files.read_records(shard.paths[0]))
    writer = record_files.RecordWriter(shard.paths[0])
    for record in records[:-1]:
        writer.write(record)
    writer.close()
    manifests.manifest_path(shard.paths[0]).unlink()
    (shard,) = make_context("classifier", tmp_path / "run", do_train=False).dev
    with pytest.raises(InputError, match=r"has 4 examples, but .*dev\.tsv has 5; remove the first"):
        predictor_of(context).predictions(checkpoint_of("classifier"), shard)


def test_outputs_meet_their_companions_in_any_order():
    batches = [
        {NUMBER: np.array([3, 0]), IS_REAL: np.array([1, 1]), "logits": np.array([0.3, 0.0])},
        {NUMBER: np.array([1, 2]), IS_REAL: np.array([1, 0]), "logits": np.array([0.1, 0.2])},
    ]
    companions = iter([{"example": name} for name in "abcd"])
    found = list(prediction._record_outputs("model.ckpt-1", batches, companions))
    # The record of number 2 is a filler.
    assert [(x.number, x.outputs["logits"], x.companion["example"]) for x in found] == [
        (3, 0.3, "d"),
        (0, 0.0, "a"),
        (1, 0.1, "b"),
    ]

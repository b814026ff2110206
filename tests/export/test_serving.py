"""The exported SQuAD model, loaded with `tf.saved_model.load`, compared with the checkpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from albert_tf.inference import question_answering
from albert_tf.records.record_files import serialize_example
from golden import golden_lines, tiny_config
from scripts import SQUAD_CHECKPOINT, SQUAD_FLAGS, run_classifier, succeed

pytestmark = pytest.mark.tensorflow

NAMES = ("input_ids", "input_mask", "segment_ids")


@pytest.fixture(scope="module")
def model(exported):
    return tf.saved_model.load(str(exported))


def rows_of(batch_size, length):
    """Features of the sample, truncated to different lengths of at most `length`."""
    lines = golden_lines("squad_predict_s96")[:batch_size]
    ends = [length - number for number in range(batch_size)]
    return [
        {
            "input_ids": line["input_ids"][:end],
            "input_mask": [1] * len(line["input_ids"][:end]),
            "segment_ids": line["segment_ids"][:end],
        }
        for line, end in zip(lines, ends)
    ]


def padded(rows):
    length = max(len(row["input_ids"]) for row in rows)
    return {
        name: np.array([row[name] + [0] * (length - len(row[name])) for row in rows], np.int32)
        for name in NAMES
    }


@pytest.fixture(scope="module")
def scores_of_checkpoint():
    return question_answering.checkpoint_scorer(tiny_config(), str(SQUAD_CHECKPOINT))


@pytest.mark.parametrize("length", [24, 60])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_both_signatures_give_the_scores_of_the_checkpoint(
    model, scores_of_checkpoint, batch_size, length
):
    rows = rows_of(batch_size, length)
    inputs = padded(rows)
    assert inputs["input_ids"].shape == (batch_size, length)
    expected = scores_of_checkpoint(inputs)
    assert np.ptp(expected["start_log_prob"]) > 0.1

    by_ids = model.signatures["serving_default"]
    from_ids = by_ids(**{name: tf.constant(value) for name, value in inputs.items()})
    by_examples = model.signatures["examples:serving_default"]
    serialized = [serialize_example(row) for row in rows]
    from_examples = by_examples(input=tf.constant(serialized))
    for outputs in (from_ids, from_examples):
        assert set(outputs) == set(expected) == {"start_log_prob", "end_log_prob"}
        for name, scores in expected.items():
            np.testing.assert_allclose(outputs[name], scores, rtol=0, atol=1e-5, err_msg=name)


def test_signatures(model):
    assert set(model.signatures) == {"serving_default", "examples:serving_default"}
    _, by_ids = model.signatures["serving_default"].structured_input_signature
    assert {name: (spec.dtype, spec.shape.rank) for name, spec in by_ids.items()} == dict.fromkeys(
        NAMES, (tf.int32, 2)
    )
    _, by_examples = model.signatures["examples:serving_default"].structured_input_signature
    assert {name: spec.dtype for name, spec in by_examples.items()} == {"input": tf.string}


def test_the_model_carries_what_text_needs(exported):
    assets = exported / "assets.extra"
    assert json.loads((assets / "settings.json").read_text()) == {
        "format": 1,
        "max_seq_length": 96,
        "do_lower_case": True,
        "doc_stride": 32,
        "max_query_length": 24,
        "n_best_size": 20,
        "max_answer_length": 30,
    }
    for name, flag in (
        ("albert_config.json", "albert_config_file"),
        ("30k-clean.model", "spm_model_file"),
    ):
        assert (assets / name).read_bytes() == SQUAD_FLAGS[flag].read_bytes()
    assert sorted(path.name for path in assets.iterdir()) == [
        "30k-clean.model",
        "albert_config.json",
        "origin.json",
        "settings.json",
    ]


def test_a_classifier_is_loaded_too_and_a_later_export_comes_after_it(tmp_path):
    flags = {"do_train": False, "do_eval": False, "do_predict": False}
    succeed(run_classifier(tmp_path / "run", export_dir=tmp_path / "export", **flags))
    (path,) = (tmp_path / "export").iterdir()
    settings = json.loads((path / "assets.extra/settings.json").read_text())
    assert settings == {
        "format": 1,
        "task_name": "mrpc",
        "max_seq_length": 40,
        "do_lower_case": True,
    }
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    row = {name: [1] * 40 for name in NAMES}
    outputs = signature(input=tf.constant([serialize_example(row)] * 3))
    assert outputs["probabilities"].shape == (3, 2)

    # The clock has been set back; servers take the largest number.
    path.rename(tmp_path / "export/9999999999")
    flags["max_seq_length"] = 32
    succeed(run_classifier(tmp_path / "run", export_dir=tmp_path / "export", **flags))
    names = {path.name for path in (tmp_path / "export").iterdir()}
    assert names == {"9999999999", "10000000000"}
    newest = json.loads((tmp_path / "export/10000000000/assets.extra/settings.json").read_text())
    assert newest["max_seq_length"] == 32

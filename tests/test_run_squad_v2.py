"""End-to-end tests of run_squad_v2.py from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.records.record_files import read_records
from albert_tf.run_dir import checkpoints
from golden import build, golden_lines
from scripts import (
    SAMPLE_PREDICT,
    SAMPLE_TRAIN,
    SAMPLE_V2_PREDICT,
    SQUAD_V2_FLAGS,
    assert_same_answers,
    fail,
    files,
    load,
    record_file,
    run_squad,
    run_squad_v2,
    succeed,
)

RESULTS = ("predictions.json", "nbest_predictions.json", "null_odds.json")
FIGURES = [
    "best_f1",
    "best_f1_thresh",
    "best_exact",
    "best_exact_thresh",
    "f1",
    "exact",
    "total",
    "HasAns_f1",
    "HasAns_exact",
    "HasAns_total",
    "NoAns_f1",
    "NoAns_exact",
    "NoAns_total",
    "null_score_diff_threshold",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output directory, with an export, and log of a finished deterministic run of 10 steps."""
    directory = tmp_path_factory.mktemp("finished")
    export = directory.with_name(f"{directory.name}-export")
    log = succeed(run_squad_v2(directory, deterministic_run=True, export_dir=export))
    (exported,) = export.iterdir()
    return directory, exported, log


@pytest.mark.tensorflow
def test_a_run_leaves_its_files_and_figures(finished):
    directory, _, log = finished
    assert {*RESULTS, "thresholds.json", "eval_results.txt"} <= files(directory)
    assert "36 of 36 variables start from" in log
    assert ".tfrecord: wrote 217 records" in log
    results = load(directory / "eval_results.json")
    assert results["metric"] == "best_f1"
    by_f1 = {name: figures["best_f1"] for name, figures in results["checkpoints"].items()}
    assert set(by_f1) == {"model.ckpt-4", "model.ckpt-8", "model.ckpt-10"}
    assert by_f1[results["best_checkpoint"]] == max(by_f1.values())
    figures = results["checkpoints"][results["best_checkpoint"]]
    assert list(figures) == FIGURES
    assert (figures["total"], figures["HasAns_total"], figures["NoAns_total"]) == (58, 42, 16)
    threshold = figures["null_score_diff_threshold"]
    assert threshold == figures["best_f1_thresh"]
    predictions, n_best, null_odds = (load(directory / name) for name in RESULTS)
    assert predictions == {
        name: n_best[name][0]["text"] if score < threshold else ""
        for name, score in null_odds.items()
    }
    assert len(predictions) == 58


def test_records_have_the_labels_of_the_original(finished):
    directory, _, _ = finished
    records = read_records(str(record_file(directory, "train_features")))
    for record, line in zip(records, golden_lines("squad_v2_train_s96")):
        features = tf.train.Example.FromString(record).features.feature
        labels = {
            name: features[name].int64_list.value[0]
            for name in ("unique_ids", "start_positions", "end_positions", "is_impossible")
        }
        assert labels == {
            "unique_ids": line["unique_id"],
            "start_positions": line["start_position"],
            "end_positions": line["end_position"],
            "is_impossible": line["is_impossible"],
        }


def test_our_checkpoints_have_the_variables_of_the_original(finished):
    directory, _, _ = finished
    ours = checkpoints.model_shapes_in(str(directory / "model.ckpt-10"))
    assert ours == checkpoints.shapes_in(str(SQUAD_V2_FLAGS["init_checkpoint"]))


def test_training_ends_early_by_best_f1(tmp_path):
    """With a learning rate of 0, no checkpoint is better than the first; the last one is kept."""
    flags = {"learning_rate": 0, "save_checkpoints_steps": 2, "early_stopping_evaluations": 2}
    log = succeed(run_squad_v2(tmp_path, **flags))
    assert "the last 2 evaluations have brought nothing better: ending early" in log
    results = load(tmp_path / "eval_results.json")
    assert (results["metric"], results["best_checkpoint"]) == ("best_f1", "model.ckpt-6")
    f1 = {name: figures["best_f1"] for name, figures in results["checkpoints"].items()}
    assert f1 == dict.fromkeys(("model.ckpt-2", "model.ckpt-4", "model.ckpt-6"), results["best_f1"])


@pytest.fixture
def unlabelled(tmp_path):
    """Path of the sample without answers."""
    questions = load(SAMPLE_V2_PREDICT)
    for article in questions["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                del qa["answers"], qa["is_impossible"]
    (tmp_path / "test.json").write_text(json.dumps(questions))
    return tmp_path / "test.json"


def test_prediction_without_answers_takes_the_threshold_that_was_found(
    finished, unlabelled, tmp_path
):
    """As long as it belongs to the checkpoint; padding and batches change nothing."""
    directory, _, _ = finished
    flags = {"do_train": False, "predict_file": unlabelled, "length_buckets": "50,70"}
    flags.update(init_checkpoint=directory, predict_batch_size=5, start_n_top=5, use_einsum=True)
    log = succeed(run_squad_v2(tmp_path / "run", **flags))
    assert "no threshold" not in log
    assert_same_answers(directory, tmp_path / "run", tolerance=2e-5)
    assert "best_f1" not in load(tmp_path / "run/eval_results.json")

    thresholds = load(directory / "thresholds.json")
    threshold = thresholds["null_score_diff_threshold"]
    (tmp_path / "run/thresholds.json").write_text(json.dumps({**thresholds, "checkpoint": "x"}))
    for path in directory.glob("model.ckpt-best.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    flags.update(init_checkpoint=tmp_path / "model.ckpt-best", length_buckets=None)
    log = succeed(run_squad_v2(tmp_path / "run", **flags))
    assert log.count("no threshold for the scores of questions without an answer: taking 0") == 1
    odds = load(tmp_path / "run/null_odds.json")
    predictions = load(tmp_path / "run/predictions.json")
    assert {name for name, text in predictions.items() if text} <= {
        name for name, score in odds.items() if score < 0
    }
    log = succeed(run_squad_v2(tmp_path / "run", **flags, null_score_diff_threshold=threshold))
    assert "no threshold" not in log
    assert_same_answers(directory, tmp_path / "run", tolerance=2e-5)


def padded_batch(lines, length):
    """Inputs of the model and `p_mask` of golden features, int32 [B, length] by name."""
    values = {name: [] for name in ("input_ids", "input_mask", "segment_ids", "p_mask")}
    for line in lines:
        padding = [0] * (length - len(line["input_ids"]))
        for name in ("input_ids", "segment_ids"):
            values[name].append(line[name] + padding)
        values["input_mask"].append([1] * len(line["input_ids"]) + padding)
        values["p_mask"].append(line["p_mask"] + [1] * len(padding))
    return {name: np.int32(rows) for name, rows in values.items()}


def outputs_of_the_head(inputs):
    """Outputs of the golden model, with `p_mask`, by name."""
    labels = {
        name: np.zeros(len(inputs["input_ids"]), np.int32)
        for name in ("start_positions", "end_positions", "is_impossible")
    }
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = build("squad_v2", is_training=False, inputs={**inputs, **labels})
        session.run(tf.global_variables_initializer())
        return session.run(tensors)


@pytest.mark.tensorflow
def test_the_exported_model_gives_the_outputs_of_the_head(tmp_path):
    """It finds by itself where an answer may start or end; batches may be padded."""
    succeed(run_squad_v2(tmp_path / "run", do_train=False, export_dir=tmp_path / "export"))
    (path,) = (tmp_path / "export").iterdir()
    settings = load(path / "assets.extra/settings.json")
    found = load(tmp_path / "run/thresholds.json")["null_score_diff_threshold"]
    assert settings["null_score_diff_threshold"] == found
    lines = golden_lines("squad_v2_s96_predict")
    inputs = padded_batch([lines[number] for number in (0, 1, -1)], 100)
    assert len({mask.sum() for mask in inputs["input_mask"]}) > 1
    expected = outputs_of_the_head(inputs)
    del inputs["p_mask"]
    model = tf.saved_model.load_v2(str(path))
    signature = model.signatures["serving_default"]
    outputs = signature(**{name: tf.constant(values) for name, values in inputs.items()})
    assert {name: list(values.shape) for name, values in outputs.items()} == {
        "start_top_index": [3, 5],
        "start_top_log_probs": [3, 5],
        "end_top_index": [3, 25],
        "end_top_log_probs": [3, 25],
        "cls_logits": [3],
    }
    for name, values in outputs.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-5, err_msg=name)


def test_files_and_checkpoints_of_the_other_version(tmp_path):
    lines = fail(run_squad_v2(tmp_path, train_file=SAMPLE_TRAIN, predict_file=SAMPLE_PREDICT))
    for line, path in zip(lines, (SAMPLE_TRAIN, SAMPLE_PREDICT)):
        assert line == (
            f"error: {path}: the questions are of SQuAD v1.1, but this script reads v2.0; use "
            "run_squad_v1.py"
        )
    (line,) = fail(run_squad(tmp_path, predict_file=SAMPLE_V2_PREDICT))
    assert line.endswith("SQuAD v2.0, but this script reads v1.1; use run_squad_v2.py")
    checkpoint = SQUAD_V2_FLAGS["init_checkpoint"]
    (line,) = fail(run_squad(tmp_path, do_train=False, init_checkpoint=checkpoint))
    assert "the checkpoint has no cls/squad/output_weights" in line

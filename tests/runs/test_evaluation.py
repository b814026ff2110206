"""Evaluation results: no checkpoint is evaluated twice, and the best is kept."""

from __future__ import annotations

import json

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.runs import checkpoints
from albert_tf.runs.evaluation import Results
from albert_tf.runs.task import Evaluation

DATA = {"predict_file": "abc", "n_best_size": 20}


@pytest.fixture
def output_dir(tmp_path, graph):
    """Directory with the checkpoints of steps 10, 20 and 30."""
    tf.get_variable("w", [])
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in (10, 20, 30):
            saver.save(session, str(tmp_path / "model.ckpt"), step)
    return tmp_path


def results(output_dir, data=DATA):
    return Results(str(output_dir), data)


def add(results, output_dir, step, f1, keep_best=True):
    evaluation = Evaluation({"f1": f1, "exact_match": 1.0}, {"predictions.json": {"step": step}})
    results.add(str(output_dir / f"model.ckpt-{step}"), evaluation, keep_best)


def predicted_step(output_dir):
    return json.loads((output_dir / "predictions.json").read_text())["step"]


def test_the_best_is_kept_with_its_files(output_dir):
    ours = results(output_dir)
    for step, f1 in ((10, 50.0), (20, 70.0), (30, 60.0)):
        add(ours, output_dir, step, f1)
    assert ours.best == "model.ckpt-20"
    assert predicted_step(output_dir) == 20
    best = (output_dir / "model.ckpt-best.index").read_bytes()
    assert best == (output_dir / "model.ckpt-20.index").read_bytes()
    saved = json.loads((output_dir / "eval_results.json").read_text())
    assert saved == {
        "best_checkpoint": "model.ckpt-20",
        "metric": "f1",
        "exact_match": 1.0,
        "f1": 70.0,
        "checkpoints": {
            "model.ckpt-10": {"exact_match": 1.0, "f1": 50.0},
            "model.ckpt-20": {"exact_match": 1.0, "f1": 70.0},
            "model.ckpt-30": {"exact_match": 1.0, "f1": 60.0},
        },
        "files": ["predictions.json"],
        "evaluated_on": DATA,
    }
    assert (output_dir / "eval_results.txt").read_text() == (
        "f1 = 70.0\n"
        "exact_match = 1.0\n"
        "best checkpoint = model.ckpt-20\n"
        "\n"
        "all checkpoints:\n"
        "  model.ckpt-10: f1 50.0000, exact_match 1.0000\n"
        "  model.ckpt-20: f1 70.0000, exact_match 1.0000\n"
        "  model.ckpt-30: f1 60.0000, exact_match 1.0000\n"
    )


def test_results_last(output_dir):
    add(results(output_dir), output_dir, 10, 50.0)
    again = results(output_dir)
    assert again.has(str(output_dir / "model.ckpt-10"))
    assert again.has(str(output_dir / "model.ckpt-best"))
    assert not again.has(str(output_dir / "model.ckpt-20"))
    assert not again.has("elsewhere/model.ckpt-10")
    add(again, output_dir, 20, 40.0)
    assert again.best == "model.ckpt-10"


@pytest.mark.parametrize("change", ["data", "files", "json"])
def test_results_are_forgotten(output_dir, change):
    add(results(output_dir), output_dir, 10, 50.0)
    data = DATA
    if change == "data":
        data = {**DATA, "predict_file": "abd"}
    elif change == "files":
        (output_dir / "predictions.json").unlink()
    else:
        (output_dir / "eval_results.json").write_text("{}")
    assert not results(output_dir, data).has(str(output_dir / "model.ckpt-10"))


def test_prediction_alone_makes_no_best_checkpoint(output_dir):
    add(results(output_dir), output_dir, 10, 50.0, keep_best=False)
    assert checkpoints.best_checkpoint(str(output_dir)) is None
    assert predicted_step(output_dir) == 10


def test_the_result_of_a_checkpoint_from_elsewhere_is_not_kept(output_dir, tmp_path):
    ours = results(output_dir / "predictions")
    add(ours, output_dir, 10, 50.0, keep_best=False)
    assert ours.best == str(output_dir / "model.ckpt-10")
    assert not results(output_dir / "predictions").has(str(output_dir / "model.ckpt-10"))


def test_a_value_that_is_no_number_is_never_the_best(output_dir):
    ours = results(output_dir)
    add(ours, output_dir, 10, float("nan"))
    add(ours, output_dir, 20, 0.0)
    add(ours, output_dir, 30, float("nan"))
    assert ours.best == "model.ckpt-20"


def test_without_metrics_the_last_files_stay(output_dir):
    ours = results(output_dir)
    for step in (10, 20):
        evaluation = Evaluation({}, {"predictions.json": {"step": step}})
        ours.add(str(output_dir / f"model.ckpt-{step}"), evaluation, keep_best=True)
    assert predicted_step(output_dir) == 20
    assert checkpoints.best_checkpoint(str(output_dir)) is None


def test_metrics_go_to_tensorboard(output_dir):
    add(results(output_dir), output_dir, 10, 50.0)
    (events,) = (output_dir / "eval").iterdir()
    values = {
        value.tag: (event.step, value.simple_value)
        for event in tf.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert values == {"eval/exact_match": (10, 1.0), "eval/f1": (10, 50.0)}

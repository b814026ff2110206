"""Outcomes of checkpoints, and the files made from them."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.run_dir import checkpoints, evaluations, events
from albert_tf.run_dir.evaluations import Evaluations
from run_dir.saved import save

DATA = {"predict_file": "abc", "n_best_size": 20}


@pytest.fixture
def output_dir(tmp_path):
    """Directory with the checkpoints of steps 10, 20 and 30."""
    save(tmp_path, (10, 20, 30))
    return tmp_path


def digest(output_dir, step):
    return checkpoints.digest(str(output_dir / f"model.ckpt-{step}"))


def add(results, output_dir, step, f1, exact_match=1.0, **further):
    return results.add(
        str(output_dir / f"model.ckpt-{step}"),
        {"f1": f1, "exact_match": exact_match, **further},
        {"predictions.json": json.dumps({"step": step})},
        {},
    )


def add_all(output_dir):
    """Results of three checkpoints, of which the second is the best."""
    results = Evaluations(output_dir, DATA)
    for step, f1 in ((10, 50.0), (20, 70.0), (30, 60.0)):
        add(results, output_dir, step, f1)
    results.write_views(for_training=True)
    return results


def saved(output_dir):
    return json.loads((output_dir / "eval_results.json").read_text())


def tree(directory):
    """Contents of all files below a directory, and their times of change."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def contents(directory):
    """Contents of all files below a directory but events."""
    return {path: content for path, (content, _) in tree(directory).items() if "eval/" not in path}


def test_the_views_of_three_outcomes(output_dir):
    results = add_all(output_dir)
    assert results.best.checkpoint == "model.ckpt-20"
    assert json.loads((output_dir / "predictions.json").read_text()) == {"step": 20}
    value = saved(output_dir)
    assert re.fullmatch("[0-9a-f]{12}", value.pop("inputs"))
    assert value == {
        "format": 1,
        "best_checkpoint": "model.ckpt-20",
        "metric": "f1",
        "f1": 70.0,
        "exact_match": 1.0,
        "checkpoints": {
            "model.ckpt-10": {"f1": 50.0, "exact_match": 1.0},
            "model.ckpt-20": {"f1": 70.0, "exact_match": 1.0},
            "model.ckpt-30": {"f1": 60.0, "exact_match": 1.0},
        },
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


def test_an_outcome_is_named_by_the_digests_and_large_files_stay_with_the_best(output_dir):
    results = add_all(output_dir)
    names = {path.name for path in (output_dir / "evaluations").iterdir()}
    inputs = saved(output_dir)["inputs"]
    assert names == {f"{digest(output_dir, step)[:12]}-{inputs}" for step in (10, 20, 30)}
    files = {
        path.parent.name[:12]: {file.name for file in path.parent.iterdir()}
        for path in output_dir.glob("evaluations/*/outcome.json")
    }
    assert files == {
        digest(output_dir, 10)[:12]: {"outcome.json"},
        digest(output_dir, 20)[:12]: {"outcome.json", "predictions.json"},
        digest(output_dir, 30)[:12]: {"outcome.json"},
    }
    assert all(results.has(str(output_dir / f"model.ckpt-{step}")) for step in (10, 20, 30))


def test_making_the_views_again_changes_nothing(output_dir):
    add_all(output_dir)
    before = tree(output_dir)
    again = Evaluations(output_dir, DATA)
    again.write_views(for_training=True)
    assert tree(output_dir) == before


@pytest.mark.parametrize(
    "name", ["eval_results.json", "eval_results.txt", "predictions.json", "eval"]
)
@pytest.mark.parametrize("damage", ["remove", "garble"])
def test_lost_and_garbled_views_are_made_again(output_dir, name, damage):
    """As after a kill at any moment of their writing."""
    add_all(output_dir)
    before = {
        path: content for path, (content, _) in tree(output_dir).items() if "eval/" not in path
    }
    path = output_dir / name
    if path.is_dir():
        shutil.rmtree(path)
        tf.summary.FileWriterCache.clear()
    else:
        path.unlink()  # and not `write_text`: a killed run replaces files as well
        if damage == "garble":
            path.write_text("{")
    again = Evaluations(output_dir, DATA)
    again.write_views(for_training=True)
    after = {
        path: content for path, (content, _) in tree(output_dir).items() if "eval/" not in path
    }
    assert after == before
    assert set(events.read(output_dir / "eval")) == {10, 20, 30}


def test_outcomes_last(output_dir):
    add(Evaluations(output_dir, DATA), output_dir, 10, 50.0)
    again = Evaluations(output_dir, DATA)
    assert again.has(str(output_dir / "model.ckpt-10"))
    checkpoints.copy(str(output_dir / "model.ckpt-10"), str(output_dir / "model.ckpt-best"))
    assert again.has(str(output_dir / "model.ckpt-best"))
    assert not again.has(str(output_dir / "model.ckpt-20"))
    add(again, output_dir, 20, 40.0)
    assert again.best.checkpoint == "model.ckpt-10"


@pytest.mark.parametrize("change", ["data", "checkpoint"])
def test_an_outcome_counts_for_its_inputs_and_its_checkpoint_alone(output_dir, change):
    add(Evaluations(output_dir, DATA), output_dir, 10, 50.0)
    data = DATA
    if change == "data":
        data = {**DATA, "predict_file": "abd"}
    else:
        save(output_dir, [10], learning_rate=2.0)
    assert not Evaluations(output_dir, data).has(str(output_dir / "model.ckpt-10"))


@pytest.mark.parametrize("change", ["lost", "changed"])
def test_the_best_without_its_files_is_evaluated_again(output_dir, change):
    results = add_all(output_dir)
    (outcome,) = output_dir.glob("evaluations/*/predictions.json")
    outcome.unlink()
    if change == "changed":
        outcome.write_text("{}")
    assert not results.has(str(output_dir / "model.ckpt-20"))
    assert results.has(str(output_dir / "model.ckpt-10"))
    add(results, output_dir, 20, 70.0)
    assert results.has(str(output_dir / "model.ckpt-20"))


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", "\x00", "[" * 100_000, '{"format": 2}', '{"format": 1, "digest": 3}'],
)
def test_a_damaged_outcome_counts_as_none(output_dir, caplog, text):
    add_all(output_dir)
    path = (
        output_dir / "evaluations" / f"{digest(output_dir, 20)[:12]}-{saved(output_dir)['inputs']}"
    )
    (path / "outcome.json").write_text(text)
    again = Evaluations(output_dir, DATA)
    assert [outcome.checkpoint for outcome in again.outcomes] == ["model.ckpt-10", "model.ckpt-30"]
    assert f"evaluating again: {path}/outcome.json" in caplog.text
    add(again, output_dir, 20, 70.0)
    assert again.best.checkpoint == "model.ckpt-20"


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "\x00", "[" * 100_000, '{"format": 2}', "{}"]
)
def test_damaged_results_are_not_read(tmp_path, caplog, text):
    (tmp_path / "eval_results.json").write_text(text)
    assert evaluations.read_results(tmp_path) is None
    assert "eval_results.json" in caplog.text
    assert evaluations.read_results(tmp_path / "none") is None


def test_a_value_that_is_no_number_is_never_the_best(output_dir):
    results = Evaluations(output_dir, DATA)
    for step, f1 in ((10, math.nan), (20, 0.0), (30, math.nan)):
        add(results, output_dir, step, f1)
    results = Evaluations(output_dir, DATA)  # as it is read again
    assert results.best.checkpoint == "model.ckpt-20"
    assert math.isnan(results.outcomes[0].metrics["f1"])


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        # First metric, next metric, loss, later step.
        ([(50.0, 3.0, 1.0), (60.0, 1.0, 2.0), (40.0, 9.0, 0.0)], 20),
        ([(50.0, 3.0, 1.0), (50.0, 4.0, 2.0), (50.0, 1.0, 0.0)], 20),
        ([(0.0, 1.0, 3.0), (0.0, 1.0, 2.0), (0.0, 1.0, 2.5)], 20),
        ([(50.0, 1.0, 1.0), (50.0, 1.0, 1.0), (50.0, 1.0, 1.0)], 30),
        ([(0.0, 1.0, math.nan), (0.0, 1.0, 2.0), (0.0, 1.0, math.nan)], 20),
    ],
)
def test_ties_go_to_the_next_metric_the_loss_and_the_later_step(output_dir, metrics, best):
    results = Evaluations(output_dir, DATA)
    for step, (f1, exact_match, loss) in zip((10, 20, 30), metrics):
        add(results, output_dir, step, f1, exact_match, eval_loss=loss, f1_thresh=90 - step)
    assert results.best.checkpoint == f"model.ckpt-{best}"


def test_without_metrics_the_last_files_are_shown(output_dir):
    results = Evaluations(output_dir, DATA)
    for step in (10, 20):
        prefix = str(output_dir / f"model.ckpt-{step}")
        results.add(prefix, {}, {"predictions.json": str(step)}, {})
        results.write_views()
    assert (output_dir / "predictions.json").read_text() == "20"
    assert saved(output_dir)["metric"] is None
    assert results.evaluations_since_best == 0


def test_evaluations_without_a_better_checkpoint_are_counted(output_dir):
    results = Evaluations(output_dir, DATA)
    assert results.evaluations_since_best == 0
    for step, f1, count in ((10, 50.0, 0), (20, 50.0, 1), (30, math.nan, 2)):
        add(results, output_dir, step, f1)
        assert results.evaluations_since_best == count
        assert Evaluations(output_dir, DATA).evaluations_since_best == count
    save(output_dir, [40])
    add(results, output_dir, 40, 50.5)
    assert results.evaluations_since_best == 0


def test_prediction_replaces_the_results_of_other_checkpoints(output_dir):
    elsewhere = output_dir / "predictions"
    for step in (10, 20):
        results = Evaluations(elsewhere, DATA)
        checkpoint = str(output_dir / f"model.ckpt-{step}")
        assert not results.has(checkpoint)
        results.forget_all_but(checkpoint)
        results.add(checkpoint, {"f1": 70.0 - step}, {"predictions.json": str(step)}, {})
        results.write_views()
        assert Evaluations(elsewhere, DATA).has(checkpoint)
        assert set(saved(elsewhere)["checkpoints"]) == {checkpoint}
        assert (elsewhere / "predictions.json").read_text() == str(step)
        assert not (elsewhere / "eval").exists()


def test_predictions_are_published_without_results(output_dir):
    results = Evaluations(output_dir, DATA)
    checkpoint = str(output_dir / "model.ckpt-10")
    results.publish(results.add(checkpoint, {}, {"test_results.tsv": "0.5\t0.5\n"}, {}))
    assert (output_dir / "test_results.tsv").read_text() == "0.5\t0.5\n"
    assert not (output_dir / "eval_results.json").exists()


def test_metrics_go_to_tensorboard_once(output_dir):
    add_all(output_dir)
    expected = {
        step: {"eval/f1": f1, "eval/exact_match": 1.0}
        for step, f1 in ((10, 50.0), (20, 70.0), (30, 60.0))
    }
    (path,) = (output_dir / "eval").iterdir()
    found = [e for e in tf.train.summary_iterator(str(path)) if e.summary.value]
    assert [event.step for event in found] == [10, 20, 30]
    assert events.read(output_dir / "eval") == expected
    size = path.stat().st_size

    # Killed while it wrote the last, an hour ago: files are named after the second.
    earlier = path.with_name("events.out.tfevents.1000000000.server")
    earlier.write_bytes(path.read_bytes()[: size - 7])
    path.unlink()
    tf.summary.FileWriterCache.clear()
    assert set(events.read(output_dir / "eval")) == {10, 20}
    Evaluations(output_dir, DATA).write_views(for_training=True)
    assert events.read(output_dir / "eval") == expected


def test_a_training_that_resumes_earlier_replaces_the_later_part_of_the_curve(output_dir):
    add_all(output_dir)
    later = [x for x in evaluations.outcomes_in(output_dir) if x.order > 10]
    evaluations.remove(later)
    results = Evaluations(output_dir, DATA)
    save(output_dir, [20], learning_rate=2.0)
    add(results, output_dir, 20, 40.0)
    results.write_views(for_training=True)
    assert events.read(output_dir / "eval") == {
        10: {"eval/f1": 50.0, "eval/exact_match": 1.0},
        20: {"eval/f1": 40.0, "eval/exact_match": 1.0},
    }


THRESHOLDS = {"null_score_diff_threshold": -1.5}


@pytest.fixture
def checkpoint(output_dir):
    """Prefix of a checkpoint in a directory of its own."""
    (output_dir / "checkpoint").mkdir()
    (prefix,) = save(output_dir / "checkpoint", [5])
    return prefix


def write_thresholds(directory, checkpoint, text=None):
    value = {"format": 1, "checkpoint": checkpoints.digest(checkpoint), **THRESHOLDS}
    Path(directory / "thresholds.json").write_text(text or json.dumps(value))


def test_thresholds_of_the_output_directory_come_before_those_of_the_checkpoint(
    checkpoint, output_dir
):
    def read(*directories):
        return evaluations.read_thresholds(checkpoint, *directories)

    assert read(output_dir) == {}
    write_thresholds(output_dir / "checkpoint", checkpoint)
    assert read(output_dir) == read() == THRESHOLDS
    write_thresholds(output_dir, str(output_dir / "model.ckpt-10"))  # of another checkpoint
    assert read(output_dir) == THRESHOLDS
    write_thresholds(output_dir, checkpoint)
    write_thresholds(output_dir / "checkpoint", str(output_dir / "model.ckpt-10"))
    assert read(output_dir) == THRESHOLDS
    assert read() == {}


def test_thresholds_that_were_found_are_kept(output_dir):
    results = Evaluations(output_dir, DATA)
    prefix = str(output_dir / "model.ckpt-10")
    results.add(prefix, {"best_f1": 3.0}, {}, THRESHOLDS)
    results.write_views()
    assert evaluations.read_thresholds(prefix) == THRESHOLDS
    assert evaluations.read_thresholds(str(output_dir / "model.ckpt-20")) == {}


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"format": 2}', '{"format": 1, "checkpoint": 1, "x": "a"}', "[" * 10**5]
)
def test_damaged_thresholds_are_not_used(checkpoint, output_dir, caplog, text):
    write_thresholds(output_dir, checkpoint, text)
    assert evaluations.read_thresholds(checkpoint, output_dir) == {}
    assert f"not used: {output_dir}/thresholds.json" in caplog.text

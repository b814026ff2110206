"""Runs that evaluate each checkpoint: which stay, which is the best, when training ends.

All runs are of run_classifier.py on the sample.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from albert_tf.run_dir import checkpoints, evaluations, events
from albert_tf.run_dir.checkpoints import step_of
from albert_tf.run_dir.run_dir import RunDir
from golden import checkpoint_of
from scripts import (
    CLASSIFIER_FLAGS,
    assert_same_variables,
    fail,
    files,
    load,
    run_classifier,
    succeed,
)

FLAGS = {
    **CLASSIFIER_FLAGS,
    "deterministic_run": True,
    "train_step": 30,
    "learning_rate": 3e-3,
    "keep_checkpoint_max": 5,
}
STEPS = [4, 8, 12, 16, 20, 24, 28, 30]


def run(output_dir, **flags):
    """Log of a run that succeeds."""
    return succeed(run_classifier(output_dir, **{**FLAGS, **flags}))


def steps_in(directory):
    """Steps of the checkpoints in a directory."""
    return list(map(step_of, RunDir(directory).saved()))


def evaluated(directory):
    """Steps that have been evaluated."""
    return list(map(step_of, load(directory / "eval_results.json")["checkpoints"]))


def digests(directory):
    """Digests of the evaluated checkpoints, by name; those of the test set among them."""
    return {outcome.checkpoint: outcome.digest for outcome in evaluations.outcomes_in(directory)}


def curve_of(results):
    """Curve for TensorBoard that belongs to results."""
    return {
        step_of(name): {f"eval/{metric}": pytest.approx(value) for metric, value in metrics.items()}
        for name, metrics in results["checkpoints"].items()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Output directory and log of a run with eight checkpoints, of which five and the best stay."""
    directory = tmp_path_factory.mktemp("undisturbed")
    return directory, run(directory, export_dir=directory / "export")


def test_all_checkpoints_are_evaluated_while_training_goes_on(undisturbed):
    directory, log = undisturbed
    assert evaluated(directory) == STEPS
    assert steps_in(directory) == STEPS[-5:]
    results = load(directory / "eval_results.json")
    values = {name: metrics["f1"] for name, metrics in results["checkpoints"].items()}
    assert len(set(values.values())) > 1
    assert values[results["best_checkpoint"]] == max(values.values())
    best = digests(directory)[results["best_checkpoint"]]
    assert checkpoints.digest(str(directory / "model.ckpt-best")) == best
    assert events.read(directory / "eval") == curve_of(results)
    assert log.index("model.ckpt-28: f1") < log.index("step 30 of 30")
    assert log.count("predicted 5 records") == len(STEPS) + 1  # the last is the test set
    state = (directory / "checkpoint").read_text().splitlines()
    assert state == ['model_checkpoint_path: "model.ckpt-30"'] + [
        f'all_model_checkpoint_paths: "model.ckpt-{step}"' for step in STEPS[-5:]
    ]


def test_evaluation_after_training_gives_the_same_and_all_checkpoints_may_stay(
    undisturbed, tmp_path
):
    log = run(tmp_path, evaluate_after_training=True, keep_checkpoint_max=0)
    assert steps_in(tmp_path) == STEPS
    assert log.index("step 30 of 30") < log.index("model.ckpt-4: predicted 5 records")
    assert_same_end(tmp_path, undisturbed[0], keeps_all=True)


def assert_same_end(directory, undisturbed, keeps_all=False):
    """Assert that a run has ended like an undisturbed one: files, results, weights, exports."""
    if not keeps_all:
        assert files(directory) == files(undisturbed)
    assert load(directory / "eval_results.json") == load(undisturbed / "eval_results.json")
    names = ("eval_results.txt", "test_results.tsv", "submit_results.tsv")
    for name in names:
        assert (directory / name).read_bytes() == (undisturbed / name).read_bytes()
    for name in ("model.ckpt-best", "model.ckpt-30"):
        assert_same_variables(directory / name, undisturbed / name)
    assert events.read(directory / "eval") == events.read(undisturbed / "eval")


def test_training_ends_early_once(undisturbed, tmp_path):
    """With a learning rate of 0, no checkpoint is better than the first."""
    flags = {"learning_rate": 0, "early_stopping_evaluations": 2}
    log = run(tmp_path, **flags)
    assert "the last 2 evaluations have brought nothing better: ending early" in log
    assert evaluated(tmp_path) == steps_in(tmp_path) == [4, 8, 12]
    log = run(tmp_path, **flags)
    assert "the last 2 evaluations have brought nothing better: ending early" in log
    assert "resuming training" not in log
    assert steps_in(tmp_path) == [4, 8, 12]
    log = run(tmp_path, **{**flags, "early_stopping_evaluations": 4})
    assert evaluated(tmp_path) == steps_in(tmp_path) == [4, 8, 12, 16, 20]


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A copy of the undisturbed run."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "run"))


def start_over(directory, kept):
    """Remove checkpoints, and train anew to step 8; digests before and after, and the log."""
    for path in [*directory.glob("model.ckpt-*"), directory / "checkpoint"]:
        if not kept or not path.name.startswith(kept):
            path.unlink()
    before = digests(directory)
    log = run(directory, learning_rate=0, train_step=8)
    assert "discarding results of an earlier run whose checkpoints no longer exist" in log
    assert events.read(directory / "eval") == curve_of(load(directory / "eval_results.json"))
    return before, digests(directory), log


def test_checkpoints_removed_and_trained_again_are_evaluated_again(copied):
    before, found, log = start_over(copied, kept=None)
    results = load(copied / "eval_results.json")
    assert evaluated(copied) == [4, 8]
    assert all(before[name] != found[name] for name in results["checkpoints"])
    best = found[results["best_checkpoint"]]
    assert checkpoints.digest(str(copied / "model.ckpt-best")) == best
    assert f"{copied}/model.ckpt-best: predicted 5 records" in log


def test_the_best_of_a_training_whose_other_checkpoints_were_removed_stays(copied, undisturbed):
    """As people do to save space; nothing of the new training is as good."""
    start_over(copied, kept="model.ckpt-best")
    results, earlier = (load(d / "eval_results.json") for d in (copied, undisturbed[0]))
    assert set(results["checkpoints"]) == {"model.ckpt-best", "model.ckpt-4", "model.ckpt-8"}
    assert results["best_checkpoint"] == "model.ckpt-best"
    assert results["f1"] == earlier["f1"] > results["checkpoints"]["model.ckpt-8"]["f1"]
    assert_same_variables(copied / "model.ckpt-best", undisturbed[0] / "model.ckpt-best")
    for name in ("test_results.tsv", "submit_results.tsv"):
        assert (copied / name).read_bytes() == (undisturbed[0] / name).read_bytes()


def test_a_run_resumes_from_its_files_whatever_names_them(copied, undisturbed):
    (copied / "checkpoint").write_text(f'model_checkpoint_path: "{checkpoint_of("squad")}"')
    (copied / "eval_results.txt").unlink()
    (copied / "model.ckpt-24.meta").unlink()
    with (copied / "model.ckpt-30.data-00000-of-00001").open("r+b") as file:
        file.truncate(1000)
    log = run(copied)
    assert f"{copied}/model.ckpt-30: the checkpoint is incomplete and not used: " in log
    assert f"resuming training from {copied}/model.ckpt-28" in log
    assert_same_end(copied, undisturbed[0])


def test_a_lost_best_checkpoint_is_not_replaced_by_another(copied):
    best = load(copied / "eval_results.json")["best_checkpoint"]
    for name in ("model.ckpt-best", best):
        checkpoints.remove(str(copied / name))
    for flags in ({}, {"do_train": False, "do_eval": False, "export_dir": copied / "new"}):
        (line,) = fail(run_classifier(copied, **{**FLAGS, **flags}))
        assert line.startswith(f"error: {copied}/model.ckpt-best: the best checkpoint is lost: ")
    assert not (copied / "new").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"evaluate_after_training": True}, "training cannot end by evaluations that come after"),
        ({"do_eval": False}, "this run evaluates nothing"),
    ],
)
def test_early_stopping_needs_evaluations(tmp_path, flags, message):
    flags = {"early_stopping_evaluations": 1, **flags}
    (line,) = fail(run_classifier(tmp_path / "run", **flags))
    assert line.startswith("error: --early_stopping_evaluations")
    assert message in line


def test_training_does_not_replace_the_checkpoint_it_starts_from(tmp_path):
    start = Path(checkpoint_of("classifier"))
    for path in start.parent.glob(f"{start.name}.*"):
        shutil.copy(path, tmp_path)
    (line,) = fail(run_classifier(tmp_path, init_checkpoint=tmp_path))
    assert line.startswith(
        f"error: --init_checkpoint {tmp_path}/model.ckpt-best is in --output_dir"
    )

"""Evaluation results: keyed by the checkpoints' contents, and completed after any interruption."""

from __future__ import annotations

import json
import re

import pytest
import tensorflow.compat.v1 as tf
from albert_tf.run_dir.results import Results

from albert_tf.io.errors import InputError
from albert_tf.run_dir import best, checkpoint_files, curves
from albert_tf.tasks.base import Evaluation

DATA = {"predict_file": "abc", "n_best_size": 20}


def save(directory, steps, learning_rate=1.0):
    """Save checkpoints of these steps, whose weights depend on a learning rate."""
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable("w", [2])
        saver = tf.train.Saver(sharded=True)
        for step in steps:
            session.run(weight.assign([step * learning_rate, 1.0]))
            prefix = str(directory / f"model.ckpt-{step}")
            checkpoint_files.save(session, saver, b"graph", prefix)


@pytest.fixture
def output_dir(tmp_path):
    """Directory with the checkpoints of steps 10, 20 and 30."""
    save(tmp_path, (10, 20, 30))
    return tmp_path


def results(output_dir, data=DATA):
    return Results(str(output_dir), data)


def digest(output_dir, step):
    return checkpoint_files.digest(str(output_dir / f"model.ckpt-{step}"))


def evaluation_of(step, f1):
    return Evaluation({"f1": f1, "exact_match": 1.0}, {"predictions.json": {"step": step}})


def add(results, output_dir, step, f1, keep_best=True):
    results.add(str(output_dir / f"model.ckpt-{step}"), evaluation_of(step, f1), keep_best)


def add_all(output_dir):
    """Results of three checkpoints, of which the second is the best."""
    ours = results(output_dir)
    for step, f1 in ((10, 50.0), (20, 70.0), (30, 60.0)):
        add(ours, output_dir, step, f1)
    return ours


def remove(output_dir, *names):
    for name in names:
        checkpoint_files.remove(str(output_dir / f"model.ckpt-{name}"))


def predicted_step(output_dir):
    return json.loads((output_dir / "predictions.json").read_text())["step"]


def saved(output_dir):
    return json.loads((output_dir / "eval_results.json").read_text())


def contents(output_dir):
    """Contents of all files but events."""
    return {path.name: path.read_bytes() for path in output_dir.iterdir() if path.is_file()}


def test_the_best_is_kept_with_its_files(output_dir):
    assert add_all(output_dir).best == "model.ckpt-20"
    assert predicted_step(output_dir) == 20
    assert digest(output_dir, "best") == digest(output_dir, 20)
    value = saved(output_dir)
    answers_digest = value["files"].pop("predictions.json")
    assert re.fullmatch("[0-9a-f]{64}", answers_digest)
    assert value == {
        "format": 1,
        "best_checkpoint": "model.ckpt-20",
        "metric": "f1",
        "exact_match": 1.0,
        "f1": 70.0,
        "checkpoints": {
            "model.ckpt-10": {"exact_match": 1.0, "f1": 50.0},
            "model.ckpt-20": {"exact_match": 1.0, "f1": 70.0},
            "model.ckpt-30": {"exact_match": 1.0, "f1": 60.0},
        },
        "digests": {f"model.ckpt-{step}": digest(output_dir, step) for step in (10, 20, 30)},
        "files": {},
        "evaluated_on": DATA,
        "model.ckpt-best": {"checkpoint": "model.ckpt-20", "digest": digest(output_dir, 20)},
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
    add(again, output_dir, 20, 40.0)
    assert again.best == "model.ckpt-10"
    assert predicted_step(output_dir) == 10


def test_the_first_of_equals_is_the_best(output_dir):
    ours = results(output_dir)
    for step in (10, 20, 30):
        add(ours, output_dir, step, 50.0)
    assert ours.best == "model.ckpt-10"
    assert predicted_step(output_dir) == 10


@pytest.mark.parametrize("change", ["data", "lost file", "changed file", "checkpoint"])
def test_results_are_forgotten(output_dir, change):
    add(results(output_dir), output_dir, 10, 50.0)
    data = DATA
    if change == "data":
        data = {**DATA, "predict_file": "abd"}
    elif change == "lost file":
        (output_dir / "predictions.json").unlink()
    elif change == "changed file":
        (output_dir / "predictions.json").write_text("{}")
    else:
        save(output_dir, [10], learning_rate=2.0)
    assert not results(output_dir, data).has(str(output_dir / "model.ckpt-10"))


FROM_EARLIER_VERSION = {
    "best_checkpoint": "model.ckpt-10",
    "metric": "f1",
    "f1": 50.0,
    "checkpoints": {"model.ckpt-10": {"f1": 50.0}},
    "files": ["predictions.json"],
    "evaluated_on": DATA,
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[]",
        "3",
        "{",
        "\x00",
        "[" * 100_000,
        *(
            json.dumps({**FROM_EARLIER_VERSION, **change})
            for change in (
                {},
                {"files": None},
                {"digests": None},
                {"digests": {"model.ckpt-10": None}},
                {"digests": {"model.ckpt-10": "0"}, "checkpoints": None},
                {"digests": {"model.ckpt-10": "0"}, "checkpoints": {"model.ckpt-10": None}},
                {"digests": {"model.ckpt-10": "0"}, "checkpoints": {"model.ckpt-10": {"f1": "a"}}},
                {"model.ckpt-best": None},
                {"model.ckpt-best": {"checkpoint": 1, "digest": "0"}},
            )
        ),
    ],
)
def test_results_from_elsewhere_are_replaced_with_a_log_line(output_dir, caplog, text):
    (output_dir / "eval_results.json").write_text(text)
    ours = results(output_dir)
    assert "was not written by this version: evaluating again" in caplog.text
    assert not ours.has(str(output_dir / "model.ckpt-10"))
    ours.mend(keep_best=True)
    add(ours, output_dir, 10, 50.0)
    assert saved(output_dir)["checkpoints"] == {"model.ckpt-10": {"f1": 50.0, "exact_match": 1.0}}


def test_prediction_alone_makes_no_best_checkpoint(output_dir):
    add(results(output_dir), output_dir, 10, 50.0, keep_best=False)
    assert best.best_checkpoint(str(output_dir)) is None
    assert predicted_step(output_dir) == 10
    assert not (output_dir / "eval").exists()


def test_prediction_alone_replaces_the_results_of_other_checkpoints(output_dir, tmp_path):
    elsewhere = tmp_path / "predictions"
    for step in (10, 20):
        ours = results(elsewhere)
        checkpoint = str(output_dir / f"model.ckpt-{step}")
        assert not ours.has(checkpoint)
        ours.forget_all_but(checkpoint)
        ours.add(checkpoint, evaluation_of(step, 70.0 - step), keep_best=False)
        assert results(elsewhere).has(checkpoint)
        assert set(saved(elsewhere)["checkpoints"]) == {checkpoint}
        assert predicted_step(elsewhere) == step


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
    assert best.best_checkpoint(str(output_dir)) is None
    assert ours.evaluations_since_best == 0


def test_evaluations_without_a_better_checkpoint_are_counted(output_dir):
    ours = results(output_dir)
    assert ours.evaluations_since_best == 0
    for step, f1, count in ((10, 50.0, 0), (20, 50.0, 1), (30, float("nan"), 2)):
        add(ours, output_dir, step, f1)
        assert ours.evaluations_since_best == count
        assert results(output_dir).evaluations_since_best == count
    save(output_dir, [40])
    add(ours, output_dir, 40, 50.5)
    assert ours.evaluations_since_best == 0


def break_off(output_dir, after, before):
    """Bring back the files of before an evaluation, but for those that it had written in time."""
    for name, content in before.items():
        if not name.startswith(after):
            (output_dir / name).write_bytes(content)


@pytest.mark.parametrize(
    "written",
    [
        ("eval_results.json",),
        ("eval_results.json", "model.ckpt-best"),
        ("eval_results.json", "model.ckpt-best", "predictions.json"),
    ],
)
def test_an_evaluation_broken_off_while_it_writes_is_completed(output_dir, written):
    """The written files are in the order of the writing."""
    ours = results(output_dir)
    add(ours, output_dir, 10, 50.0)
    before = contents(output_dir)
    add(ours, output_dir, 20, 70.0)
    undisturbed = contents(output_dir)
    break_off(output_dir, written, before)

    resumed = results(output_dir)
    resumed.forget_other_training(30)
    resumed.mend(keep_best=True)
    assert digest(output_dir, "best") == digest(output_dir, 20)
    checkpoint = str(output_dir / "model.ckpt-20")
    assert resumed.has(checkpoint) == ("predictions.json" in written)
    if not resumed.has(checkpoint):
        add(resumed, output_dir, 20, 70.0)
    assert contents(output_dir) == undisturbed


@pytest.mark.parametrize("damage", ["remove", "cut", "replace"])
def test_the_best_checkpoint_is_made_again(output_dir, caplog, damage):
    add_all(output_dir)
    expected = contents(output_dir)
    damage_best(output_dir, damage)
    assert best.best_checkpoint(str(output_dir)) == str(output_dir / "model.ckpt-20")
    best.restore(str(output_dir))
    assert f"model.ckpt-best: made again from {output_dir}/model.ckpt-20" in caplog.text
    assert contents(output_dir) == expected


@pytest.mark.parametrize("damage", ["remove", "cut", "replace"])
@pytest.mark.parametrize("source", ["removed", "trained again"])
def test_a_lost_best_checkpoint_is_never_replaced_by_another(output_dir, damage, source):
    add_all(output_dir)
    damage_best(output_dir, damage)
    remove(output_dir, 20)
    if source == "trained again":
        save(output_dir, [20], learning_rate=2.0)
    for use in (best.best_checkpoint, best.restore):
        with pytest.raises(InputError, match=r"model\.ckpt-best: the best checkpoint is lost: "):
            use(str(output_dir))


def damage_best(output_dir, damage):
    if damage == "remove":
        remove(output_dir, "best")
    elif damage == "cut":
        (output_dir / "model.ckpt-best.data-00000-of-00001").write_bytes(b"")
    else:
        checkpoint_files.keep_as_best(str(output_dir / "model.ckpt-30"))


def test_a_training_that_is_started_over_forgets_the_last(output_dir):
    add_all(output_dir)
    remove(output_dir, 10, 20, 30)
    again = results(output_dir)
    again.forget_other_training(0)
    assert again.best is None
    assert saved(output_dir)["checkpoints"] == {}
    assert best.best_checkpoint(str(output_dir)) is None  # the old copy is not used
    again.mend(keep_best=True)
    save(output_dir, [10], learning_rate=2.0)
    add(again, output_dir, 10, 40.0)
    assert again.best == "model.ckpt-10"
    assert digest(output_dir, "best") == digest(output_dir, 10)
    assert predicted_step(output_dir) == 10
    assert curves.read(output_dir / "eval") == {10: {"eval/f1": 40.0, "eval/exact_match": 1.0}}


def test_a_training_that_goes_on_from_an_earlier_step_forgets_the_later_results(output_dir):
    add_all(output_dir)
    remove(output_dir, 20, 30)
    again = results(output_dir)
    again.forget_other_training(10)
    assert set(saved(output_dir)["checkpoints"]) == {"model.ckpt-10"}
    assert not again.has(str(output_dir / "model.ckpt-10"))  # its answers were replaced
    again.mend(keep_best=True)
    assert digest(output_dir, "best") == digest(output_dir, 10)


def test_results_of_removed_checkpoints_stay(output_dir):
    add_all(output_dir)
    remove(output_dir, 10, 20)
    before = contents(output_dir)
    again = results(output_dir)
    again.forget_other_training(30)
    again.mend(keep_best=True)
    assert contents(output_dir) == before
    assert again.has(str(output_dir / "model.ckpt-best"))


def test_metrics_go_to_tensorboard_once(output_dir):
    add_all(output_dir)
    expected = {
        step: {"eval/f1": f1, "eval/exact_match": 1.0}
        for step, f1 in ((10, 50.0), (20, 70.0), (30, 60.0))
    }
    (path,) = (output_dir / "eval").iterdir()
    events = [e for e in tf.train.summary_iterator(str(path)) if e.summary.value]
    assert [event.step for event in events] == [10, 20, 30]
    assert curves.read(output_dir / "eval") == expected
    size = path.stat().st_size
    results(output_dir).mend(keep_best=True)
    assert path.stat().st_size == size

    # Killed while it wrote the last, an hour ago: files are named after the second.
    earlier = path.with_name("events.out.tfevents.1000000000.server")
    earlier.write_bytes(path.read_bytes()[: size - 7])
    path.unlink()
    tf.summary.FileWriterCache.clear()
    assert set(curves.read(output_dir / "eval")) == {10, 20}
    results(output_dir).mend(keep_best=True)
    assert curves.read(output_dir / "eval") == expected

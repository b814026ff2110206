"""An output directory: lock, resume point, the best checkpoint, what is removed and what stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints, evaluations
from albert_tf.run_dir.evaluations import Evaluations
from albert_tf.run_dir.run_dir import RunDir, find_checkpoint
from golden import checkpoint_of
from run_dir.saved import cut, flip_byte, save
from scripts import ROOT

SQUAD = Path(checkpoint_of("squad"))
DATA = {"predict_file": "abc"}


@pytest.fixture
def output_dir(tmp_path):
    """Directory with the checkpoints of steps 10, 20 and 30."""
    save(tmp_path, (10, 20, 30))
    return tmp_path


def evaluate(output_dir, **values):
    """Evaluate checkpoints, given by their steps, like a training."""
    results = Evaluations(output_dir, DATA)
    for name, f1 in values.items():
        prefix = str(output_dir / f"model.ckpt-{name.strip('_')}")
        results.add(prefix, {"f1": f1}, {"predictions.json": name}, {})
        RunDir(output_dir).keep_best(results.best)
        results.write_views(for_training=True)
    return results


def evaluate_all(output_dir):
    return evaluate(output_dir, _10=50.0, _20=70.0, _30=60.0)


def contents(output_dir):
    return {path.name: path.read_bytes() for path in output_dir.iterdir() if path.is_file()}


def names(prefixes):
    return [Path(prefix).name for prefix in prefixes]


def digest(output_dir, name):
    return checkpoints.digest(str(output_dir / f"model.ckpt-{name}"))


def remove(output_dir, *steps):
    for name in steps:
        checkpoints.remove(str(output_dir / f"model.ckpt-{name}"))


HOLDER = """
import sys
from albert_tf.run_dir.run_dir import RunDir
with RunDir(sys.argv[1]).only_run():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_run_works_in_a_directory(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"{tmp_path}.* give another --output_dir"):
            with RunDir(tmp_path).only_run():
                pass
        holder.kill()
    with RunDir(tmp_path).only_run():
        assert "run.lock" in contents(tmp_path)


def test_checkpoints_are_found_by_their_files_in_the_order_of_steps(tmp_path):
    save(tmp_path, (100, 0, 90))
    shutil.copyfile(f"{SQUAD}.index", tmp_path / "model.ckpt-best.index")
    found = RunDir(tmp_path)
    assert names(found.saved()) == ["model.ckpt-0", "model.ckpt-90", "model.ckpt-100"]
    assert found.latest() == found.resume_point() == str(tmp_path / "model.ckpt-100")
    assert RunDir(tmp_path / "none").saved() == []
    assert RunDir(tmp_path / "none").resume_point() is None


def test_an_incomplete_checkpoint_is_not_resumed_from(output_dir, caplog):
    cut(output_dir / "model.ckpt-30.data-00000-of-00001")
    run_dir = RunDir(output_dir)
    assert names(run_dir.saved()) == ["model.ckpt-10", "model.ckpt-20"]
    assert run_dir.resume_point() == str(output_dir / "model.ckpt-20")
    assert "model.ckpt-30: the checkpoint is incomplete and not used: " in caplog.text
    for step in (10, 20):
        (output_dir / f"model.ckpt-{step}.data-00000-of-00001").unlink()
    with pytest.raises(InputError, match=r"model.ckpt-30: .* has been cut; copy it again, or rem"):
        run_dir.resume_point()


def test_what_a_killed_run_left_half_written_is_removed(tmp_path, caplog):
    caplog.set_level("INFO")
    kept = {
        "checkpoint",
        "graph.pbtxt",
        "model.ckpt-4.index",
        "model.ckpt-4.data-00000-of-00001",
        "model.ckpt-best.index",
        "model.ckpt-best.meta",
        "notes.tmp",
    }
    half_written = {
        "graph.pbtxt.tmp-host-123",
        "model.ckpt-8.meta",
        "model.ckpt-8.only-to-resume",
        "model.ckpt-8.data-00000-of-00001",
    }
    for name in kept | half_written:
        (tmp_path / name).touch()
    for directory in ("model.ckpt-8.tmp-host-123", "evaluations/1-2.tmp-host-123"):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "model.ckpt-8.index").touch()
    RunDir(tmp_path).remove_unfinished()
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "evaluations"}
    assert list((tmp_path / "evaluations").iterdir()) == []
    assert caplog.text.count("removed, left half-written by a killed run") == len(half_written) + 2
    RunDir(tmp_path / "not there yet").remove_unfinished()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff\x00garbage",
        b'model_checkpoint_path: "/elsewhere/model.ckpt-8"\n',
        b'model_checkpoint_path: "../other/model.ckpt-8"\n',
        b'model_checkpoint_path: "model.ckpt-10"\n',
        b'model_checkpoint_path: "model.ckpt-9"\n',
    ],
)
def test_the_file_checkpoint_names_the_saved_ones(output_dir, content):
    path = output_dir / "checkpoint"
    if content is not None:
        path.write_bytes(content)
    run_dir = RunDir(output_dir)
    run_dir.write_state(run_dir.saved())
    assert tf.train.latest_checkpoint(str(output_dir)) == str(output_dir / "model.ckpt-30")
    state = tf.train.get_checkpoint_state(str(output_dir))
    assert list(state.all_model_checkpoint_paths) == run_dir.saved()
    run_dir.write_state([])
    assert not path.exists()


def test_meta_graphs_that_are_missing_are_written(output_dir):
    (output_dir / "model.ckpt-20.meta").unlink()
    RunDir(output_dir).write_graph(tf.GraphDef(), b"another")
    assert (output_dir / "model.ckpt-20.meta").read_bytes() == b"another"
    assert (output_dir / "model.ckpt-10.meta").read_bytes() == b"graph"
    assert (output_dir / "graph.pbtxt").exists()


def test_the_best_is_a_copy_of_its_source(output_dir):
    assert RunDir(output_dir).best() is None
    evaluate_all(output_dir)
    assert digest(output_dir, "best") == digest(output_dir, 20)
    assert RunDir(output_dir).best() == str(output_dir / "model.ckpt-best")
    assert RunDir(output_dir).for_prediction() == str(output_dir / "model.ckpt-best")


def test_without_evaluations_the_latest_predicts(output_dir):
    assert RunDir(output_dir).for_prediction() == str(output_dir / "model.ckpt-30")


def damage_best(output_dir, damage):
    if damage == "remove":
        remove(output_dir, "best")
    elif damage == "cut":
        (output_dir / "model.ckpt-best.data-00000-of-00001").write_bytes(b"")
    elif damage == "replace":
        checkpoints.copy(str(output_dir / "model.ckpt-30"), str(output_dir / "model.ckpt-best"))
    else:  # the last tensor in the file is that of the optimizer's slot
        flip_byte(str(output_dir / "model.ckpt-best"), {"weights": 0, "slot": -1}[damage])


DAMAGES = ["remove", "cut", "replace", "weights", "slot"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_best_checkpoint_is_copied_again(output_dir, damage):
    results = evaluate_all(output_dir)
    expected = contents(output_dir)
    damage_best(output_dir, damage)
    run_dir = RunDir(output_dir)
    assert run_dir.best() == str(output_dir / "model.ckpt-20")
    run_dir.keep_best(results.best)
    assert contents(output_dir) == expected
    assert run_dir.best() == str(output_dir / "model.ckpt-best")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("source", ["removed", "trained again"])
def test_a_lost_best_checkpoint_is_never_replaced_by_another(output_dir, damage, source):
    results = evaluate_all(output_dir)
    damage_best(output_dir, damage)
    remove(output_dir, 20)
    if source == "trained again":
        save(output_dir, [20], learning_rate=2.0)
    for use in (RunDir.best, lambda run_dir: run_dir.keep_best(results.best)):
        with pytest.raises(InputError, match=r"model\.ckpt-best: the best checkpoint is lost: "):
            use(RunDir(output_dir))


def test_a_best_checkpoint_whose_source_is_gone_is_primary(output_dir):
    """Old checkpoints are removed to save space, and training starts over."""
    evaluate_all(output_dir)
    best = digest(output_dir, "best")
    remove(output_dir, 10, 20, 30)
    run_dir, prefix = RunDir(output_dir), str(output_dir / "model.ckpt-best")
    run_dir.discard_other_training(0)
    results = Evaluations(output_dir, DATA)
    assert results.outcomes == []
    assert run_dir.best() == run_dir.unjudged_best(results) == prefix

    results.add(prefix, {"f1": 70.0}, {"predictions.json": "best"}, {})
    assert run_dir.unjudged_best(results) is None
    save(output_dir, [10], learning_rate=2.0)
    evaluate(output_dir, _10=40.0)
    assert digest(output_dir, "best") == best
    assert (output_dir / "predictions.json").read_text() == "best"
    save(output_dir, [20], learning_rate=2.0)
    evaluate(output_dir, _20=80.0)
    assert digest(output_dir, "best") == digest(output_dir, 20)


def test_the_best_of_a_published_model_is_evaluated_before_it_may_be_replaced(tmp_path):
    (prefix,) = save(tmp_path, [7])
    checkpoints.copy(prefix, str(tmp_path / "model.ckpt-best"))
    checkpoints.remove(prefix)
    results = Evaluations(tmp_path, DATA)
    assert RunDir(tmp_path).unjudged_best(results) == str(tmp_path / "model.ckpt-best")
    assert RunDir(tmp_path).best() == str(tmp_path / "model.ckpt-best")


def test_a_training_that_is_started_over_discards_the_results_of_the_last(output_dir, caplog):
    caplog.set_level("INFO")
    evaluate_all(output_dir)
    remove(output_dir, 10, 20, 30, "best")
    RunDir(output_dir).discard_other_training(0)
    assert "model.ckpt-10, model.ckpt-20, model.ckpt-30" in caplog.text
    save(output_dir, [10], learning_rate=2.0)
    results = evaluate(output_dir, _10=40.0)
    assert results.best.checkpoint == "model.ckpt-10"
    assert digest(output_dir, "best") == digest(output_dir, 10)
    value = json.loads((output_dir / "eval_results.json").read_text())
    assert value["checkpoints"] == {"model.ckpt-10": {"f1": 40.0}}


def test_a_training_that_resumes_earlier_discards_the_later_results(output_dir):
    evaluate_all(output_dir)
    remove(output_dir, 20, 30)
    RunDir(output_dir).discard_other_training(10)
    outcomes = evaluations.outcomes_in(output_dir)
    assert [outcome.checkpoint for outcome in outcomes] == ["model.ckpt-10"]


def test_results_of_removed_checkpoints_stay(output_dir):
    evaluate_all(output_dir)
    remove(output_dir, 10, 20)
    RunDir(output_dir).discard_other_training(30)
    results = Evaluations(output_dir, DATA)
    assert [outcome.order for outcome in results.outcomes] == [10, 20, 30]
    RunDir(output_dir).keep_best(results.best)
    assert results.has(str(output_dir / "model.ckpt-best"))


def test_only_old_checkpoints_with_an_outcome_are_removed(output_dir):
    run_dir = RunDir(output_dir)
    run_dir.tidy(1, evaluate(output_dir, _10=50.0))
    assert names(run_dir.saved()) == ["model.ckpt-20", "model.ckpt-30"]
    assert tf.train.latest_checkpoint(str(output_dir)) == str(output_dir / "model.ckpt-30")
    run_dir.tidy(0, None)
    assert names(run_dir.saved()) == ["model.ckpt-20", "model.ckpt-30"]
    run_dir.tidy(1, None)
    assert names(run_dir.saved()) == ["model.ckpt-30"]


@pytest.mark.parametrize("suffix", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_any_of_its_files_means_the_checkpoint(suffix):
    assert find_checkpoint(f"{SQUAD}{suffix}") == str(SQUAD)


def test_a_directory_means_its_best_or_latest_checkpoint(output_dir):
    assert find_checkpoint(str(output_dir)) == str(output_dir / "model.ckpt-30")
    evaluate_all(output_dir)
    assert find_checkpoint(str(output_dir)) == str(output_dir / "model.ckpt-best")


def test_a_directory_of_another_program_names_its_checkpoint(tmp_path, graph):
    tf.get_variable("w", [])
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        saver.save(session, str(tmp_path / "weights"), 7)
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "weights-7")


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index", "none/model.ckpt-best"])
def test_missing_checkpoints_are_refused(name):
    with pytest.raises(InputError, match="no checkpoint found"):
        find_checkpoint(str(SQUAD.parent / name))


def test_the_message_names_checkpoints_nearby():
    with pytest.raises(InputError, match=f"the directory has {SQUAD}$"):
        find_checkpoint(str(SQUAD.parent / "model.ckpt"))


def test_incomplete_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match="no checkpoint in this directory"):
        find_checkpoint(str(tmp_path))
    shutil.copy(f"{SQUAD}.index", tmp_path)
    with pytest.raises(InputError, match=r"model\.ckpt-best\.data-\* is missing"):
        find_checkpoint(str(tmp_path / "model.ckpt-best"))

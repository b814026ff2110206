"""Runs of several processes, with Open MPI and with Gloo, compared with runs of one process."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from albert_tf.records.record_files import read_records
from golden import checkpoint_of, golden_records, train_on_golden_rows
from horovod_steps import RUNS
from launchers import finish, launch, mpi_flags, rank_processes, start, started_by
from run.test_toy_task import FLAGS as TOY_FLAGS
from run.test_toy_task import make_pairs
from scripts import (
    CLASSIFIER_FLAGS,
    OWN_FILES_FLAGS,
    PRETRAINING_FLAGS,
    RACE_FLAGS,
    ROOT,
    SAMPLE_MODEL,
    SAMPLE_PREDICT,
    SAMPLE_TRAIN,
    SQUAD_FLAGS,
    SQUAD_V2_FLAGS,
    assert_same_answers,
    assert_same_run,
    assert_same_variables,
    command,
    files,
    load,
    record_file,
    run_script,
    run_squad,
    succeed,
)
from tasks.custom.files import write_rows

pytestmark = pytest.mark.horovod
ends = pytest.mark.xdist_group("runs of several processes that end early")  # they mostly wait


def squad(output_dir, **flags):
    """Command line of a process of a deterministic SQuAD run with Horovod."""
    shared = {**SQUAD_FLAGS, "train_batch_size": 4, "deterministic_run": True, "use_horovod": True}
    return command("run_squad_v1.py", {**shared, "output_dir": output_dir, **flags})


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Directory with the results of two ranks of horovod_steps.py, and their log."""
    directory = tmp_path_factory.mktemp("steps")
    run = [*command("tests/horovod_steps.py", {}), str(directory)]
    return directory, succeed(launch("gloo", 2, run, env={"PYTHONPATH": str(ROOT)}))


def test_values_are_exchanged(steps):
    directory, _ = steps
    assert load(directory / "exchanged.json") == {
        "size": 2,
        "gathered": [{"rank": 0, "text": ""}, {"rank": 1, "text": "ä"}],
        "cores": [max(1, len(os.sched_getaffinity(0)) // 2)] * 2,
        "broadcast": "from 0",
        "sum_of_earlier": [0, 5],
    }


@pytest.mark.parametrize(("number", "arguments"), [*enumerate(RUNS)])
def test_two_ranks_make_the_step_of_one_large_batch(steps, number, arguments):
    directory, _ = steps
    head, optimizer, _, compression = arguments
    expected = train_on_golden_rows(head, optimizer, range(4), micro_batches=1)
    differences = []
    of_rank_0, of_rank_1 = load(directory / f"{number}.json")
    assert set(of_rank_0) == set(expected)
    assert of_rank_0 == of_rank_1
    for name, value in expected.items():
        differences.append(np.abs(np.array(of_rank_0[name]) - value).max())
    if compression == "fp16":
        assert 1e-5 < max(differences) < 1e-3
    else:
        assert max(differences) < 1e-5


def test_weights_are_compared(steps):
    _, log = steps
    lines = log.splitlines()
    assert sum("all 2 processes start from the same weights" in line for line in lines) == 2
    assert sum("all 2 processes end with the same weights" in line for line in lines) == 1
    different = "rank 1: the weights differ from the weights of rank 0"
    assert sum(different in line for line in lines) == 1


def test_ranks_but_0_only_warn_and_say_who_they_are(steps):
    _, log = steps
    assert "not logged" not in log
    of_rank_1 = [line for line in log.splitlines() if line.startswith("[1]<stderr>:")]
    assert all(line.startswith("[1]<stderr>:rank 1: ") for line in of_rank_1)
    assert [line.rpartition(" ")[2] for line in of_rank_1] == ["two", "lines"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Output directory and log of a SQuAD run of two processes with MPI."""
    directory = tmp_path_factory.mktemp("trained")
    return directory, succeed(launch("mpi", 2, squad(directory)))


def test_a_run_of_two(trained):
    directory, log = trained
    assert "2 processes connected by MPI: 2 on " in log
    assert log.count("all 2 processes start from the same weights") == 1
    assert log.count("all 2 processes end with the same weights") == 1
    assert "10 steps of 8 examples (4 per device), with a learning rate of up to 5e-05\n" in log
    assert re.search(r"step 10 of 10: loss [\d.]+, learning rate 5e-06;", log)
    assert log.count("predicted 171 records in") == 3
    assert "rank 1" not in log
    ours = {name for name in files(directory) if "tfrecord" in name}
    names = ("train_features", "predict_features", "predict_windows")
    assert ours == {
        f"{name}.tfrecord_0{suffix}" for name in names for suffix in ("", ".manifest.json")
    }
    assert files(directory / "1") == {name.replace("_0", "_1") for name in ours}


@pytest.fixture(scope="module")
def squad_by_one(trained, tmp_path_factory):
    """Output directory of a prediction by one process with the best checkpoint of `trained`."""
    directory = tmp_path_factory.mktemp("predicted")
    checkpoint = trained[0] / "model.ckpt-best"
    succeed(run_squad(directory, do_train=False, init_checkpoint=checkpoint))
    return directory


def test_both_shards_are_the_records_of_one_process(trained, squad_by_one):
    directory, _ = trained
    expected = {
        "train_features": golden_records("train"),
        "predict_features": golden_records("predict"),
        "predict_windows": windows(record_file(squad_by_one, "predict_windows")),
    }
    for name, of_one in expected.items():
        read = windows if name == "predict_windows" else records_of
        paths = record_file(directory, name, 0), record_file(directory / "1", name, 1)
        shards = [read(path) for path in paths]
        assert min(map(len, shards)) > 70
        assert shards[0] + shards[1] == of_one


def records_of(path):
    return list(read_records(str(path)))


def windows(path):
    """Windows of a file, without the question indices, which start from 0 in each shard."""
    found = [json.loads(window) for window in read_records(str(path))]
    questions = [window.pop("question") for window in found]
    assert questions[0] == 0
    return found


def test_answers_are_those_of_one_process(trained, squad_by_one):
    directory, _ = trained
    assert_same_answers(directory, squad_by_one, tolerance=2e-5)
    ours, of_one = (load(path / "eval_results.json") for path in (directory, squad_by_one))
    assert ours["f1"] == of_one["f1"]
    assert ours["exact_match"] == of_one["exact_match"]


def test_a_finished_run_ends_at_once_on_all_ranks(trained):
    directory, _ = trained

    def times():
        paths = [path for path in directory.rglob("*") if path.is_file()]
        logs = [path for path in paths if path.name == "log.txt" or "tfevents" in path.name]
        return {path: path.stat().st_mtime_ns for path in paths if path not in logs}

    before = times()
    log = succeed(launch("gloo", 2, squad(directory)))
    assert "2 processes connected by Gloo: 2 on " in log
    assert "training has finished at step 10" in log
    assert log.count(": already evaluated") == 3
    assert times() == before


def test_a_killed_rank_ends_the_run_and_it_resumes(trained, tmp_path):
    directory, _ = trained
    process = start(started_by("mpi", 2, squad(tmp_path, save_checkpoints_steps=4)))
    deadline = time.time() + 240
    while not (tmp_path / "model.ckpt-4.index").exists():
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.01)
    os.kill(rank_processes(process, "run_squad_v1.py")[1], signal.SIGKILL)
    result = finish(process)
    assert result.returncode != 0
    assert "process rank 1" in result.stderr + result.stdout
    assert "exited on signal 9" in result.stderr + result.stdout
    assert not (tmp_path / "model.ckpt-10.index").exists()

    log = succeed(launch("mpi", 2, squad(tmp_path)))
    assert "resuming training from" in log
    assert "all 2 processes end with the same weights" in log
    assert_same_run(tmp_path, directory)


def start_and_wait(launcher, output_dir, text, **options):
    """Start a classifier's long training on two ranks, and wait for a line of its log."""
    flags = {
        **CLASSIFIER_FLAGS,
        "train_step": 100_000,
        "train_batch_size": 2,
        "output_dir": output_dir,
        "use_horovod": True,
        "save_checkpoints_steps": 100,
    }
    process = start(started_by(launcher, 2, command("run_classifier.py", flags)), **options)
    log = output_dir / "log.txt"
    deadline = time.time() + 240
    while not (log.exists() and text in log.read_text()):
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.01)
    return process, rank_processes(process, "run_classifier.py")


@ends
@pytest.mark.parametrize(
    ("launcher", "moment", "number", "receivers"),
    [
        ("mpi", "model.ckpt-100: saved", signal.SIGTERM, [1]),
        ("gloo", "step 1 of", signal.SIGINT, [0, 1]),
        ("mpi", "step 1 of", signal.SIGUSR1, [1]),
    ],
)
def test_a_signal_stops_all_ranks(tmp_path, launcher, moment, number, receivers):
    """In training with a checkpoint; while one is judged at once. Whichever rank it reaches."""
    process, ranks = start_and_wait(launcher, tmp_path, moment)
    for rank in receivers:
        os.kill(ranks[rank], number)
    result = finish(process)
    assert re.search(rf"Exit code: +{128 + number}\b", result.stderr + result.stdout)
    assert "Stopped" not in result.stderr
    log = (tmp_path / "log.txt").read_text()
    told = re.findall(rf"stopped by {number.name}(?: at step (\d+))?; ", log)
    assert told
    if told[0]:
        assert (tmp_path / f"model.ckpt-{told[0]}.index").exists()
    assert load(tmp_path / "run.json")["starts"][0]["processes"]["number"] == 2


@ends
@pytest.mark.parametrize(("launcher", "stopped"), [("mpi", 1), ("gloo", 0)])
def test_a_suspended_rank_ends_the_run(tmp_path, launcher, stopped):
    limits = {"HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "8", "HOROVOD_STALL_CHECK_TIME_SECONDS": "4"}
    process, ranks = start_and_wait(launcher, tmp_path, "step 1 of", env=limits)
    os.kill(ranks[stopped], signal.SIGSTOP)
    try:
        result = finish(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(ranks[stopped], signal.SIGKILL)
    assert result.returncode != 0
    assert "the other processes have not answered for 12 s" in result.stderr
    assert "the other processes have not answered for 12 s" in (tmp_path / "log.txt").read_text()


@ends
def test_the_error_of_one_rank_ends_the_run(tmp_path):
    (tmp_path / "records_1").mkdir()
    result = launch("gloo", 2, squad(tmp_path / "run", train_feature_file=tmp_path / "records"))
    assert result.returncode == 1
    (error,) = [line for line in result.stderr.splitlines() if "rank 1: " in line]
    assert "error: rank 1: " in error
    assert f"{tmp_path}/records_1: is a directory; give the path" in error


def test_servers_that_share_nothing(trained, tmp_path):
    """Each server has its own copy of the inputs; only the first has the checkpoint."""
    inputs = {"train_file": SAMPLE_TRAIN, "predict_file": SAMPLE_PREDICT}
    names = {"output_dir": "out", "init_checkpoint": "start/model.ckpt-best"}
    for server in ("a", "b"):
        (tmp_path / server).mkdir()
        for flag, path in {**inputs, "spm_model_file": SAMPLE_MODEL}.items():
            shutil.copy(path, tmp_path / server)
            names[flag] = path.name
    shutil.copytree(SQUAD_FLAGS["init_checkpoint"].parent, tmp_path / "a/start")
    one = ["-np", "1", "--wdir"]
    run = squad(**names)
    commands = [*one, str(tmp_path / "a"), *run, ":", *one, str(tmp_path / "b"), *run]
    log = succeed(finish(start(["mpirun", *mpi_flags(), *commands])))
    assert "all 2 processes end with the same weights" in log
    assert_same_variables(tmp_path / "a/out/model.ckpt-10", trained[0] / "model.ckpt-10")
    assert load(tmp_path / "a/out/predictions.json") == load(trained[0] / "predictions.json")
    assert not (tmp_path / "a/out/1").exists()
    assert files(tmp_path / "b/out") == {"1"}
    assert files(tmp_path / "b/out/1") == files(trained[0] / "1")


def own_files(directory):
    """Flags of own files with texts and labels."""
    rows = [{"text": f"{word} {n} {word}"} for n in range(13) for word in ("sun", "fog", "night")]
    labelled = [{**row, "label": row["text"][:1]} for row in rows[:-6]]
    return {
        "train_file": write_rows(directory / "train.csv", labelled),
        "test_file": write_rows(directory / "new.jsonl.gz", rows),
        "dev_file": None,
        "dev_share": 0.25,
        "text_column": None,
        "second_text_column": None,
        "label_column": None,
        "init_checkpoint": None,
    }


def one_article(directory):
    """Path of a SQuAD file with fewer questions."""
    questions = load(SAMPLE_TRAIN)
    questions["data"] = questions["data"][:1]
    (directory / "train-1.json").write_text(json.dumps(questions))
    shutil.copy(SAMPLE_TRAIN, directory / "train-0.json")
    return str(directory / "train-{rank}.json")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, pretraining_files):
    """Directory with runs of two ranks by name, made in one launch, and its outputs."""
    directory = tmp_path_factory.mktemp("tasks")
    (directory / "pairs.json").write_text(json.dumps(make_pairs()))
    (directory / "missing").mkdir()
    (directory / "missing/1").touch()
    few = {"train_batch_size": 2, "train_step": 4}
    of_pretraining = {
        "input_file": pretraining_files,
        "train_batch_size": 4,
        "horovod_compression": "fp16",
        "gradient_accumulation_steps": 2,
    }
    of_toy = {name: str(x) if isinstance(x, Path) else x for name, x in TOY_FLAGS.items()}
    of_toy.update(pairs=str(directory / "pairs.json"), steps=2)
    dry = {"dry_run": True, "do_train": False, "do_predict": False}
    runs = [
        ("squad", "missing", {"train_file": "missing.json"}),
        ("squad", "different", {"train_file": one_article(directory)}),
        ("race", "dry", dry),
        ("squad_v2", "squad_v2", {"train_batch_size": 4, "train_steps": 4}),
        ("classifier", "classifier", few),
        ("own_data", "own_data", {**few, **own_files(directory)}),
        ("race", "race", few),
        ("pretraining", "pretraining", of_pretraining),
        ("toy", "toy", of_toy),
    ]
    listed = [(name, str(directory / output), flags) for name, output, flags in runs]
    (directory / "runs.json").write_text(json.dumps(listed))
    run = [*command("tests/horovod_tasks.py", {}), str(directory / "runs.json")]
    ended = launch("gloo", 2, run, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})
    log = succeed(ended)
    assert log.count("all 2 processes end with the same weights") == 6
    return directory, log, ended.stdout


def predicted_by_one(script, directory, flags):
    """Output directory of a prediction by one process with the model of a run."""
    one = directory.with_name(f"{directory.name}-one")
    one_flags = {**flags, "output_dir": one, "do_train": False, "init_checkpoint": directory}
    succeed(run_script(script, one_flags))
    return one


def assert_shards(run, one, name, counts):
    """Assert that the record files of two ranks are, one after the other, that of one process."""
    shards = records_of(record_file(run, name, 0)), records_of(record_file(run / "1", name, 1))
    assert [len(shard) for shard in shards] == counts
    assert [*shards[0], *shards[1]] == records_of(record_file(one, name))


def refusals_in(log):
    """Lines of the problems for which runs were refused."""
    lines = [line.partition("<stderr>:")[2] for line in log.splitlines()]
    told = "\n".join(lines).split("refused: ")[1:]
    return [line for text in told for line in text.splitlines()[:2]]


def test_bad_input_is_told_once(tasks):
    directory, log, _ = tasks
    by_both, by_rank_1, *_ = refusals_in(log)
    assert by_both.startswith("missing.json: cannot read the questions")
    assert by_rank_1.startswith(f"rank 1: --output_dir {directory}/missing/1: ")
    assert log.count("missing.json: cannot read") == 1


def test_servers_with_different_inputs(tasks):
    """Different inputs would give different numbers of steps, and a deadlock."""
    _, log, _ = tasks
    assert "refused: rank 1: train_file, num_train_steps: different from rank 0; give all" in log


def test_a_dry_run_of_two_ranks(tasks):
    directory, _, output = tasks
    assert len(re.findall("dry run: .* is unchanged", output)) == 1
    assert f"no training, with {checkpoint_of('race')}" in output
    assert not (directory / "dry").exists()


def test_squad_v2_on_two_ranks(tasks):
    """Rank 0 finds the threshold in the scores of all questions."""
    run = tasks[0] / "squad_v2"
    one = predicted_by_one("run_squad_v2.py", run, SQUAD_V2_FLAGS)
    assert_same_answers(run, one, tolerance=2e-5)
    ours, theirs = (load(path / "null_odds.json") for path in (run, one))
    assert ours == pytest.approx(theirs, abs=1e-5)
    ours, theirs = (load(path / "eval_results.json")["best_f1"] for path in (run, one))
    assert ours == theirs


def test_glue_on_two_ranks(tasks):
    """Predictions are in the order of the file, and metrics equal those of one process."""
    directory, log, _ = tasks
    assert "with a learning rate of up to 0.0001 (5e-05 times 2 devices)\n" in log
    assert re.search(r"step 1 of 4: loss [\d.]+, learning rate 0.0001;", log)
    run = directory / "classifier"
    one = predicted_by_one("run_classifier.py", run, CLASSIFIER_FLAGS)
    ours, theirs = (load(path / "eval_results.json") for path in (run, one))
    for name in ("f1", "accuracy"):
        assert ours[name] == theirs[name]
    assert (run / "submit_results.tsv").read_text() == (one / "submit_results.tsv").read_text()
    np.testing.assert_allclose(
        *(np.loadtxt(path / "test_results.tsv") for path in (run, one)), rtol=0, atol=1e-5
    )
    for split in ("eval", "predict"):
        assert_shards(run, one, f"mrpc_{split}", [3, 2])


def test_own_data_on_two_ranks(tasks):
    """All ranks split the training file alike, and predictions are in the order of the file."""
    directory = tasks[0]
    run = directory / "own_data"
    one = predicted_by_one("run_classifier.py", run, {**OWN_FILES_FLAGS, **own_files(directory)})
    kept = load(run / "labels.json")
    assert (kept["labels"], kept["counts"]) == (["f", "n", "s"], [11, 11, 11])
    assert load(run / "confusion_matrix.json") == load(one / "confusion_matrix.json")
    ours, theirs = (
        [json.loads(line) for line in (path / "predictions.jsonl").read_text().splitlines()]
        for path in (run, one)
    )
    with gzip.open(directory / "new.jsonl.gz", "rt") as file:
        assert [row["text"] for row in ours] == [json.loads(line)["text"] for line in file]
    assert [row["prediction"] for row in ours] == [row["prediction"] for row in theirs]
    probabilities = ([row["probability"] for row in found] for found in (ours, theirs))
    np.testing.assert_allclose(*probabilities, rtol=0, atol=1e-5)
    assert_shards(run, one, "custom_eval", [4, 4])
    assert_shards(run, one, "custom_predict", [20, 19])


def test_race_on_two_ranks(tasks):
    """Questions are dealt to the ranks, and predictions are in the order of the files."""
    run = tasks[0] / "race"
    one = predicted_by_one("run_race.py", run, RACE_FLAGS)
    ours, theirs = (load(path / "eval_results.json") for path in (run, one))
    assert ours["accuracy"] == theirs["accuracy"]
    assert (run / "test_accuracy.json").read_text() == (one / "test_accuracy.json").read_text()
    results = [np.loadtxt(path / "test_results.tsv", dtype=str) for path in (run, one)]
    np.testing.assert_array_equal(*(rows[:, 4:] for rows in results))
    np.testing.assert_allclose(*(rows[:, :4].astype(float) for rows in results), rtol=0, atol=1e-5)
    for split in ("eval", "predict"):
        assert_shards(run, one, f"race_{split}", [3, 2])


def test_pretraining_on_two_ranks(tasks, pretraining_files):
    directory, log, _ = tasks
    assert "step 5 of 5: loss" in log  # of --num_train_steps=10
    run = directory / "pretraining"
    flags = {**PRETRAINING_FLAGS, "eval_file": pretraining_files}
    one = predicted_by_one("run_pretraining.py", run, flags)
    ours, theirs = (load(path / "eval_results.json") for path in (run, one))
    for name in ("masked_lm_accuracy", "masked_lm_loss", "sentence_order_loss"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-5)


def test_a_new_task_on_two_ranks(tasks):
    """It gets shards and gathered predictions without knowing of them."""
    directory = tasks[0]
    flags = {**TOY_FLAGS, "pairs": directory / "pairs.json"}
    run = directory / "toy"
    one = predicted_by_one("tests/toy_task.py", run, flags)
    assert (run / "longer.txt").read_text() == (one / "longer.txt").read_text()
    ours, theirs = (load(path / "eval_results.json")["accuracy"] for path in (run, one))
    assert ours == theirs
    assert_shards(run, one, "dev", [30, 30])

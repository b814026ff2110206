"""End-to-end tests of run_squad_v1.py from the command line."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.inference.question_answering import load_model
from albert_tf.records.record_files import read_records
from albert_tf.run import run
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.squad.data import read_squad
from albert_tf.tasks.squad.v1 import SquadV1Task
from golden import GOLDEN, checkpoint_of, golden_json, golden_lines, golden_records
from scripts import (
    SAMPLE_PREDICT,
    SQUAD_CHECKPOINT,
    assert_same_answers,
    assert_same_variables,
    files,
    load,
    record_file,
    run_script,
    run_squad,
    succeed,
    times_of_results,
)
from task_factory import make_settings

RUN_FILES = {
    "checkpoint",
    "graph.pbtxt",
    "eval",
    "eval_results.json",
    "eval_results.txt",
    "evaluations",
    "run.json",
    "run.lock",
    "log.txt",
    "albert_config.json",
    "settings.json",
    "30k-clean.model",
    "30k-clean.vocab",
    "predictions.json",
    "nbest_predictions.json",
    "train_features.tfrecord",
    "train_features.tfrecord.manifest.json",
    "predict_features.tfrecord",
    "predict_features.tfrecord.manifest.json",
    "predict_windows.tfrecord",
    "predict_windows.tfrecord.manifest.json",
    *(
        f"model.ckpt-{step}.{suffix}"
        for step in (4, 8, 10, "best")
        for suffix in ("index", "meta", "data-00000-of-00001")
    ),
}


def variables(checkpoint):
    return {
        name: tf.train.load_variable(str(checkpoint), name)
        for name in checkpoints.shapes_in(str(checkpoint))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output directory and log of a finished deterministic run of 10 steps."""
    directory = tmp_path_factory.mktemp("finished")
    log = succeed(run_squad(directory, deterministic_run=True))
    return directory, log


@pytest.mark.tensorflow
def test_a_run_leaves_its_files(finished):
    directory, _ = finished
    assert files(directory) == RUN_FILES
    results = load(directory / "eval_results.json")
    assert set(results["checkpoints"]) == {"model.ckpt-4", "model.ckpt-8", "model.ckpt-10"}
    by_f1 = {name: metrics["f1"] for name, metrics in results["checkpoints"].items()}
    assert results["best_checkpoint"] == max(by_f1, key=by_f1.get)
    assert results["f1"] == max(by_f1.values())
    assert set(load(directory / "predictions.json")) == set(golden_json("squad_s96.predictions"))
    assert_same_variables(directory / "model.ckpt-best", directory / results["best_checkpoint"])


def test_the_log_tells_the_run(finished):
    _, log = finished
    counts = {".tfrecord: wrote 171 records": 2, "predicted 171 records in": 3}
    for line in (
        "running on CPU",
        ".tfrecord: wrote 171 records",
        "27 of 27 variables start from",
        "not trained, as the loss does not depend on them: bert/pooler/dense/kernel, "
        "bert/pooler/dense/bias",
        "training for 10 steps",
        "step 1 of 10: loss 4.",
        "step 10 of 10: loss",
        "predicted 171 records in",
        ": predictions.json, nbest_predictions.json, eval_results.txt, eval_results.json",
    ):
        assert log.count(line) == counts.get(line, 1), line
    assert all(line[0] == "I" for line in log.splitlines()), log


def test_a_finished_run_does_nothing(finished):
    directory, _ = finished
    before = times_of_results(directory)
    log = succeed(run_squad(directory))
    assert times_of_results(directory) == before
    assert "training has finished at step 10" in log
    assert log.count(": already evaluated") == 3


def named_files(lines, directory):
    """Names of the files that a dry run lists in a directory, without what it says of them.

    Digests in the names of record files are left out.
    """
    start = lines.index(f"files in {directory}") + 1
    names = (line.strip().partition(",")[0] for line in lines[start:])
    return {re.sub("-[0-9a-f]{12}[.]", ".", name) for name in names}


def test_a_dry_run_names_the_files_of_the_run(finished, capsys):
    directory, _ = finished
    before = times_of_results(directory)
    flags = {"deterministic_run": True, "dry_run": True}
    run.run(SquadV1Task, make_settings("squad", directory, **flags))
    lines = capsys.readouterr().out.splitlines()
    events, not_listed = "events.out.tfevents.*", {"eval", "evaluations", "run.lock"}
    expected = {re.sub(r"ckpt-\d+\..*", "ckpt-N.*", name) for name in RUN_FILES - not_listed}
    expected = {re.sub(r"ckpt-best\..*", "ckpt-best.*", name) for name in expected}
    assert named_files(lines, directory) == {*expected, events, f"eval/{events}", "evaluations/*"}
    assert f"no training, which has finished: {directory}/model.ckpt-10" in lines
    assert f"  {record_file(directory, 'train_features').name}, there already" in lines
    assert times_of_results(directory) == before


def test_a_deterministic_run_gives_the_same_numbers(finished, tmp_path):
    directory, _ = finished
    succeed(run_squad(tmp_path, deterministic_run=True))
    assert load(tmp_path / "eval_results.json") == load(directory / "eval_results.json")
    for name in ("predictions.json", "nbest_predictions.json"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()


@pytest.mark.tensorflow
def test_our_checkpoints_have_the_variables_of_the_original(finished):
    directory, _ = finished
    ours = checkpoints.shapes_in(str(directory / "model.ckpt-10"))
    original = checkpoints.shapes_in(str(SQUAD_CHECKPOINT))
    pooler = "bert/pooler/dense/"  # has no gradient, so no slots
    slots = {
        f"{name}/{slot}": shape
        for name, shape in original.items()
        for slot in ("adam_m", "adam_v")
        if not name.startswith(pooler)
    }
    assert ours == {**original, **slots, "global_step": []}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Output directory of a prediction with the golden checkpoint, sorted by length."""
    directory = tmp_path_factory.mktemp("predicted")
    succeed(run_squad(directory, do_train=False))
    return directory


@pytest.mark.parametrize(
    "flags",
    [
        {"length_buckets": 96},
        {"predict_batch_size": 5},
        {"length_buckets": "17,50", "predict_batch_size": 3},
        {"use_einsum": True},
    ],
)
def test_answers_do_not_depend_on_padding_and_batches(predicted, tmp_path, flags):
    succeed(run_squad(tmp_path, do_train=False, **flags))
    assert_same_answers(predicted, tmp_path, tolerance=2e-5)


def test_prediction_alone_leaves_its_files(predicted):
    assert files(predicted) == {
        name
        for name in RUN_FILES
        if name.startswith(("predict", "nbest", "eval", "run.", "log.txt")) and name != "eval"
    }


def test_prediction_leaves_the_results_of_training_alone(finished, tmp_path):
    """Answers to other questions go to a folder below, and come from the best checkpoint."""
    run_dir = tmp_path / "run"
    shutil.copytree(finished[0], run_dir)
    (run_dir / "model.ckpt-10.index").unlink()  # the best is left
    questions = load(SAMPLE_PREDICT)
    del questions["data"][1:]
    (tmp_path / "others.json").write_text(json.dumps(questions))
    before = {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    others = {"predict_file": tmp_path / "others.json", "init_checkpoint": None}
    log = succeed(run_squad(run_dir, do_train=False, **others))
    assert f"{run_dir}/model.ckpt-best: predicted " in log
    for path, content in before.items():
        if path.name != "log.txt":
            assert path.read_bytes() == content, path
    assert set(run_dir.iterdir()) - set(before) == {
        run_dir / name for name in ("eval", "evaluations", "predictions")
    }
    folder = run_dir / "predictions/others"
    assert files(folder) == {
        *(name for name in RUN_FILES if name.startswith(("predict", "nbest", "eval_results"))),
        "evaluations",
        "run.json",
    }
    answers = load(folder / "predictions.json")
    ids = {qa["id"] for p in questions["data"][0]["paragraphs"] for qa in p["qas"]}
    assert set(answers) == ids
    assert answers.items() <= load(run_dir / "predictions.json").items()


def test_the_output_directory_is_a_model(finished, tmp_path):
    """No file and no setting is given but the directory."""
    directory, _ = finished
    flags = {
        "init_checkpoint": directory,
        "predict_file": SAMPLE_PREDICT,
        "do_train": False,
        "output_dir": tmp_path,
        "device": "cpu",
    }
    log = succeed(run_script("run_squad_v1.py", flags))
    assert "  max_seq_length=96" in log
    assert f"  albert_config_file={directory}/albert_config.json" in log
    assert_same_answers(directory, tmp_path, tolerance=0)
    n_best = load(directory / "nbest_predictions.json")
    question = read_squad(str(SAMPLE_PREDICT), False)[-1]
    answers = load_model(str(directory)).answer(question.text, question.paragraph)
    assert [answer.text for answer in answers] == [entry["text"] for entry in n_best[question.id]]


def test_prediction_without_answers(tmp_path):
    questions = load(SAMPLE_PREDICT)
    for article in questions["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                del qa["answers"]
    (tmp_path / "test.json").write_text(json.dumps(questions))
    succeed(run_squad(tmp_path, do_train=False, predict_file=tmp_path / "test.json"))
    assert len(load(tmp_path / "predictions.json")) == 42
    assert "f1" not in load(tmp_path / "eval_results.json")


def test_fine_tuning_starts_from_a_pretrained_checkpoint(tmp_path):
    log = succeed(
        run_squad(
            tmp_path,
            init_checkpoint=checkpoint_of("pretraining"),
            train_steps=1,
            learning_rate=0,
            do_predict=False,
        )
    )
    assert "25 of 27 variables start from" in log
    saved = variables(tmp_path / "model.ckpt-1")
    for name, value in variables(checkpoint_of("pretraining")).items():
        if name.startswith("bert/"):
            np.testing.assert_array_equal(saved[name], value)


def test_training_from_random_weights_is_said_aloud(tmp_path):
    result = run_squad(tmp_path, init_checkpoint=None, train_steps=1, do_predict=False)
    assert succeed(result).count("TRAINING STARTS FROM RANDOM WEIGHTS") == 1


@pytest.fixture
def foreign(tmp_path):
    """Record files without manifests, made from the golden features."""
    paths = {}
    for split in ("train", "predict"):
        paths[split] = tmp_path / f"{split}.tf_record"
        with tf.io.TFRecordWriter(str(paths[split])) as writer:
            for record in golden_records(split):
                writer.write(record)
    return paths


def test_record_files_of_the_original_are_read(foreign, finished, tmp_path):
    directory, _ = finished
    before = {split: path.read_bytes() for split, path in foreign.items()}
    log = succeed(
        run_squad(
            tmp_path / "run",
            deterministic_run=True,
            train_feature_file=foreign["train"],
            predict_feature_file=foreign["predict"],
        )
    )
    assert log.count("no manifest, but the first record matches; using 171 records") == 2
    assert load(tmp_path / "run/eval_results.json") == load(directory / "eval_results.json")
    assert {split: path.read_bytes() for split, path in foreign.items()} == before


@pytest.mark.tensorflow
def test_our_records_are_those_of_the_original(foreign, finished):
    directory, _ = finished
    for split, path in foreign.items():
        ours = list(read_records(str(record_file(directory, f"{split}_features"))))
        theirs = list(read_records(str(path)))
        parsed = [[tf.train.Example.FromString(r) for r in file] for file in (ours, theirs)]
        assert parsed[0] == parsed[1]


@pytest.mark.tensorflow
def test_the_exported_model_gives_the_scores_of_the_checkpoint(predicted, tmp_path):
    succeed(
        run_squad(tmp_path / "run", do_train=False, do_predict=True, export_dir=tmp_path / "export")
    )
    (path,) = (tmp_path / "export").iterdir()
    lines = golden_lines("squad_predict_s96")[:3]
    lengths = [len(line["input_ids"]) for line in lines]
    values = {
        "input_ids": [line["input_ids"] for line in lines],
        "input_mask": [[1] * length for length in lengths],
        "segment_ids": [line["segment_ids"] for line in lines],
    }
    with tf.Graph().as_default(), tf.Session() as session:
        signature = tf.saved_model.load(session, ["serve"], str(path)).signature_def[
            "serving_default"
        ]
        assert set(signature.inputs) == set(values)
        assert set(signature.outputs) == {"start_log_prob", "end_log_prob"}
        feeds = {
            signature.inputs[name].name: [row + [0] * (max(lengths) - len(row)) for row in rows]
            for name, rows in values.items()
        }
        scores = {
            name: session.run(output.name, feeds) for name, output in signature.outputs.items()
        }
    best = load(predicted / "nbest_predictions.json")["sample-0001"][0]
    for name, value in scores.items():
        assert value.shape == (3, max(lengths))
        assert np.abs(value - best[name]).min() < 1e-5


def test_a_model_learns_the_sample(tmp_path):
    """A tiny model can memorize the training questions, so the labels are not shifted."""
    succeed(
        run_squad(
            tmp_path,
            train_steps=400,
            train_batch_size=16,
            learning_rate=1e-3,
            save_checkpoints_steps=400,
            max_seq_length=128,
            doc_stride=64,
            predict_file=GOLDEN / "sample/sample_squad_train.json",
        )
    )
    assert load(tmp_path / "eval_results.json")["f1"] > 90

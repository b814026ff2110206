"""End-to-end tests of run_race.py from the command line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices.device import PORTABLE
from albert_tf.inference import trained_model
from albert_tf.inference.choosing import choose, load_scorer
from albert_tf.io.errors import InputError
from albert_tf.records.record_files import read_records, serialize_example
from albert_tf.tasks.base import MODEL_INPUTS
from albert_tf.tasks.race.data import LEVELS, find_articles, read_articles
from albert_tf.tasks.race.settings import ChoiceSettings
from golden import INPUTS, golden_lines, golden_numbers
from scripts import (
    SAMPLE_MODEL,
    SAMPLE_RACE,
    TINY_CONFIG,
    fail,
    files,
    load,
    record_file,
    run_script,
    succeed,
)
from scripts import run_race as run
from task_factory import make_context, make_training_fn

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
    "race_train.tf_record",
    "race_train.tf_record.manifest.json",
    "race_eval.tf_record",
    "race_eval.tf_record.manifest.json",
    "race_predict.tf_record",
    "race_predict.tf_record.manifest.json",
    "test_results.tsv",
    "test_accuracy.json",
    *(
        f"model.ckpt-{step}.{suffix}"
        for step in (4, 8, 10, "best")
        for suffix in ("index", "meta", "data-00000-of-00001")
    ),
}
# Of the dev set; the training and test sets have the same questions.
IDS = ["middle1.txt-0", "middle1.txt-1", "middle2.txt-0", "high1.txt-0", "high1.txt-1"]
LETTERS = ["B", "C", "B", "B", "C"]


def table(directory):
    """Probabilities, letters and ids of a run's test results."""
    lines = (directory / "test_results.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return np.array([row[:4] for row in rows], float), *([row[n] for row in rows] for n in (4, 5))


def accuracies(letters):
    hits = np.array([letter == true for letter, true in zip(letters, LETTERS)], float)
    return {
        "accuracy": hits.mean(),
        "accuracy_middle": hits[:3].mean(),
        "accuracy_high": hits[3:].mean(),
    }


def original_record(feature, is_real=1):
    """Make a record like the original's."""
    lengths = [len(ids) for ids in feature["input_ids"]]
    padded = {
        name: [n for row in feature[name] for n in row + [0] * (96 - len(row))]
        for name in ("input_ids", "segment_ids")
    }
    return serialize_example(
        {
            **padded,
            "input_mask": [n for length in lengths for n in [1] * length + [0] * (96 - length)],
            "label_ids": [feature["label_id"]],
            "is_real_example": [is_real],
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Directory of a finished deterministic run of 10 steps, and of its export."""
    directory = tmp_path_factory.mktemp("finished")
    log = succeed(run(directory / "run", deterministic_run=True, export_dir=directory / "export"))
    assert f"{directory}/run/model.ckpt-best: predictions are in {directory}/run/test_re" in log
    return directory


@pytest.mark.tensorflow
def test_a_run_leaves_its_files(finished):
    assert files(finished / "run") == RUN_FILES
    results = load(finished / "run/eval_results.json")
    assert results["metric"] == "accuracy"
    by_accuracy = {name: x["accuracy"] for name, x in results["checkpoints"].items()}
    assert set(by_accuracy) == {"model.ckpt-4", "model.ckpt-8", "model.ckpt-10"}
    assert by_accuracy[results["best_checkpoint"]] == max(by_accuracy.values())


def test_predictions_and_accuracies_belong_together(finished):
    probabilities, letters, ids = table(finished / "run")
    np.testing.assert_allclose(probabilities.sum(axis=1), np.ones(5), rtol=1e-6)
    assert letters == ["ABCD"[number] for number in probabilities.argmax(axis=1)]
    assert ids == IDS
    assert load(finished / "run/test_accuracy.json") == pytest.approx(accuracies(letters))
    results = load(finished / "run/eval_results.json")
    assert {name: results[name] for name in accuracies(letters)} == pytest.approx(
        accuracies(letters)
    )


def test_records_are_those_of_the_original(finished):
    ours = list(read_records(str(record_file(finished / "run", "race_eval"))))
    golden = [original_record(line) for line in golden_lines("race_dev_s96")]
    assert [tf.train.Example.FromString(record) for record in ours] == [
        tf.train.Example.FromString(record) for record in golden
    ]


@pytest.mark.tensorflow
def test_the_exported_model_takes_the_records_that_we_write(finished):
    (path,) = (finished / "export").iterdir()
    settings = load(path / "assets.extra/settings.json")
    expected = {"max_qa_length": 24, "max_seq_length": 96, "do_lower_case": True}
    assert settings == {"format": 1, "task_name": "race", **expected}
    signature = tf.saved_model.load_v2(str(path)).signatures["serving_default"]
    records = list(read_records(str(record_file(finished / "run", "race_predict"))))
    outputs = signature(input=tf.constant(records))
    assert set(outputs) == {"logits", "probabilities", "predictions"}
    probabilities, letters, _ = table(finished / "run")
    np.testing.assert_allclose(outputs["probabilities"], probabilities, rtol=0, atol=1e-6)
    assert ["ABCD"[number] for number in outputs["predictions"].numpy()] == letters


@pytest.fixture(scope="module")
def dev_examples():
    """Questions of the sample's dev set; the test set has the same."""
    paths = find_articles(str(SAMPLE_RACE), "dev", LEVELS)
    return [
        e for level, path in zip(LEVELS, paths.values()) for e in read_articles(path, level, True)
    ]


@pytest.mark.parametrize("kind", ["export", "run"])
def test_options_are_chosen_as_in_a_run(finished, dev_examples, kind):
    """An exported model, and a checkpoint with the other files and settings given."""
    given = {"max_seq_length": 96, "max_qa_length": 24} if kind == "run" else {}
    files_of_model = (TINY_CONFIG, SAMPLE_MODEL) if kind == "run" else ()
    model = trained_model.load(
        str(finished / kind), ChoiceSettings, *map(str, files_of_model), given=given
    )
    scorer = load_scorer(model)
    expected, letters, _ = table(finished / "run")
    for example, probabilities, letter in zip(dev_examples, expected, letters):
        chosen = choose(
            example.question,
            example.options,
            example.article,
            model.tokenizer,
            scorer,
            model.settings,
        )
        assert chosen[0].text == example.options["ABCD".index(letter)]
        found = [option.probability for option in chosen]
        np.testing.assert_allclose(found, sorted(probabilities, reverse=True), rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [2, 5, 9])
def test_any_number_of_options(finished, sample_tokenizer, count):
    model = trained_model.load(str(finished / "export"), ChoiceSettings)
    scorer, options = load_scorer(model), [f"It was lamp {number}." for number in range(count)]
    chosen = choose("Why?", options, "The lamp.", sample_tokenizer, scorer, model.settings)
    assert sorted(option.text for option in chosen) == sorted(options)
    assert sum(option.probability for option in chosen) == pytest.approx(1)
    pair = choose("Why?", options[:2], "The lamp.", sample_tokenizer, scorer, model.settings)
    of_all = {option.text: option.probability for option in chosen}
    ratio = of_all[pair[0].text] / of_all[pair[1].text]
    assert ratio == pytest.approx(pair[0].probability / pair[1].probability, rel=1e-4)


def test_ask_chooses_among_options(finished, dev_examples, tmp_path):
    example, probabilities = dev_examples[0], table(finished / "run")[0][0]
    (tmp_path / "page.txt").write_text(example.article, encoding="utf-8")
    flags = {"model": finished / "export", "text_file": tmp_path / "page.txt", "num_answers": 4}
    flags["question"] = example.question
    result = run_script("ask.py", {**flags, "options": ",".join(f'"{o}"' for o in example.options)})
    log = succeed(result)
    assert "the end of the text is cut off: an input has at most 96 tokens" in log
    order = np.argsort(-probabilities)
    assert result.stdout.splitlines() == [
        line
        for number in order
        for line in (example.options[number], f"  probability {probabilities[number]:.3f}")
    ]


def test_options_that_cannot_be_chosen_from(finished, sample_tokenizer):
    settings = ChoiceSettings()
    with pytest.raises(InputError, match="--options: give two options or more"):
        choose("Why?", ["So."], "The lamp.", sample_tokenizer, None, settings)
    with pytest.raises(InputError, match="--options is not UTF-8"):
        choose("Why?", ["\udcff", "So."], "The lamp.", sample_tokenizer, None, settings)
    squad = trained_model.TrainedModel(
        "squad_exported", True, None, None, {"max_seq_length": 96}, settings
    )
    with pytest.raises(InputError, match="squad_exported: not a model of multiple choice"):
        load_scorer(squad)


def test_record_files_of_the_original_in_another_padding_and_batch(finished, tmp_path):
    """Records that a flag names are read; filler records and padding do not count."""
    filler = {"input_ids": [[]] * 4, "segment_ids": [[]] * 4, "label_id": 0}
    path = tmp_path / "predict.tf_record"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for line in golden_lines("race_dev_s96"):
            writer.write(original_record(line))
        for _ in range(3):
            writer.write(original_record(filler, is_real=0))
    flags = {"do_train": False, "init_checkpoint": finished / "run", "predict_file": path}
    log = succeed(run(tmp_path / "run", **flags, length_buckets=80, predict_batch_size=3))
    assert "predict.tf_record: no manifest, but the first record matches; using 8 records" in log
    (probabilities, *others), (expected, *same) = table(tmp_path / "run"), table(finished / "run")
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-6)
    assert others == same
    ours, theirs = (load(d / "run/eval_results.json") for d in (tmp_path, finished))
    assert ours["accuracy"] == theirs["accuracy"]


@pytest.mark.parametrize(
    ("flag", "level", "ids"), [("middle_only", "middle", IDS[:3]), ("high_only", "high", IDS[3:])]
)
def test_one_level(tmp_path, flag, level, ids):
    data_dir = tmp_path / "data/RACE"
    shutil.copytree(SAMPLE_RACE, data_dir)
    for path in data_dir.glob(f"*/{'high' if level == 'middle' else 'middle'}"):
        shutil.rmtree(path)
    context = make_context("race", tmp_path / "run", data_dir=tmp_path / "data", **{flag: True})
    (shard,) = context.dev
    assert [example.id for example in shard.split.examples] == ids
    assert list(shard.fingerprint) == [f"dev/{level}", "spm_model_file"]
    answers = [{"predictions": 1}] * len(ids)
    metrics = context.task.evaluate(shard.split, answers, {}).metrics
    assert metrics == {
        "accuracy": len(ids[:-1]) / len(ids),
        f"accuracy_{level}": metrics["accuracy"],
    }


def test_a_test_set_without_answers(tmp_path):
    shutil.copytree(SAMPLE_RACE, tmp_path / "RACE")
    path = tmp_path / "RACE/test/high/all.txt"
    article = json.loads(path.read_text(encoding="utf-8"))
    del article["answers"]
    path.write_text(json.dumps(article))
    context = make_context("race", tmp_path / "run", data_dir=tmp_path)
    (shard,) = context.test
    answers = [{"predictions": n % 4, "probabilities": [0.25] * 4} for n in range(5)]
    evaluation = context.task.evaluate(shard.split, answers, {})
    assert evaluation.metrics == {}
    assert evaluation.files == {
        "test_results.tsv": "".join(
            f"0.25\t0.25\t0.25\t0.25\t{letter}\t{id_}\n" for letter, id_ in zip("ABCDA", IDS)
        )
    }


def test_problems_are_told_at_once(tmp_path):
    shutil.copytree(SAMPLE_RACE, tmp_path / "RACE")
    shutil.rmtree(tmp_path / "RACE/test/middle")
    for level in ("middle", "high"):
        path = tmp_path / f"RACE/dev/{level}/all.txt"
        path.write_text(path.read_text().replace('"answers": ["B"', '"answers": ["E"'))
    lines = fail(run(tmp_path / "run", data_dir=tmp_path, max_qa_length=93))
    expected = [
        "--max_seq_length 96 leaves no room for the article after 93 tokens",
        *(
            f'{tmp_path}/RACE/dev/{level}/all.txt, line 1: answers[0] is "E", not one of A, B'
            for level in ("middle", "high")
        ),
        f"{tmp_path}/RACE/test/middle: no articles (*.txt) there",
    ]
    dev = [line for line in lines if "/dev/middle" in line]
    assert len(lines) == len(expected) + len(dev) - 1
    for start in expected:
        assert any(line.startswith(f"error: {start}") for line in lines), start


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"high_only": True, "middle_only": True}, "--high_only and --middle_only exclude each"),
        ({"data_dir": None}, "--data_dir is missing: give the directory RACE"),
        ({"task_name": "mrpc"}, "--task_name=mrpc: give one of race, RACE"),
        ({"dropout_prob": 1}, "--dropout_prob=1: give a number of at least 0 and less than 1"),
    ],
)
def test_wrong_flags(tmp_path, flags, message):
    with pytest.raises(InputError) as error:
        make_context("race", tmp_path / "run", **flags)
    assert any(line.startswith(message) for line in error.value.args), error.value


def training_graph(tmp_path, **changes):
    """Build the training graph of the golden head on the golden inputs, as one question."""
    flags = {"do_eval": False, "do_predict": False, "max_seq_length": 24, "max_qa_length": 8}
    context = make_context("race", tmp_path, **flags, **changes)
    features = {name: tf.constant(INPUTS[name])[tf.newaxis] for name in MODEL_INPUTS}
    features["label_ids"] = tf.constant([2])
    tf.train.create_global_step()
    model_fn = make_training_fn(context, PORTABLE)
    return model_fn(features)


@pytest.mark.tensorflow
def test_the_script_has_the_original_loss(graph, tmp_path):
    spec = training_graph(tmp_path, dropout_prob=0.0)
    assert not [op for op in graph.get_operations() if op.type == "GreaterEqual"]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        loss = session.run(spec.loss)
    assert loss == pytest.approx(golden_numbers("forward_race")["loss"], abs=1e-6)


def test_the_share_of_the_pooled_outputs_to_drop(graph, tmp_path):
    training_graph(tmp_path, dropout_prob=0.4)
    (kept,) = (op for op in graph.get_operations() if op.type == "GreaterEqual")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        masks = [session.run(kept.outputs[0]) for _ in range(200)]
    assert masks[0].shape == (4, 32)  # options, hidden
    assert np.mean(masks) == pytest.approx(0.6, abs=0.02)  # of 25600 draws; deviation 0.003

"""End-to-end tests of run_classifier.py from the command line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices.device import PORTABLE
from albert_tf.records.record_files import read_records, serialize_example
from albert_tf.tasks.base import MODEL_INPUTS
from golden import INPUTS, checkpoint_of, golden_lines, golden_numbers, tiny_config
from scripts import (
    SAMPLE_GLUE,
    assert_same_variables,
    files,
    load,
    record_file,
    run_script,
    succeed,
    times_of_results,
)
from scripts import run_classifier as run
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
    "mrpc_train.tf_record",
    "mrpc_train.tf_record.manifest.json",
    "mrpc_eval.tf_record",
    "mrpc_eval.tf_record.manifest.json",
    "mrpc_predict.tf_record",
    "mrpc_predict.tf_record.manifest.json",
    "test_results.tsv",
    "submit_results.tsv",
    *(
        f"model.ckpt-{step}.{suffix}"
        for step in (4, 8, 10, "best")
        for suffix in ("index", "meta", "data-00000-of-00001")
    ),
}
MRPC_LABELS = [1, 0, 1, 0, 1]  # of the sample's dev set; the test set has the same rows
STS_B_SCORES = [4.6, 0.25, 5.0]
COLA_LABELS = [1, 0, 1]


def table(path):
    """Fields of a TSV file."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def probabilities(directory, name="test_results.tsv"):
    return np.array(table(directory / name), float)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output directory and log of a finished deterministic run of 10 steps."""
    directory = tmp_path_factory.mktemp("finished")
    return directory, succeed(run(directory, deterministic_run=True))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Output directory of an evaluation and prediction with the golden checkpoint."""
    directory = tmp_path_factory.mktemp("predicted")
    succeed(run(directory, do_train=False))
    return directory


@pytest.mark.tensorflow
def test_a_run_leaves_its_files(finished):
    directory, log = finished
    assert files(directory) == RUN_FILES
    results = load(directory / "eval_results.json")
    assert results["metric"] == "f1"
    by_f1 = {name: metrics["f1"] for name, metrics in results["checkpoints"].items()}
    assert set(by_f1) == {"model.ckpt-4", "model.ckpt-8", "model.ckpt-10"}
    assert by_f1[results["best_checkpoint"]] == max(by_f1.values())
    assert_same_variables(directory / "model.ckpt-best", directory / results["best_checkpoint"])
    assert log.count("predicted 5 records in") == 4  # the dev set three times, the test set once
    assert f"{directory}/model.ckpt-best: predictions are in {directory}/test_results.tsv" in log


@pytest.mark.tensorflow
def test_metrics_go_to_tensorboard(finished):
    directory, _ = finished
    (path,) = (directory / "eval").iterdir()
    events = [event for event in tf.train.summary_iterator(str(path)) if event.summary.value]
    metrics = load(directory / "eval_results.json")["checkpoints"]
    assert [event.step for event in events] == [4, 8, 10]
    for event in events:
        values = {value.tag: value.simple_value for value in event.summary.value}
        expected = metrics[f"model.ckpt-{event.step}"]
        assert values == {f"eval/{name}": pytest.approx(x) for name, x in expected.items()}


def test_a_finished_run_does_nothing(finished):
    directory, _ = finished
    before = times_of_results(directory)
    log = succeed(run(directory))
    assert times_of_results(directory) == before
    assert "training has finished at step 10" in log
    assert log.count(": already evaluated") == 3
    assert "predicted 5 records" not in log


def test_the_output_directory_is_a_model(finished, tmp_path):
    """Prediction and conversion need no file and no setting but the directory."""
    directory, _ = finished
    flags = {"init_checkpoint": directory, "data_dir": SAMPLE_GLUE, "do_predict": True}
    succeed(run_script("run_classifier.py", {**flags, "output_dir": tmp_path / "predicted"}))
    np.testing.assert_array_equal(probabilities(tmp_path / "predicted"), probabilities(directory))

    folder = tmp_path / "mrpc_hf"
    succeed(
        run_script("convert_checkpoint.py", {"init_checkpoint": directory, "output_dir": folder})
    )
    assert load(folder / "config.json")["id2label"] == {"0": "0", "1": "1"}
    card = (folder / "README.md").read_text()
    results, entry = (
        load(directory / "eval_results.json"),
        load(directory / "run.json")["starts"][0],
    )
    for line in (
        "pipeline_tag: text-classification",
        'model = AutoModelForSequenceClassification.from_pretrained("mrpc_hf")',
        "Labels: 0, 1.",
        f"| f1 | {results['f1']:.4f} |",
        f"| accuracy | {results['accuracy']:.4f} |",
        f"| train.tsv | {entry['inputs']['train.tsv'][:12]} |",
        "| steps | 10 |",
        f"| peak_learning_rate | {entry['schedule']['peak_learning_rate']} |",
        f"| tensorflow | {entry['versions']['tensorflow']} |",
        "| task_name | mrpc |",
        "| max_seq_length | 40 |",
    ):
        assert line in card.splitlines(), line
    assert str(directory) not in card
    assert str(SAMPLE_GLUE) not in card


def test_a_second_start_converts_nothing(finished, tmp_path):
    directory, _ = finished
    for path in directory.glob("*.tf_record*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    log = succeed(run(tmp_path, deterministic_run=True))
    assert log.count(": reusing 5 records") == 3
    assert ": wrote 5 records" not in log
    for name in ("test_results.tsv", "submit_results.tsv", "eval_results.json"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()


@pytest.mark.tensorflow
def test_records_are_those_of_the_original(finished):
    directory, _ = finished
    for split, name in (("train", "train"), ("dev", "eval"), ("test", "predict")):
        ours = list(read_records(str(record_file(directory, f"mrpc_{name}"))))
        lines = [line for line in golden_lines("glue_mrpc") if line["split"] == split]
        assert [tf.train.Example.FromString(record) for record in ours] == [
            tf.train.Example.FromString(original_record(line)) for line in lines
        ]


def original_record(feature, is_real=1):
    """Make a record like the original's."""
    padding = [0] * (40 - len(feature["input_ids"]))
    return serialize_example(
        {
            "input_ids": feature["input_ids"] + padding,
            "input_mask": [1] * len(feature["input_ids"]) + padding,
            "segment_ids": feature["segment_ids"] + padding,
            "label_ids": [feature["label_id"]],
            "is_real_example": [is_real],
        }
    )


def test_record_files_of_the_original_are_read_and_padding_does_not_count(predicted, tmp_path):
    padding = {"input_ids": [], "segment_ids": [], "label_id": 0}
    (tmp_path / "records").mkdir()
    for split, name in (("dev", "eval"), ("test", "predict")):
        path = str(tmp_path / f"records/mrpc_{name}.tf_record")
        with tf.io.TFRecordWriter(path) as writer:
            for line in golden_lines("glue_mrpc"):
                if line["split"] == split:
                    writer.write(original_record(line))
            for _ in range(3):
                writer.write(original_record(padding, is_real=0))
    log = succeed(run(tmp_path / "run", do_train=False, cached_dir=tmp_path / "records"))
    assert log.count("no manifest, but the first record matches; using 8 records") == 2
    ours, expected = (load(d / "eval_results.json") for d in (tmp_path / "run", predicted))
    assert (ours["f1"], ours["accuracy"]) == (expected["f1"], expected["accuracy"])
    assert table(tmp_path / "run/submit_results.tsv") == table(predicted / "submit_results.tsv")
    np.testing.assert_allclose(
        probabilities(tmp_path / "run"), probabilities(predicted), rtol=0, atol=1e-6
    )


def test_predictions_and_metrics_belong_together(predicted):
    header, *answers = table(predicted / "submit_results.tsv")
    assert header == ["index", "prediction"]
    assert [index for index, _ in answers] == ["0", "1", "2", "3", "4"]
    rows = probabilities(predicted)
    np.testing.assert_allclose(rows.sum(axis=1), np.ones(5), rtol=1e-6)
    assert [int(label) for _, label in answers] == rows.argmax(axis=1).tolist()
    pairs = [(int(label), true) for (_, label), true in zip(answers, MRPC_LABELS)]
    hits = pairs.count((1, 1))
    misses = pairs.count((0, 1)) + pairs.count((1, 0))
    results = load(predicted / "eval_results.json")
    assert results["accuracy"] == pytest.approx(1 - misses / 5)
    assert results["f1"] == pytest.approx(2 * hits / (2 * hits + misses))


def test_rows_keep_their_order_in_every_padding_and_batch(predicted, tmp_path):
    for number, flags in enumerate(
        (
            {"length_buckets": 40},
            {"length_buckets": "24,30", "predict_batch_size": 2, "eval_batch_size": 3},
        )
    ):
        directory = tmp_path / str(number)
        succeed(run(directory, do_train=False, **flags))
        np.testing.assert_allclose(
            probabilities(directory), probabilities(predicted), rtol=0, atol=1e-6
        )
        assert load(directory / "eval_results.json") == load(predicted / "eval_results.json")


def test_regression(tmp_path):
    log = succeed(
        run(
            tmp_path,
            task_name="STS_B",
            init_checkpoint=checkpoint_of("regression"),
            learning_rate=1e-3,
            train_step=4,
        )
    )
    assert "27 of 27 variables start from" in log
    scores = probabilities(tmp_path)[:, 0]
    submitted = table(tmp_path / "submit_results.tsv")[1:]
    assert [float(score) for _, score in submitted] == scores.tolist()
    results = load(tmp_path / "eval_results.json")
    assert results["metric"] == "pearson"
    # Evaluation and prediction are two passes, whose scores agree to float32's rounding only.
    rounding = 4 * np.spacing(np.float32(scores.max())) / scores.std()
    expected = np.corrcoef(scores, STS_B_SCORES)[0, 1]
    assert results["pearson"] == pytest.approx(expected, abs=rounding)
    ranks = [np.argsort(np.argsort(values)) for values in (scores, STS_B_SCORES)]
    assert results["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    labels = [
        tf.train.Example.FromString(record).features.feature["label_ids"].float_list.value[0]
        for record in read_records(str(record_file(tmp_path, "sts-b_train")))
    ]
    assert labels == pytest.approx(STS_B_SCORES)


def test_one_text(tmp_path):
    succeed(run(tmp_path, task_name="CoLA", data_dir=SAMPLE_GLUE / "CoLA", train_step=4))
    results = load(tmp_path / "eval_results.json")
    assert results["metric"] == "matthews_correlation"
    # The test set has the same rows as the dev set.
    predicted = [int(label) for _, label in table(tmp_path / "submit_results.tsv")[1:]]
    assert len(predicted) == 3
    correlation = 0.0
    if len(set(predicted)) > 1:
        correlation = np.corrcoef(predicted, COLA_LABELS)[0, 1]  # Matthews' for binary labels
    assert results["matthews_correlation"] == pytest.approx(correlation)


@pytest.fixture(scope="module")
def mnli_dir(tmp_path_factory):
    """Folder with a small MNLI, with matched and mismatched sets, and the diagnostic set."""
    directory = tmp_path_factory.mktemp("glue")
    (directory / "MNLI").mkdir()
    (directory / "AX").mkdir()
    labels = ("entailment", "neutral", "contradiction")
    pairs = [("The lamp is lit.", f"Keeper {n} lit the lamp.", labels[n % 3]) for n in range(6)]
    for name, rows in (
        ("train", pairs),
        ("dev_matched", pairs[:2]),
        ("dev_mismatched", pairs[2:]),
        ("test_matched", pairs[:3]),
        ("test_mismatched", pairs[3:5]),
    ):
        columns = ["index", "sentence1", "sentence2", "gold_label"]
        lines = [[str(n), a, b, label] for n, (a, b, label) in enumerate(rows)]
        if name.startswith("test"):
            columns, lines = columns[:3], [line[:3] for line in lines]
        text = "".join("\t".join(line) + "\n" for line in [columns, *lines])
        (directory / f"MNLI/{name}.tsv").write_text(text)
    diagnostic = (directory / "MNLI/test_matched.tsv").read_text()
    (directory / "AX/diagnostic.tsv").write_text(diagnostic)
    return directory


def test_mnli_has_two_dev_and_two_test_sets_and_serves_the_diagnostic_set(mnli_dir, tmp_path):
    flags = {"data_dir": mnli_dir, "init_checkpoint": checkpoint_of("pretraining")}
    succeed(run(tmp_path / "mnli", task_name="mnli", train_step=2, **flags))
    results = load(tmp_path / "mnli/eval_results.json")
    assert results["metric"] == "accuracy_matched"
    assert results["accuracy_matched"] * 2 in (0, 1, 2)
    assert results["accuracy_mismatched"] * 4 in (0, 1, 2, 3, 4)
    assert probabilities(tmp_path / "mnli").shape == (3, 3)
    assert probabilities(tmp_path / "mnli", "test_results_mismatched.tsv").shape == (2, 3)
    assert len(table(tmp_path / "mnli/submit_results_mismatched.tsv")) == 3

    flags.update(do_train=False, init_checkpoint=tmp_path / "mnli")
    succeed(run(tmp_path / "mm", task_name="mnli-mm", **flags))
    mismatched = load(tmp_path / "mm/eval_results.json")["accuracy"]
    assert mismatched == results["accuracy_mismatched"]
    log = succeed(run(tmp_path / "ax", task_name="ax", do_eval=False, **flags))
    assert "mnli/model.ckpt-best: predicted 3 records" in log
    assert table(tmp_path / "ax/submit_results.tsv") == table(tmp_path / "mnli/submit_results.tsv")
    answers = {answer for _, answer in table(tmp_path / "ax/submit_results.tsv")[1:]}
    assert answers <= {"entailment", "neutral", "contradiction"}


def test_training_that_is_not_judged_predicts_with_the_latest_checkpoint(finished, tmp_path):
    directory, _ = finished
    shutil.copytree(directory, tmp_path / "run")
    state = (directory / "checkpoint").read_text().replace(str(directory), str(tmp_path / "run"))
    (tmp_path / "run/checkpoint").write_text(state)
    log = succeed(run(tmp_path / "run", do_eval=False, train_step=12))
    assert f"{tmp_path}/run/model.ckpt-12: predicted 5 records" in log


def serve(path, features):
    """Outputs of an exported model for serialized examples."""
    with tf.Graph().as_default(), tf.Session() as session:
        signature = tf.saved_model.load(session, ["serve"], str(path)).signature_def[
            "serving_default"
        ]
        names = {name: output.name for name, output in signature.outputs.items()}
        return session.run(names, {signature.inputs["input"].name: features})


@pytest.mark.tensorflow
def test_the_exported_model_takes_the_records_that_we_write(predicted, tmp_path):
    flags = {"do_train": False, "do_eval": False, "do_predict": False, "data_dir": None}
    flags["threshold_to_export"] = 0.3
    succeed(run(tmp_path / "run", export_dir=tmp_path / "export", **flags))
    (path,) = (tmp_path / "export").iterdir()
    outputs = serve(path, list(read_records(str(record_file(predicted, "mrpc_predict")))))
    assert set(outputs) == {"logits", "probabilities", "predictions", "threshold"}
    assert outputs["threshold"] == np.float32(0.3)
    expected = probabilities(predicted)
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=0, atol=1e-6)
    assert outputs["predictions"].tolist() == expected.argmax(axis=1).tolist()


def training_graph(tmp_path, **changes):
    """Build the training graph of the golden classifier on the golden inputs."""
    context = make_context(
        "classifier",
        tmp_path,
        **{"do_eval": False, "do_predict": False, "max_seq_length": 24, "learning_rate": 1e-3},
        **{"warmup_step": 3, **changes},
    )
    features = {name: tf.constant(INPUTS[name]) for name in (*MODEL_INPUTS, "label_ids")}
    tf.train.create_global_step()
    model_fn = make_training_fn(context, PORTABLE)
    return model_fn(features)


def test_a_deterministic_run_has_no_dropout(graph, tmp_path):
    spec = training_graph(tmp_path, deterministic_run=True)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        loss = session.run(spec.loss)
    assert loss == pytest.approx(golden_numbers("forward_classifier")["loss"], abs=1e-6)


def test_a_tenth_of_the_pooled_output_is_dropped_in_training(graph, tmp_path):
    spec = training_graph(tmp_path, deterministic_run=False)
    (kept,) = (op for op in graph.get_operations() if op.type == "GreaterEqual")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        draws = [session.run([spec.loss, kept.outputs[0]]) for _ in range(200)]
    losses, masks = zip(*draws)
    assert masks[0].shape == (4, 32)  # batch, hidden
    assert np.mean(masks) == pytest.approx(0.9, abs=0.01)  # of 25600 draws; deviation 0.002
    assert len(set(losses)) > 100
    assert np.mean(losses) == pytest.approx(golden_numbers("forward_classifier")["loss"], abs=0.05)


@pytest.mark.parametrize("deterministic_run", [True, False])
def test_a_deterministic_run_does_without_the_dropout_of_the_config(tmp_path, deterministic_run):
    config = {**tiny_config().to_dict(), "hidden_dropout_prob": 0.1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    context = make_context(
        "classifier",
        tmp_path / "run",
        albert_config_file=tmp_path / "config.json",
        deterministic_run=deterministic_run,
    )
    assert context.task.config.hidden_dropout_prob == (0.0 if deterministic_run else 0.1)


@pytest.mark.tensorflow
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_the_script_trains_as_the_original(graph, tmp_path, optimizer):
    """Golden losses through the model function, the optimizer flag and the schedule."""
    spec = training_graph(tmp_path, deterministic_run=True, optimizer=optimizer)
    expected = golden_numbers(f"training_classifier_{optimizer}")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [session.run([spec.loss, spec.train_op])[0] for _ in range(12)]
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-4)


def test_prediction_alone_takes_the_best_checkpoint(finished, tmp_path):
    directory, _ = finished
    for file in directory.glob("model.ckpt-best*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    succeed(run(tmp_path, do_train=False, do_eval=False, init_checkpoint=None))
    found = probabilities(tmp_path / "predictions/test")
    np.testing.assert_allclose(found, probabilities(directory), atol=1e-6)


def test_a_tokenizer_with_a_vocabulary_only(tmp_path):
    """With WordPiece, ids are line numbers of the vocabulary file."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "##s", "lamp", "lit", "keeper", "."]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(words + [f"[unused{n}]" for n in range(410)]) + "\n")
    succeed(
        run(
            tmp_path / "run",
            task_name="cola",
            spm_model_file=None,
            vocab_file=vocabulary,
            do_train=False,
        )
    )
    first = next(read_records(str(record_file(tmp_path / "run", "cola_eval"))))
    ids = tf.train.Example.FromString(first).features.feature["input_ids"].int64_list.value
    assert ids[:9] == [2, 4, 8, 7, 4, 6, 9, 3, 0]  # The keeper lit the lamp.


def test_length_of_training_in_epochs(tmp_path):
    """The sample has 5 rows, in batches of 4."""
    flags = {"num_train_epochs": 6.0, "warmup_proportion": 0.5}
    schedule = make_context("classifier", tmp_path, **flags).schedule
    assert (schedule.steps, schedule.warmup_steps) == (7, 3)
    schedule = make_context("classifier", tmp_path, warmup_step=2).schedule
    assert (schedule.steps, schedule.warmup_steps) == (10, 2)

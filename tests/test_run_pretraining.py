"""End-to-end tests of run_pretraining.py, and tests of its functions for notebooks."""

from __future__ import annotations

import itertools
import re
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags
from absl.testing import flagsaver

import optimization
import run_pretraining
from albert_tf.graph import estimators
from albert_tf.io import files as project_files
from albert_tf.records import datasets, manifests
from albert_tf.records.manifests import Origin
from albert_tf.records.record_files import read_records, serialize_example
from albert_tf.run import training
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.pretraining import heads
from albert_tf.tasks.pretraining.task import record_fields
from golden import INPUTS, build, checkpoint_of, golden_numbers, tiny_config
from modeling import AlbertModel
from scripts import (
    PRETRAINING_FLAGS,
    SAMPLE_MODEL,
    assert_same_variables,
    fail,
    files,
    load,
    run_squad,
    succeed,
    times_of_results,
)
from scripts import run_pretraining as run
from task_factory import make_context, refusals

METRICS = {
    "masked_lm_accuracy",
    "masked_lm_loss",
    "sentence_order_accuracy",
    "sentence_order_loss",
}
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
    *(
        f"model.ckpt-{step}.{suffix}"
        for step in (4, 8, 10, "best")
        for suffix in ("index", "meta", "data-00000-of-00001")
    ),
}


@pytest.fixture(scope="module")
def finished(pretraining_files, tmp_path_factory):
    """Output directory and log of a finished deterministic run of 10 steps."""
    directory = tmp_path_factory.mktemp("finished")
    return directory, succeed(run(directory, input_file=pretraining_files, deterministic_run=True))


@pytest.mark.tensorflow
def test_a_run_leaves_its_files(finished):
    directory, log = finished
    assert files(directory) == RUN_FILES
    results = load(directory / "eval_results.json")
    assert results["metric"] == "masked_lm_accuracy"
    by_checkpoint = results["checkpoints"]
    assert set(by_checkpoint) == {"model.ckpt-4", "model.ckpt-8", "model.ckpt-10"}
    assert all(set(metrics) == METRICS for metrics in by_checkpoint.values())
    best = results["best_checkpoint"]
    accuracies = {name: x["masked_lm_accuracy"] for name, x in by_checkpoint.items()}
    assert accuracies[best] == max(accuracies.values())
    assert_same_variables(directory / "model.ckpt-best", directory / best)
    assert log.count("predicted 128 records in") == 3  # 2 batches of 64
    assert re.search(r"\d+ records in 3 files", log)
    assert "step 10 of 10: loss" in log
    assert "NO --init_checkpoint" not in log


def test_a_finished_run_does_nothing(finished, pretraining_files):
    directory, _ = finished
    before = times_of_results(directory)
    log = succeed(run(directory, input_file=pretraining_files))
    assert times_of_results(directory) == before
    assert log.count(": already evaluated") == 3


def test_our_checkpoints_have_the_variables_of_the_original(finished):
    directory, _ = finished
    ours = checkpoints.shapes_in(str(directory / "model.ckpt-10"))
    original = checkpoints.shapes_in(checkpoint_of("pretraining"))
    slots = {
        f"{name}/{slot}": shape for name, shape in original.items() for slot in ("adam_m", "adam_v")
    }
    assert ours == {**original, **slots, "global_step": []}


def test_accumulated_gradients_make_the_same_run(finished, pretraining_files, tmp_path):
    """A batch of 8 in micro-batches of 2 gives the checkpoint of a whole batch."""
    directory, _ = finished
    log = succeed(
        run(
            tmp_path,
            input_file=pretraining_files,
            deterministic_run=True,
            gradient_accumulation_steps=4,
        )
    )
    assert "step 10 of 10: loss" in log
    assert_same_variables(
        tmp_path / "model.ckpt-10", directory / "model.ckpt-10", rtol=1e-3, atol=1e-4
    )


@pytest.mark.tensorflow
def test_evaluation_gives_the_metrics_of_the_predictions(finished, pretraining_files, tmp_path):
    """Metrics equal those computed from the predictions, whatever the batch size."""
    directory, _ = finished
    result = run(
        tmp_path,
        init_checkpoint=directory / "model.ckpt-best",
        do_train=False,
        input_file=None,
        eval_file=pretraining_files,
        eval_batch_size=7,
        max_eval_steps=1000,
    )
    succeed(result)
    paths = sorted(tf.gfile.Glob(pretraining_files))
    serialized = [r for path in paths if "manifest" not in path for r in read_records(path)]
    with tf.Graph().as_default(), tf.Session() as session:
        features = datasets.parse_examples(tf.constant(serialized), record_fields(64, 10))
        model = AlbertModel(
            tiny_config(), False, *(features[n] for n in ("input_ids", "input_mask", "segment_ids"))
        )
        _, losses, log_probs = run_pretraining.get_masked_lm_output(
            tiny_config(),
            model.get_sequence_output(),
            model.get_embedding_table(),
            *(features[f"masked_lm_{name}"] for name in ("positions", "ids", "weights")),
        )
        checkpoint = str(directory / "model.ckpt-best")
        order, _, order_log_probs = run_pretraining.get_sentence_order_output(
            tiny_config(), model.get_pooled_output(), features["next_sentence_labels"]
        )
        tf.train.Saver().restore(session, checkpoint)
        values = session.run([features, losses, log_probs, order, order_log_probs])
    features, losses, log_probs, order, order_log_probs = values
    weights = features["masked_lm_weights"].ravel()
    is_correct = log_probs.argmax(axis=1) == features["masked_lm_ids"].ravel()
    order_labels = features["next_sentence_labels"].ravel()
    metrics = load(tmp_path / "eval_results.json")
    assert {name: metrics[name] for name in METRICS} == pytest.approx(
        {
            "masked_lm_accuracy": (is_correct * weights).sum() / weights.sum(),
            "masked_lm_loss": (losses * weights).sum() / weights.sum(),
            "sentence_order_accuracy": (order_log_probs.argmax(axis=1) == order_labels).mean(),
            "sentence_order_loss": order,
        },
        rel=1e-5,
    )


@pytest.fixture
def two_group_config(tmp_path):
    """Path of the tiny config, changed to two groups."""
    config = tiny_config()
    config.num_hidden_groups = 2
    path = tmp_path / "config.json"
    path.write_text(config.to_json_string())
    return path


@pytest.mark.parametrize("init_from_group0", [False, True])
def test_groups_may_start_from_group_0(
    pretraining_files, tmp_path, two_group_config, init_from_group0
):
    succeed(
        run(
            tmp_path / "run",
            input_file=pretraining_files,
            albert_config_file=two_group_config,
            num_train_steps=1,
            learning_rate=0,
            do_eval=False,
            init_from_group0=init_from_group0,
        )
    )
    kernel = "bert/encoder/transformer/group_{}/inner_group_0/ffn_1/intermediate/dense/kernel"
    groups = [
        tf.train.load_variable(str(tmp_path / "run/model.ckpt-1"), kernel.format(group))
        for group in (0, 1)
    ]
    assert np.array_equal(*groups) == init_from_group0


@pytest.mark.tensorflow
def test_masking_while_reading_and_a_quadratic_decay(pretraining_files, tmp_path):
    flags = {"masked_lm_budget": 10, "spm_model_file": SAMPLE_MODEL}
    flags.update(learning_rate=0.25, poly_power=2.0)
    log = succeed(run(tmp_path, input_file=pretraining_files, **flags))
    # The last step begins at step 9 of 10: (1 - 0.9)**2 of the peak is left.
    assert re.search(r"step 10 of 10: loss [\d.]+, learning rate 0\.0025;", log)
    assert set(load(tmp_path / "eval_results.json")) > METRICS


def unmasked(batch):
    """Yield the ids of each record of a batch before masking, as bytes."""
    for ids, positions, labels, weights in zip(
        *(batch[name] for name in ("input_ids", heads.POSITIONS, heads.IDS, heads.WEIGHTS))
    ):
        ids = ids.copy()
        ids[positions[weights > 0]] = labels[weights > 0]
        yield ids.tobytes()


def test_records_are_masked_anew_in_each_epoch(pretraining_files, tmp_path):
    """Training batches over two epochs of the first file have new masks each time."""
    context = make_context(
        "pretraining",
        tmp_path,
        input_file=pretraining_files.replace("*", "0"),
        masked_lm_budget=10,
        spm_model_file=SAMPLE_MODEL,
        train_batch_size=1,
        max_train_examples=60,
    )
    shard = context.train
    stored = {}
    with tf.Graph().as_default(), tf.Session() as session:
        fields = shard.fields
        serialized = list(itertools.islice(read_records(shard.paths[0]), 60))
        for record in serialized:
            batch = session.run(datasets.parse_examples(tf.constant([record]), fields))
            (text,) = unmasked(batch)
            stored[text] = [batch["masked_lm_positions"].tolist()]
        batches = tf.data.make_one_shot_iterator(training.training_dataset(context, 0)).get_next()
        for _ in range(2 * len(serialized)):
            batch = session.run(batches)
            (text,) = unmasked(batch)
            stored[text].append(batch["masked_lm_positions"].tolist())
    masks = [mask for text_masks in stored.values() for mask in text_masks]
    assert len(masks) == 3 * len(serialized)
    differing = sum(len({str(mask) for mask in text_masks}) == 3 for text_masks in stored.values())
    assert differing > 0.9 * len(stored)  # short records may get the same mask twice


def test_warmup_starts_late(pretraining_files, tmp_path):
    """With AdamW, the learning rate is 0 up to step 4, and rises from there."""
    succeed(
        run(
            tmp_path,
            input_file=pretraining_files,
            do_eval=False,
            optimizer="adamw",
            start_warmup_step=4,
            num_warmup_steps=100,
        )
    )
    start = checkpoint_of("pretraining")
    assert_same_variables_but_slots(start, tmp_path / "model.ckpt-4")
    with pytest.raises(AssertionError):
        assert_same_variables_but_slots(tmp_path / "model.ckpt-4", tmp_path / "model.ckpt-8")


def assert_same_variables_but_slots(checkpoint, other):
    for name in checkpoints.shapes_in(str(checkpoint)):
        if not re.search("adam_|global_step", name):
            values = [tf.train.load_variable(str(c), name) for c in (checkpoint, other)]
            np.testing.assert_array_equal(*values)


def test_a_model_learns_a_few_records(pretraining_files, tmp_path):
    """A tiny model can memorize 16 records, so the labels are not shifted.

    The initializer range is smaller than the golden config's 0.2, with which it does not learn.
    """
    config = tiny_config()
    config.initializer_range = 0.02
    config_file = tmp_path / "config.json"
    config_file.write_text(config.to_json_string())
    path = tmp_path / "records"
    some = itertools.islice(read_records(pretraining_files.replace("*", "0")), 16)
    with manifests.record_writers([str(path)], Origin({"made_for": "a test"}, {})) as (writer,):
        for record in some:
            writer.write(record)
    succeed(
        run(
            tmp_path / "run",
            input_file=path,
            albert_config_file=config_file,
            init_checkpoint=None,
            optimizer="adamw",
            num_train_steps=200,
            num_warmup_steps=20,
            train_batch_size=16,
            learning_rate=1e-2,
            save_checkpoints_steps=200,
        )
    )
    metrics = load(tmp_path / "run/eval_results.json")
    assert metrics["masked_lm_accuracy"] > 0.95
    assert metrics["sentence_order_accuracy"] == 1


def test_fine_tuning_starts_from_the_checkpoint(finished, tmp_path):
    directory, _ = finished
    log = succeed(run_squad(tmp_path, init_checkpoint=directory, train_steps=1, do_predict=False))
    assert f"25 of 27 variables start from {directory}/model.ckpt-best" in log


@pytest.mark.tensorflow
def test_the_exported_model(finished, pretraining_files, tmp_path):
    directory, _ = finished
    succeed(run(directory, input_file=pretraining_files, export_dir=tmp_path / "export"))
    (path,) = (tmp_path / "export").iterdir()
    with tf.Graph().as_default(), tf.Session() as session:
        model = tf.saved_model.load(session, ["serve"], str(path))
        signature = model.signature_def["serving_default"]
        feeds = {info.name: INPUTS[name] for name, info in signature.inputs.items()}
        outputs = session.run({n: info.name for n, info in signature.outputs.items()}, feeds)
    assert {name: value.shape for name, value in outputs.items()} == {
        "masked_lm_log_probs": (4, 24, 420),
        "sentence_order_log_probs": (4, 2),
    }
    np.testing.assert_allclose(np.exp(outputs["masked_lm_log_probs"]).sum(axis=2), 1, rtol=1e-4)


def test_main_runs_with_flags_set(pretraining_files, tmp_path):
    values = {
        **PRETRAINING_FLAGS,
        "input_file": pretraining_files,
        "output_dir": tmp_path,
        "do_train": True,
    }
    values.update(num_train_steps=2, do_eval=False)
    with flagsaver.flagsaver():
        flags.FLAGS(["test", *(f"--{name}={value}" for name, value in values.items())])
        run_pretraining.main(None)
    assert (tmp_path / "model.ckpt-2.index").exists()


@pytest.mark.tensorflow
def test_builders_make_an_estimator(pretraining_files, tmp_path):
    """An Estimator trains and evaluates with the functions for notebooks."""
    paths = [
        path for path in tf.gfile.Glob(pretraining_files) if not project_files.is_companion(path)
    ]
    model_fn = run_pretraining.model_fn_builder(
        tiny_config(),
        checkpoint_of("pretraining"),
        learning_rate=3e-3,
        num_train_steps=60,
        num_warmup_steps=6,
        use_tpu=False,
        use_one_hot_embeddings=False,
        optimizer="lamb",
        poly_power=1.0,
        start_warmup_step=0,
        use_einsum=True,
    )
    estimator = estimators.Estimator(model_fn, str(tmp_path), params={"batch_size": 16})
    train_input_fn = run_pretraining.input_fn_builder(paths, 64, 10, is_training=True)
    eval_input_fn = run_pretraining.input_fn_builder(paths, 64, 10, is_training=False)
    estimator.train(train_input_fn, max_steps=1)
    before = estimator.evaluate(eval_input_fn, steps=5)
    estimator.train(train_input_fn, max_steps=60)
    after = estimator.evaluate(eval_input_fn, steps=5)
    assert set(before) == {*METRICS, "loss", "global_step"}
    assert (before["global_step"], after["global_step"]) == (1, 60)
    assert before["masked_lm_loss"] == pytest.approx(6.2, abs=0.5)  # untrained: log 420 = 6.04
    assert after["masked_lm_loss"] < before["masked_lm_loss"] - 0.2
    assert before["loss"] == pytest.approx(
        before["masked_lm_loss"] + before["sentence_order_loss"], abs=0.1
    )


def test_gather_indexes(graph):
    sequence = tf.constant(np.arange(24).reshape(2, 4, 3))
    gathered = run_pretraining.gather_indexes(sequence, tf.constant([[0, 3], [2, 2]]))
    with tf.Session() as session:
        assert session.run(gathered).tolist() == [
            [0, 1, 2],
            [9, 10, 11],
            [18, 19, 20],
            [18, 19, 20],
        ]


@pytest.mark.tensorflow
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_training_through_the_loss_is_golden(graph, optimizer):
    """The loss computes no logits for the five unused predictions of the golden twelve.

    `build` takes the loss from `pretraining_loss`.
    """
    loss = build("pretraining")["loss"]
    optimization.create_optimizer(loss, 1e-3, 10, 3, False, optimizer)
    products = [op for op in graph.get_operations() if op.type == "MatMul"]
    vocabulary_products = [op for op in products if op.outputs[0].shape.as_list()[1:] == [420]]
    assert [op.outputs[0].shape.as_list()[0] for op in vocabulary_products] == [12, None]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(loss) == pytest.approx(golden_numbers("forward_pretraining")["loss"])
        assert session.run(vocabulary_products[1].outputs[0]).shape == (7, 420)


@pytest.fixture
def one_file(pretraining_files, tmp_path):
    """A copy of a record file and its manifest, for tests to modify."""
    path = tmp_path / "records"
    source = pretraining_files.replace("*", "0")
    shutil.copy(source, path)
    shutil.copy(manifests.manifest_path(source), manifests.manifest_path(str(path)))
    return path


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"input_file": None, "do_eval": False}, ["--input_file is missing"]),
        ({"input_file": "none-*", "do_eval": False}, [r"--input_file none-\*: no such file"]),
        ({"eval_file": "none-*"}, [r"--eval_file none-\*: no such file; correct"]),
        ({"max_seq_length": 128}, ["record 1 has 64 values of input_ids, this run needs 128; set"]),
        (
            {"max_predictions_per_seq": 20},
            ["10 values of masked_lm_positions, this run needs 20; set the max_predictions_per"],
        ),
        ({"max_seq_length": 129}, ["reads at most 128 tokens", "has 64 values of input_ids"]),
        (
            {"masked_lm_budget": 11, "spm_model_file": SAMPLE_MODEL},
            ["--masked_lm_budget 11 exceeds --max_predictions_per_seq 10"],
        ),
        ({"masked_lm_budget": 5}, ["a tokenizer needs a SentencePiece model or a vocabulary"]),
        (
            {"gradient_accumulation_steps": 3},
            ["--train_batch_size 8 cannot be divided into --gradient_accumulation_steps 3 equal"],
        ),
        ({"do_train": False, "do_eval": False}, ["nothing to do: give --do_train or"]),
        ({"do_train": False, "init_checkpoint": None}, ["no checkpoint to predict with"]),
        ({"output_dir": None}, ["--output_dir is missing"]),
    ],
)
def test_bad_flags(one_file, tmp_path, changes, messages):
    flags = {"input_file": one_file, "output_dir": tmp_path / "run", **changes}
    lines = refusals("pretraining", **flags)
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages):
        assert re.search(message, line), line


def test_a_config_of_another_vocabulary(one_file, tmp_path):
    config = tiny_config()
    config.vocab_size = 300
    path = tmp_path / "config.json"
    path.write_text(config.to_json_string())
    flags = {"input_file": one_file, "albert_config_file": path, "init_checkpoint": None}
    (line,) = refusals("pretraining", tmp_path / "run", **flags)
    assert line.startswith(
        f"{one_file}: the records were made with a vocabulary of 420 pieces, but {path} has "
        "vocab_size 300; make"
    )
    manifests.manifest_path(str(one_file)).unlink()
    (line,) = refusals("pretraining", tmp_path / "run", **flags)
    assert "the records were made with a vocabulary of at least 4" in line


def test_a_truncated_file(one_file, tmp_path):
    content = one_file.read_bytes()
    one_file.write_bytes(content[:-5])
    (line,) = refusals("pretraining", tmp_path / "run", input_file=one_file)
    size = len(content)
    assert f"{one_file}: its size is now {size - 5} bytes, was {size}, says records.man" in line
    manifests.manifest_path(str(one_file)).unlink()
    (line,) = refusals("pretraining", tmp_path / "run", input_file=one_file)
    assert re.search(r"records: record \d+ is truncated", line)


def test_a_damaged_file(one_file, tmp_path):
    with one_file.open("r+b") as file:
        file.seek(-300, 2)
        file.write(b"\xff\x00\xff\x00")
    (line,) = refusals("pretraining", tmp_path / "run", input_file=one_file)
    assert f"{one_file}: its content has changed, says records.manifest.json" in line
    manifests.manifest_path(str(one_file)).unlink()
    (line,) = fail(run(tmp_path / "run", input_file=one_file, num_train_steps=200, do_eval=False))
    assert re.match(rf"error: {one_file}: record \d+ is damaged; copy the file again", line)


def test_records_of_another_task(tmp_path):
    path = tmp_path / "records"
    with manifests.record_writers([str(path)], Origin({"a": 1}, {})) as (writer,):
        writer.write(serialize_example({"input_ids": [1] * 64}))
    (line,) = refusals("pretraining", tmp_path / "run", input_file=path)
    assert line.startswith(f"{path}: record 1 has no 'input_mask'; check that it is for")

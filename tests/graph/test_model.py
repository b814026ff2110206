"""Graphs of tasks: variables, the loss of micro-batches, initial values, sessions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices.device import PORTABLE
from albert_tf.graph import model
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.pretraining.heads import DENOMINATOR
from golden import INPUTS, checkpoint_of
from task_factory import SCRIPTS, make_context, training_batches

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def context_of(request, tmp_path):
    """Function that makes the context of a script's run."""

    def make(script, **changes):
        if script == "pretraining":
            changes = {"input_file": request.getfixturevalue("pretraining_records"), **changes}
        return make_context(script, tmp_path, **changes)

    return make


@pytest.mark.parametrize("script", SCRIPTS)
def test_shapes_are_those_of_the_golden_checkpoints(context_of, script):
    task = context_of(script).task
    before = task.config.to_dict()
    published = checkpoints.model_shapes_in(task.settings.init_checkpoint)
    assert {name: published[name] for name in model.model_shapes(task)} == model.model_shapes(task)
    encoder = model.encoder_shapes(task.config)
    assert encoder == {name: published[name] for name in published if name.startswith("bert/")}
    assert task.config.to_dict() == before


def test_micro_batches_have_the_loss_of_their_batch(context_of):
    """The masked-LM loss is a mean over predictions, of which records have different numbers."""
    task = context_of("pretraining").task
    names = ("input_ids", "input_mask", "segment_ids")
    masked = [f"masked_lm_{name}" for name in ("positions", "ids", "weights")]
    batch = {name: INPUTS[name] for name in (*names, *masked)}
    batch["next_sentence_labels"] = INPUTS["sentence_order_labels"].reshape(-1, 1)
    assert len({*INPUTS["masked_lm_weights"].sum(axis=1)}) > 1

    def loss(rows, **features):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            inputs = {name: tf.constant(values[rows]) for name, values in batch.items()}
            encoder = model.build_encoder(task, inputs, is_training=False)
            built = model.build_loss(task, encoder, {**inputs, **features_of(features)})
            model.initialize_from(checkpoint_of("pretraining"))
            session.run(tf.global_variables_initializer())
            return session.run(built)

    def features_of(values):
        return {name: tf.constant(value) for name, value in values.items()}

    whole = loss(slice(None))
    half = len(INPUTS["input_ids"]) // 2
    denominator = np.float32((batch["masked_lm_weights"].sum() + 1e-5) / 2)
    given = {DENOMINATOR: np.full(half, denominator)}
    halves = [loss(rows, **given) for rows in (slice(half), slice(half, 2 * half))]
    assert np.mean(halves) == pytest.approx(whole, rel=1e-5)
    assert np.mean([loss(slice(half)), loss(slice(half, 2 * half))]) != pytest.approx(whole)


def test_batches_have_the_denominators_of_their_micro_batches(context_of, graph):
    context = context_of("pretraining", train_batch_size=8, gradient_accumulation_steps=2)
    iterator = tf.data.make_one_shot_iterator(training_batches(context)).get_next()
    with tf.Session() as session:
        first, second = (session.run(iterator) for _ in range(2))
    weights = np.concatenate([batch["masked_lm_weights"] for batch in (first, second)])
    for batch in (first, second):
        np.testing.assert_allclose(batch[DENOMINATOR], [(weights.sum() + 1e-5) / 2] * 4)


def test_initial_values_come_from_the_checkpoint(graph, context_of, caplog):
    caplog.set_level("INFO")
    task = context_of("classifier", init_checkpoint=checkpoint_of("pretraining")).task
    inputs = model.model_inputs()
    task.outputs(model.build_encoder(task, inputs, is_training=False), inputs)
    caplog.clear()
    model.initialize_from(checkpoint_of("pretraining"))
    variables = {v.op.name: v for v in tf.trainable_variables()}
    first, second = (record.getMessage() for record in caplog.records)
    assert first == (
        f"{len(variables) - 2} of {len(variables)} variables start from "
        f"{checkpoint_of('pretraining')}; randomly initialized: output_weights, output_bias"
    )
    assert second.startswith("unused variables of the checkpoint: cls/predictions/output_bias, ")
    name = "bert/embeddings/word_embeddings"
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(
            session.run(variables[name]), tf.train.load_variable(checkpoint_of("pretraining"), name)
        )


@pytest.mark.parametrize("script", ["squad", "classifier"])
def test_the_peak_learning_rate_of_one_card_is_the_setting(context_of, script):
    assert model.peak_learning_rate(context_of(script, learning_rate=3e-5).settings) == 3e-5


def test_a_scoped_allocator_needs_an_hpu(context_of, caplog):
    context = context_of("squad", enable_scoped_allocator=True)
    caplog.clear()
    config = model.session_config(context.settings, PORTABLE, None)
    assert caplog.messages == ["--enable_scoped_allocator has no effect without an HPU and Horovod"]
    assert config.allow_soft_placement

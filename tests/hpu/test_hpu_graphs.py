"""Complete training and prediction graphs with Habana's ops."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import custom_layer_norm
import modeling
from albert_tf.devices import bfloat16
from albert_tf.devices.device import PORTABLE, building_for
from albert_tf.graph import estimators
from albert_tf.graph.model import build_predictions
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.base import MODEL_INPUTS, input_fields
from golden import tiny_config
from scripts import ROOT
from task_factory import SCRIPTS, make_context, make_training_fn, training_shapes

TRAIN = estimators.ModeKeys.TRAIN
LAYERS = tiny_config().num_hidden_layers
WITH_LAYER_NORM = ("squad_v2", "pretraining")  # in the head
POOLER_UNUSED = ("squad", "squad_v2")
NUMBERS = (tf.float32, tf.bfloat16, tf.int32)


@pytest.fixture
def context_of(request, tmp_path, hpu):
    """Function that makes the context of a script's run, without searching for a card."""

    def make(script, **changes):
        if script == "pretraining":
            changes["input_file"] = request.getfixturevalue("pretraining_records")
        return make_context(script, tmp_path, hpu, **changes)

    return make


def placeholders(specs):
    return {name: tf.placeholder(spec.dtype, spec.shape, name) for name, spec in specs.items()}


def training_graph(context):
    features = placeholders(training_shapes(context))
    return make_training_fn(context, context.device)(features, None, TRAIN, None)


def counts(graph):
    return collections.Counter(op.type for op in graph.get_operations())


@pytest.mark.parametrize(
    ("script", "layer_norms"),
    # One after the embeddings, two per layer, and one in the heads of SQuAD v2.0 and masked LM.
    [
        ("squad", 1 + 2 * LAYERS),
        ("squad_v2", 2 + 2 * LAYERS),
        ("classifier", 1 + 2 * LAYERS),
        ("own_data", 1 + 2 * LAYERS),
        ("race", 1 + 2 * LAYERS),
        ("pretraining", 2 + 2 * LAYERS),
    ],
)
def test_training_graphs(graph, context_of, script, layer_norms):
    spec = training_graph(context_of(script))
    count = counts(graph)
    assert count["HabanaLayerNorm"] == count["HabanaLayerNormGrad"] == layer_norms
    gelus = LAYERS + (script == "pretraining")
    assert count["HabanaGelu"] == count["HabanaGeluGrad"] == gelus
    # No portable layer norm, closed-form gradients or XLA functions.
    assert not count["Rsqrt"]
    assert not count["IdentityN"]
    assert not [op for op in graph.get_operations() if op.type.endswith("PartitionedCall")]
    variables = tf.trainable_variables()
    gradients = tf.gradients(spec.loss, variables)
    assert all(
        gradient is not None for gradient in expected_gradients(script, gradients, variables)
    )


def expected_gradients(script, gradients, variables):
    """All gradients, except for the pooler in SQuAD, whose loss does not depend on it."""
    for gradient, variable in zip(gradients, variables):
        if script in POOLER_UNUSED and "bert/pooler/" in variable.op.name:
            assert gradient is None
        else:
            yield gradient


@pytest.mark.parametrize("script", SCRIPTS)
def test_checkpoints_have_the_same_names(graph, context_of, script):
    context = context_of(script)
    training_graph(context)
    trained = {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}
    published = checkpoints.shapes_in(context.init_checkpoint)
    assert trained == {name: list(shape) for name, shape in published.items() if name in trained}
    slots = {f"{name}/{slot}" for name in trained for slot in ("adam_m", "adam_v")}
    others = {v.op.name for v in tf.global_variables()} - trained.keys()
    unused = {name for name in slots if script in POOLER_UNUSED and "bert/pooler/" in name}
    assert others == slots - unused | {"global_step"}


def dynamic_tensors(ops):
    """Tensors of numbers without a static shape that are computed for some ops."""
    return [
        tensor
        for op in bfloat16.needed_ops(ops)
        for tensor in op.outputs
        if tensor.dtype.base_dtype in NUMBERS and not tensor.shape.is_fully_defined()
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_dynamic_dimension_in_training(graph, context_of, script):
    spec = training_graph(context_of(script))
    assert dynamic_tensors([spec.train_op, spec.loss.op]) == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("length", [32, 40])
def test_no_dynamic_dimension_in_prediction(graph, context_of, script, length):
    context = context_of(script)
    assert context.device.static_shapes
    specs = {
        name: tf.TensorSpec([4, *field.shape[:-1], length], tf.int32)
        for name, field in input_fields(context.task).items()
    }
    features = placeholders(specs)
    predictions = build_predictions(context.task, context.device, features)
    assert counts(graph)["HabanaLayerNorm"] == 1 + 2 * LAYERS + (script in WITH_LAYER_NORM)
    assert predictions
    assert dynamic_tensors([tensor.op for tensor in predictions.values()]) == []


@pytest.mark.parametrize(
    ("given", "max_seq_length", "lengths"),
    [(None, 128, [128]), (None, 96, [96]), (["64"], 96, [64, 96])],
)
def test_few_lengths(context_of, given, max_seq_length, lengths):
    context = context_of("squad", length_buckets=given, max_seq_length=max_seq_length)
    assert context.length_buckets == lengths


def test_dynamic_shapes_are_refused(graph, context_of):
    context = context_of("squad")
    features = {name: tf.placeholder(tf.int32, [None, 96], name) for name in MODEL_INPUTS}
    with pytest.raises(ValueError, match=r"must be static, but .*: input_ids \(.*, 96\), input_m"):
        build_predictions(context.task, context.device, features)


def test_exported_graphs_are_portable(graph, context_of):
    context = context_of("squad")
    features = {name: tf.placeholder(tf.int32, [None, None], name) for name in MODEL_INPUTS}
    build_predictions(context.task, PORTABLE, features)
    assert not [op.type for op in graph.get_operations() if "Habana" in op.type]


def test_layer_norm_op(graph, hpu):
    x = tf.zeros([2, 3, 4])
    with building_for(hpu):
        outputs = custom_layer_norm.custom_layer_norm(x, begin_norm_axis=-1)
    (op,) = [op for op in graph.get_operations() if op.type == "HabanaLayerNorm"]
    assert outputs is op.outputs[0]
    assert tf.make_ndarray(op.get_attr("axes")).tolist() == [2]
    assert tf.make_ndarray(op.get_attr("epsilon")) == np.float32(1e-12)
    assert [tensor.op.type for tensor in op.inputs[1:]] == ["ReadVariableOp"] * 2
    assert [tensor.op.inputs[0].op.name for tensor in op.inputs[1:]] == [
        "LayerNorm/beta",
        "LayerNorm/gamma",
    ]


def test_other_layer_norms_stay_portable(graph, hpu):
    """The native op needs `beta` and `gamma` with the shape of the normalized axes."""
    with building_for(hpu):
        custom_layer_norm.custom_layer_norm(tf.zeros([2, 3, 4]), begin_norm_axis=1)
        custom_layer_norm.custom_layer_norm(tf.zeros([2, 4]), center=False)
    assert counts(graph)["HabanaLayerNorm"] == 0
    assert counts(graph)["Rsqrt"] == 2


def test_only_hpu_graphs_use_the_native_gelu(graph, hpu):
    modeling.gelu(tf.zeros([2, 3]))
    assert counts(graph)["HabanaGelu"] == 0
    with building_for(hpu):
        modeling.gelu(tf.zeros([2, 3]))
    assert counts(graph)["HabanaGelu"] == 1


def test_op_types_of_the_config_are_in_the_package(hpu):
    known = {name for name in dir(hpu._habana.habana_ops.ops) if name.startswith("Habana")}
    config = bfloat16.read_config(str(ROOT / "bf16_config/albert.json"))
    named = {name for name in config.allowlist if name.startswith("Habana")}
    assert {"HabanaLayerNorm", "HabanaGelu"} <= named <= known


def test_synapse_logger_hook(monkeypatch, hpu):
    monkeypatch.setenv("HABANA_SYNAPSE_LOGGER", "range")
    (hook,) = hpu.training_hooks(profile_start=100)
    assert hook._habana_hook._steps_to_log == list(range(100, 110))
    for _ in range(100):  # profiling itself would need a card
        hook.before_run(tf.train.SessionRunContext(None, None))
        hook.after_run(None, None)
    assert hook._habana_hook._step_cnt == 100
    monkeypatch.setenv("HABANA_SYNAPSE_LOGGER", "false")
    assert hpu.training_hooks(profile_start=100) == []

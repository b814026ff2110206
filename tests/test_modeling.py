"""Encoder against the golden numbers, and public functions of `modeling`."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
from albert_tf.devices.device import PORTABLE, Device, building_for
from albert_tf.io.errors import InputError
from golden import assert_golden, build, checkpoint_of, golden_json, tiny_config
from heads import ALL_HEADS, HEADS

pytestmark = pytest.mark.tensorflow

SIZES = {
    "base": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12),
    "large": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16),
    "xlarge": dict(hidden_size=2048, num_hidden_layers=24, num_attention_heads=16),
    "xxlarge": dict(hidden_size=4096, num_hidden_layers=12, num_attention_heads=64),
}
UNUSED_INPUTS = {
    "start_positions": [0],
    "end_positions": [0],
    "label_ids": [0],
    "label_values": [0.0],
    "masked_lm_positions": [[0]],
    "masked_lm_ids": [[0]],
    "masked_lm_weights": [[0.0]],
    "sentence_order_labels": [0],
}


def size_config(size):
    if size == "tiny_2groups_2inner":
        config = tiny_config()
        config.num_hidden_groups = config.inner_group_num = 2
        config.num_hidden_layers = 4
        return config
    sizes = SIZES[size]
    return modeling.AlbertConfig(30000, intermediate_size=4 * sizes["hidden_size"], **sizes)


@pytest.mark.parametrize("use_einsum", [False, True])
@pytest.mark.parametrize("head", ALL_HEADS)
def test_forward_outputs_are_golden(graph, head, use_einsum):
    assert_golden(build(head, use_einsum), f"forward_{head}")


@pytest.mark.parametrize("is_training", [True, False], ids=["compiled", "op by op"])
@pytest.mark.parametrize("use_einsum", [False, True])
@pytest.mark.parametrize("head", ALL_HEADS)
def test_gradients_are_golden(graph, head, use_einsum, is_training):
    loss = build(head, use_einsum, is_training)["loss"]
    variables = tf.trainable_variables()
    gradients = {
        variable.op.name: tf.convert_to_tensor(gradient)
        for variable, gradient in zip(variables, tf.gradients(loss, variables))
        if gradient is not None
    }
    assert_golden(gradients, f"gradients_{head}")


@pytest.mark.parametrize(
    ("size", "head"),
    [(size, head) for size, heads in golden_json("variable_names").items() for head in heads],
)
def test_variable_names_and_shapes_match_the_published_ones(graph, size, head):
    config = size_config(size)
    model = modeling.AlbertModel(config, False, tf.zeros([1, 8], tf.int32))
    HEADS[head](config, model, UNUSED_INPUTS)
    names = {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}
    assert names == golden_json("variable_names")[size][head]


@pytest.mark.parametrize("head", ["squad_v2", "race"])
def test_variable_names_and_shapes_of_the_tiny_model(graph, head):
    build(head)
    names = {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}
    assert names == golden_json("variable_names_v2_race")[head]


def test_groups_are_distributed_over_the_layers(graph):
    config = size_config("tiny_2groups_2inner")
    modeling.AlbertModel(config, False, tf.zeros([1, 8], tf.int32))
    names = [op.name for op in graph.get_operations() if op.type == "Softmax"]
    assert [re.search(r"group_(\d).*?layer_(\d)", name).groups() for name in names[::2]] == [
        ("0", "0"),
        ("0", "1"),
        ("1", "2"),
        ("1", "3"),
    ]


class Grouped(Device):
    """Device whose attention takes a batch in two parts."""

    attention_groups = 2


@pytest.mark.parametrize(
    ("compute_padding", "device"), [(True, PORTABLE), (False, PORTABLE), (False, Grouped())]
)
def test_attention(graph, compute_padding, device):
    """The first block's is the softmax of the projections; the last has a tensor of its own."""
    config = tiny_config()
    ids = np.random.RandomState(1).randint(5, config.vocab_size, [2, 8]).astype(np.int32)
    mask = np.array([[1] * 8, [1] * 5 + [0] * 3], np.int32)
    inputs = tf.constant(ids), tf.constant(mask)
    with building_for(device):
        model = modeling.AlbertModel(config, False, *inputs, compute_padding=compute_padding)
    attention = model.get_attention_probs()
    assert len(attention) == config.num_hidden_layers
    block = "bert/encoder/transformer/group_0/inner_group_0/attention_1/self"
    layers = ["bert/encoder/embedding_hidden_mapping_in", f"{block}/query", f"{block}/key"]
    variables = {v.op.name: v for v in tf.trainable_variables()}
    weights = [[variables[f"{name}/{kind}"] for kind in ("kernel", "bias")] for name in layers]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        (first, *_, last), hidden, (mapping, query, key) = session.run(
            [attention, model.get_embedding_output(), weights]
        )

    def dense(inputs, weights):
        return inputs @ weights[0] + weights[1]

    def split(x):
        return x.reshape(2, 8, config.num_attention_heads, -1).transpose(0, 2, 1, 3)

    hidden = dense(hidden, mapping)
    queries, keys = split(dense(hidden, query)), split(dense(hidden, key))
    scores = queries @ keys.transpose(0, 1, 3, 2) / np.sqrt(queries.shape[-1])
    weights = np.exp(scores) * mask[:, None, None]
    expected = weights / weights.sum(-1, keepdims=True)
    for row, length in enumerate(mask.sum(axis=1)):
        np.testing.assert_allclose(
            first[row, :, :length], expected[row, :, :length], rtol=1e-4, atol=1e-6
        )
    np.testing.assert_allclose(last.sum(-1), 1, rtol=1e-5)
    assert np.abs(last - first).max() > 1e-3


@pytest.mark.parametrize("shape", [[2, 8], [None, None]])
@pytest.mark.parametrize("use_one_hot_embeddings", [False, True])
@pytest.mark.parametrize("use_einsum", [False, True])
@pytest.mark.parametrize("given", ["ids", "all", "all, no padding computed"])
def test_every_op_is_reachable(graph, shape, use_one_hot_embeddings, use_einsum, given):
    ids = tf.placeholder(tf.int32, shape)
    others = [] if given == "ids" else [tf.placeholder(tf.int32, shape) for _ in range(2)]
    before = set(graph.get_operations())
    model = modeling.AlbertModel(
        tiny_config(),
        True,
        ids,
        *others,
        use_one_hot_embeddings=use_one_hot_embeddings,
        use_einsum=use_einsum,
        compute_padding=given != "all, no padding computed",
    )
    pending = [
        tensor.op
        for tensor in (
            *model.get_all_encoder_layers(),
            model.get_sequence_output(),
            model.get_pooled_output(),
            model.get_word_embedding_output(),
            model.get_embedding_output(),
            tf.convert_to_tensor(model.output_embedding_table),
            *[variable.value() for variable in tf.global_variables()],
        )
    ] + [variable.initializer for variable in tf.global_variables()]
    reached = set()
    while pending:
        op = pending.pop()
        if op not in reached:
            reached.add(op)
            pending += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    new = set(graph.get_operations()) - before
    is_read = re.compile(r"ReadVariableOp|VarIsInitialized|IsInitialized")
    assert [op.name for op in new - reached if not is_read.search(op.name)] == []


def test_outputs_do_not_depend_on_padding(graph):
    config = tiny_config()
    ids = np.random.RandomState(0).randint(5, 400, [2, 12])
    mask = np.array([[1] * 7 + [0] * 5, [1] * 5 + [0] * 7])
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        padded, short = (
            modeling.AlbertModel(
                config, False, tf.constant(ids[:, :n]), tf.constant(mask[:, :n]), scope="bert"
            )
            for n in (12, 7)
        )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        one, other = session.run([padded.get_sequence_output(), short.get_sequence_output()])
    np.testing.assert_allclose(one[:, :7][mask[:, :7] == 1], other[mask[:, :7] == 1], atol=2e-6)


def test_default_inputs_are_a_mask_of_ones_and_the_first_segment(graph):
    config = tiny_config()
    ids = tf.constant([[2, 7, 9, 3]])
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        default = modeling.AlbertModel(config, False, ids, scope="bert")
        explicit = modeling.AlbertModel(
            config, False, ids, tf.constant([[1] * 4]), tf.constant([[0] * 4]), scope="bert"
        )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        one, other = session.run([default.get_pooled_output(), explicit.get_pooled_output()])
    np.testing.assert_array_equal(one, other)


def test_dropout_only_in_training(graph):
    config = tiny_config()
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.5
    ids = tf.constant([[2, 7, 9, 3]])
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        training, prediction = (
            modeling.AlbertModel(config, is_training, ids, scope="bert").get_sequence_output()
            for is_training in (True, False)
        )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert np.abs(session.run(training) - session.run(training)).max() > 0.1
        np.testing.assert_array_equal(session.run(prediction), session.run(prediction))
    assert config.hidden_dropout_prob == 0.5


def test_no_mapping_between_equal_widths(graph):
    config = tiny_config()
    config.embedding_size = config.hidden_size
    modeling.AlbertModel(config, False, tf.constant([[2, 3]]))
    assert not [v.name for v in tf.global_variables() if "embedding_hidden_mapping_in" in v.name]


def test_too_long_inputs_are_refused(graph):
    with pytest.raises(ValueError, match="129 positions"):
        modeling.AlbertModel(tiny_config(), False, tf.zeros([1, 129], tf.int32))


def test_scope_names_the_variables(graph):
    modeling.AlbertModel(tiny_config(), False, tf.constant([[2, 3]]), scope="other")
    assert all(variable.name.startswith("other/") for variable in tf.global_variables())


def test_config_round_trip(tmp_path):
    values = {"vocab_size": 99, "hidden_size": 32, "net_structure_type": 0, "gap_size": 0}
    config = modeling.AlbertConfig.from_dict(values)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (99, 32, 12)
    assert config.to_dict()["gap_size"] == 0
    (tmp_path / "config.json").write_text(
        json.dumps({**json.loads(config.to_json_string()), "num_attention_heads": 4})
    )
    again = modeling.AlbertConfig.from_json_file(str(tmp_path / "config.json"))
    assert again.to_dict() == {**config.to_dict(), "num_attention_heads": 4}


def test_config_defaults_are_xxlarge():
    config = modeling.AlbertConfig(30000)
    assert config.to_dict() == {
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_hidden_layers": 12,
        "num_hidden_groups": 1,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "inner_group_num": 1,
        "down_scale_factor": 1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0,
        "attention_probs_dropout_prob": 0,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"vocab_size": 420,', "not valid JSON"),
        ("[1]", "a JSON object was expected, not a list"),
        ("{}", "vocab_size is null, not an integer"),
        ('{"vocab_size": 420, "hidden_size": 30, "num_attention_heads": 4}', "not a multiple"),
        ('{"vocab_size": 420, "num_hidden_groups": 13}', "num_hidden_groups 13 is more"),
        ('{"vocab_size": 420, "hidden_dropout_prob": 1.0}', "hidden_dropout_prob is 1.0"),
        ('{"vocab_size": 420, "hidden_act": "swish"}', "hidden_act 'swish'"),
        ('{"vocab_size": 420, "hidden_act": true}', "hidden_act is true, not the name"),
        ('{"vocab_size": 420, "initializer_range": null}', "initializer_range is null, not a num"),
        ('{"vocab_size": 420, "initializer_range": 1e999}', "1e999 is not a finite number"),
        ('{"vocab_size": true}', "vocab_size is true, not an integer"),
        ('{"vocab_size": 2147483648}', "vocab_size is 2147483648, not .* to 2147483647"),
        ('{"vocab_size": 2147483647}', "vocab_size 2147483647 and embedding_size 128 make a"),
        ('{"vocab_size": 420, "num_hidden_layers": 1001}', "not an integer from 1 to 1000"),
        ('{"vocab_size": 420, "vocab_size": 30000}', 'duplicate key "vocab_size"'),
        ('{"vocab_size": 420, "to_dict": 1}', "the key 'to_dict' hides a method"),
        ('{"vocab_size": 420, "a": ' + "[" * 10**5 + "]" * 10**5 + "}", "nested too deeply"),
    ],
)
def test_invalid_configs_are_refused(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        modeling.AlbertConfig.from_json_file(str(path))
    assert str(error.value).startswith(f"{path}: ")


def test_missing_config_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the model config"):
        modeling.AlbertConfig.from_json_file(str(tmp_path / "none.json"))


def test_gelu_and_its_gradient(graph):
    x = np.linspace(-6, 6, 101)
    tensor = tf.constant(x, tf.float32)
    output = modeling.gelu(tensor)
    with tf.Session() as session:
        value, gradient = session.run([output, tf.gradients(output, tensor)[0]])
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    np.testing.assert_allclose(value, 0.5 * x * (1 + np.tanh(inner)), atol=5e-6)
    expected = 0.5 * (1 + np.tanh(inner)) + 0.5 * x * slope / np.cosh(inner) ** 2
    np.testing.assert_allclose(gradient, expected, atol=5e-6)


def test_get_activation():
    assert modeling.get_activation("GELU") is modeling.gelu
    assert modeling.get_activation("relu") is tf.nn.relu
    assert modeling.get_activation("tanh") is tf.tanh
    assert modeling.get_activation("linear") is None
    assert modeling.get_activation("") is None
    assert modeling.get_activation(None) is None
    assert modeling.get_activation(tf.abs) is tf.abs
    with pytest.raises(ValueError, match="'swish' is not one of"):
        modeling.get_activation("swish")


@pytest.mark.parametrize(
    ("input_shape", "w_shape", "num_inner_dims"),
    [
        ([2, 3, 4], [4, 5], 1),
        ([2, 3, 4], [4, 5, 6], 1),
        ([2, 3, 4, 5], [4, 5, 6], 2),
        ([3, 4], [4, 2], 1),
    ],
)
def test_einsum_via_matmul(graph, input_shape, w_shape, num_inner_dims):
    random = np.random.RandomState(0)
    x, w = random.randn(*input_shape), random.randn(*w_shape)
    product = modeling.einsum_via_matmul(tf.constant(x), tf.constant(w), num_inner_dims)
    expected = np.tensordot(x, w, axes=num_inner_dims)
    assert product.shape.as_list() == list(expected.shape)
    with tf.Session() as session:
        np.testing.assert_allclose(session.run(product), expected, atol=1e-12)


def test_dropout(graph):
    ones = tf.ones([1000])
    assert modeling.dropout(ones, None) is ones
    assert modeling.dropout(ones, 0.0) is ones
    with tf.Session() as session:
        values = session.run(modeling.dropout(ones, 0.25))
    assert set(np.unique(values)) <= {0.0, np.float32(1 / 0.75)}
    assert 0.65 < np.mean(values > 0) < 0.85


def test_create_initializer(graph):
    with tf.Session() as session:
        values = session.run(modeling.create_initializer(0.1)([10000]))
    assert np.abs(values).max() <= 0.2
    assert 0.08 < values.std() < 0.1


def test_shapes_and_ranks(graph):
    static = tf.zeros([2, 3])
    assert modeling.get_shape_list(static) == [2, 3]
    dynamic = modeling.get_shape_list(tf.placeholder(tf.float32, [None, 3]))
    assert isinstance(dynamic[0], tf.Tensor)
    assert dynamic[1] == 3
    modeling.assert_rank(static, [1, 2])
    with pytest.raises(ValueError, match=r"labels has rank 2 \(shape \(2, 3\)\), not 3"):
        modeling.assert_rank(static, 3, "labels")
    with pytest.raises(ValueError, match="not 1 or 3"):
        modeling.get_shape_list(static, expected_rank=[1, 3])


def test_assignment_map(graph):
    build("squad")
    variables = tf.trainable_variables()
    mapping, matched = modeling.get_assignment_map_from_checkpoint(
        variables, checkpoint_of("classifier")
    )
    names = {v.op.name for v in variables if not v.op.name.startswith("cls/")}
    assert mapping == {name: name for name in names}
    assert matched == {key: 1 for name in names for key in (name, f"{name}:0")}


def test_assignment_map_from_one_group(graph):
    config = tiny_config()
    config.num_hidden_groups = 3
    modeling.AlbertModel(config, False, tf.constant([[2, 3]]))
    checkpoint = checkpoint_of("squad")
    maps, matched = modeling.get_assignment_map_from_checkpoint(
        tf.trainable_variables(), checkpoint, num_of_group=3
    )
    assert len(matched) == 2 * len(tf.trainable_variables())
    for assignment_map in maps:
        tf.train.init_from_checkpoint(checkpoint, assignment_map)
    kernel = "bert/encoder/transformer/group_{}/inner_group_0/attention_1/self/key/kernel"
    kernels = [v for v in tf.trainable_variables() if v.op.name.endswith("self/key/kernel")]
    assert [v.op.name for v in kernels] == [kernel.format(group) for group in range(3)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run(kernels)
    saved = tf.train.load_variable(checkpoint, kernel.format(0))
    for value in values:
        np.testing.assert_array_equal(value, saved)

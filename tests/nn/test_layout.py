"""Encoder and heads without padding, compared with the padded graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
import optimization
from albert_tf.devices.cpu import Cpu
from albert_tf.devices.device import PORTABLE, Device, building_for
from albert_tf.nn.layout import Tokens
from albert_tf.tasks.squad import v1
from golden import INPUTS, SQUAD_V2_INPUTS, build, tiny_config
from heads import ALL_HEADS

pytestmark = pytest.mark.tensorflow

MASK = INPUTS["input_mask"] == 1
BY_POSITION = {"start_logits", "end_logits", "word_embedding_output", "embedding_output"}


class ByAutodiff(Device):
    """Device whose gradients are all derived by TensorFlow."""

    closed_form_gradients = False


class GroupedCpu(Cpu):
    """CPU whose attention takes short sequences in groups too."""

    min_grouped_length = 0


class Grouped(Device):
    """Device whose attention takes a batch in three parts."""

    attention_groups = 3


@pytest.fixture(params=[PORTABLE, Grouped()], ids=["whole", "grouped"])
def device(request):
    """Device to build for."""
    with building_for(request.param):
        yield request.param


class StaticDevice(Device):
    """Device with static shapes, like an HPU."""

    static_shapes = True


@pytest.fixture
def over_pieces(monkeypatch):
    """Take SQuAD's loss over the pieces in padded graphs too."""
    span_logits = v1.span_logits
    monkeypatch.setattr(
        v1, "span_logits", lambda sequence, _: span_logits(sequence, tf.constant(MASK))
    )


def of_pieces(name, value):
    """Values of the pieces alone, if a tensor has one for each position."""
    has_positions = name in BY_POSITION or name.startswith(("encoder_layer", "sequence_output"))
    return value[MASK] if has_positions else value


def run_both(compute, inputs=INPUTS):
    """Run what `compute` builds, with padding computed and without it, on fed inputs."""
    results = []
    for compute_padding in (True, False):
        with tf.Graph().as_default(), tf.Session() as session:
            placeholders = {
                name: tf.placeholder_with_default(value, [*value.shape])
                for name, value in inputs.items()
            }
            tensors = compute(placeholders, compute_padding)
            session.run(tf.global_variables_initializer())
            results.append(session.run(tensors))
    return results


def assert_equal(padded, tokens, tolerance=2e-6):
    assert padded.keys() == tokens.keys()
    for name, value in padded.items():
        np.testing.assert_allclose(
            of_pieces(name, tokens[name]),
            of_pieces(name, value),
            rtol=0,
            atol=tolerance * max(1, np.abs(value).max()),
            err_msg=name,
        )


@pytest.mark.parametrize(
    ("head", "device"),
    [("pretraining", PORTABLE), *((head, GroupedCpu()) for head in ALL_HEADS)],
)
def test_outputs_and_gradients_are_those_of_the_padded_graph(over_pieces, head, device):
    def compute(inputs, compute_padding):
        outputs = build(head, inputs=inputs, compute_padding=compute_padding)
        variables = tf.trainable_variables()
        gradients = tf.gradients(outputs["loss"], variables)
        outputs["norm"] = tf.global_norm(gradients)
        outputs.update(
            (variable.op.name, tf.convert_to_tensor(gradient))
            for variable, gradient in zip(variables, gradients)
            if gradient is not None
        )
        return outputs

    with building_for(device):
        assert_equal(*run_both(compute, SQUAD_V2_INPUTS if head == "squad_v2" else INPUTS))


@pytest.mark.parametrize(("head", "optimizer"), [("squad", "adamw"), ("pretraining", "lamb")])
def test_a_training_step_is_that_of_the_padded_graph(over_pieces, device, head, optimizer):
    def compute(inputs, compute_padding):
        loss = build(head, inputs=inputs, compute_padding=compute_padding)["loss"]
        step = optimization.create_optimizer(loss, 1e-3, 10, 0, False, optimizer)
        with tf.control_dependencies([step]):
            return {v.op.name: v.read_value() for v in tf.trainable_variables()}

    assert_equal(*run_both(compute), tolerance=1e-5)


def encode(mask, compute_padding, num_rows=4):
    """Outputs of the tiny encoder, and gradients of a loss that depends on all of them."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        ids, mask, segments = (
            tf.constant(values[:num_rows])
            for values in (INPUTS["input_ids"], np.int32(mask), INPUTS["segment_ids"])
        )
        model = modeling.AlbertModel(
            tiny_config(), True, ids, mask, segments, compute_padding=compute_padding
        )
        pooled, sequence = model.get_pooled_output(), model.get_sequence_output()
        assert sequence.shape == [num_rows, 24, 32]
        weights = tf.range(24, dtype=tf.float32) * tf.cast(mask, tf.float32)
        loss = tf.reduce_sum(weights[:, :, tf.newaxis] * tf.sin(3 * sequence))
        variables = tf.trainable_variables()
        gradients = tf.gradients(loss + tf.reduce_sum(pooled), variables)
        session.run(tf.global_variables_initializer())
        tensors = {v.op.name: tf.convert_to_tensor(g) for v, g in zip(variables, gradients)}
        return session.run([pooled, sequence, tensors])


def assert_all_close(gradients, expected):
    scale = max(np.abs(value).max() for value in expected.values())
    for name, value in expected.items():
        np.testing.assert_allclose(gradients[name], value, rtol=0, atol=1e-6 * scale, err_msg=name)


def test_gradients_are_those_of_autodiff(device):
    by_autodiff = ByAutodiff()
    by_autodiff.attention_groups = device.attention_groups
    with building_for(by_autodiff):
        *outputs, expected = encode(MASK, compute_padding=False)
    *ours, gradients = encode(MASK, compute_padding=False)
    for output, plain in zip(ours, outputs):
        np.testing.assert_allclose(output, plain, atol=1e-6)
    assert_all_close(gradients, expected)


def test_padding_may_be_anywhere(device):
    mask = np.random.RandomState(0).randint(0, 2, [4, 24])
    mask[0, 0] = 0
    mask[1, 0] = 1
    pooled, sequence, expected = encode(mask, compute_padding=True)
    our_pooled, ours, gradients = encode(mask, compute_padding=False)
    np.testing.assert_allclose(our_pooled, pooled, atol=3e-6)
    np.testing.assert_allclose(ours[mask == 1], sequence[mask == 1], atol=3e-6)
    assert_all_close(gradients, expected)


def test_the_outputs_of_padding_are_zero(device):
    _, sequence, _ = encode(MASK, compute_padding=False)
    assert np.all(sequence[~MASK] == 0)
    assert np.all(np.abs(sequence[MASK]).max(axis=-1) > 0)


def test_rows_of_padding_change_nothing_for_the_others(device):
    mask = MASK.copy()
    mask[3] = 0
    pooled, sequence, _ = encode(mask, compute_padding=False)
    without, expected, _ = encode(mask, compute_padding=False, num_rows=3)
    np.testing.assert_allclose(pooled[:3], without, atol=2e-6)
    np.testing.assert_allclose(sequence[:3], expected, atol=2e-6)


def test_a_batch_of_padding_has_finite_gradients(device):
    pooled, _, gradients = encode(np.zeros([4, 24]), compute_padding=False)
    # Each row is its first token.
    alone, _, _ = encode(np.eye(1, 24) * np.ones([4, 1]), compute_padding=True)
    np.testing.assert_allclose(pooled, alone, atol=2e-6)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients.values())


def test_devices_with_static_shapes_compute_padding(graph):
    with building_for(StaticDevice()):
        build("squad", compute_padding=False)
    assert not [op for op in graph.get_operations() if op.type == "Where"]


@pytest.mark.parametrize("lengths", [[1], [24, 24], [24, 17, 9, 3], [0, 0, 5]])
def test_the_number_of_tokens_is_a_multiple_of_a_step_at_most_of_all_positions(lengths):
    mask = np.int32(np.arange(24) < np.array(lengths)[:, np.newaxis])
    with tf.Graph().as_default(), tf.Session() as session:
        layout = Tokens(tf.constant(mask), num_heads=1)
        ids = session.run(layout.ids(tf.constant(mask)))
    step = -(-mask.size // 64)
    needed = np.sum(np.maximum(lengths, 1))
    assert len(ids) == min(-(-needed // step) * step, mask.size)
    assert np.sum(ids) == np.sum(lengths)


def test_sequences_are_in_attention_with_those_of_like_length(graph):
    """Lengths are multiples of 32; the order of the batch is not that of the lengths."""
    lengths = [70, 3, 128, 33, 90]
    mask = np.int32(np.arange(128) < np.array(lengths)[:, np.newaxis])
    layout = Tokens(tf.constant(mask), num_heads=2, num_groups=3)
    random = np.random.RandomState(0)
    projected = tf.constant(random.normal(size=[sum(lengths) + 6, 3 * 8]), tf.float32)
    groups = layout.split_heads(projected)
    with tf.Session() as session:
        (ids, *parts), joined = session.run(
            [
                [layout.ids(tf.constant(mask)), *(query for query, _, _ in groups)],
                layout.join_heads([value for _, _, value in groups]),
            ]
        )
        values = session.run(projected)[: len(ids), 16:]
    assert [part.shape for part in parts] == [(1, 2, 32, 4), (2, 2, 96, 4), (2, 2, 128, 4)]
    np.testing.assert_array_equal(joined, values)


@pytest.mark.parametrize(("length", "num_parts"), [(255, 1), (256, 4)])
def test_attention_on_a_cpu_is_in_groups_for_long_sequences(graph, length, num_parts):
    ids = tf.zeros([8, length], tf.int32)
    config = modeling.AlbertConfig(30, 8, 8, 1, num_attention_heads=2, max_position_embeddings=256)
    with building_for(Cpu()):
        modeling.AlbertModel(config, True, ids, tf.ones_like(ids), compute_padding=False)
    products = [op for op in graph.get_operations() if op.type == "BatchMatMulV2"]
    assert len(products) == 2 * num_parts  # of queries and keys, and of weights and values

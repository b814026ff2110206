"""Encoder and heads without padding, compared with the padded graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
import optimization
from albert_tf.devices.cpu import Cpu
from albert_tf.devices.device import PORTABLE, Device, building_for
from albert_tf.squad import task as squad_task
from golden import INPUTS, build, tiny_config
from heads import HEADS

MASK = INPUTS["input_mask"] == 1
BY_POSITION = {"start_logits", "end_logits", "word_embedding_output", "embedding_output"}


class ByAutodiff(Device):
    """Device whose gradients are all derived by TensorFlow."""

    closed_form_gradients = False


class StaticDevice(Device):
    """Device with static shapes, like an HPU."""

    static_shapes = True


@pytest.fixture
def over_pieces(monkeypatch):
    """Take SQuAD's loss over the pieces in padded graphs too."""
    span_logits = squad_task.span_logits
    monkeypatch.setattr(
        squad_task, "span_logits", lambda sequence, _: span_logits(sequence, tf.constant(MASK))
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


@pytest.mark.parametrize("device", [PORTABLE, Cpu()], ids=["portable", "cpu"])
@pytest.mark.parametrize("head", HEADS)
def test_outputs_and_gradients_are_those_of_the_padded_graph(over_pieces, head, device):
    def compute(inputs, compute_padding):
        outputs = build(head, inputs=inputs, compute_padding=compute_padding)
        variables = tf.trainable_variables()
        gradients = tf.gradients(outputs["loss"], variables)
        outputs.update(
            (variable.op.name, tf.convert_to_tensor(gradient))
            for variable, gradient in zip(variables, gradients)
            if gradient is not None
        )
        return outputs

    with building_for(device):
        assert_equal(*run_both(compute))

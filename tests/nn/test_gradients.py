"""Registration and use of closed-form gradients."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices.device import Device, building_for
from albert_tf.nn.gradients import ClosedForm, override

pytestmark = pytest.mark.tensorflow


def make_gradient(slope):
    """Create a gradient function; all of them have the same name."""

    @ClosedForm
    def gradient(upstream, x):
        return [slope * upstream]

    return gradient


def gradient_of_square(gradient):
    x = tf.constant([3.0])
    return tf.gradients(override(gradient, tf.square(x), x), x)[0]


def test_a_gradient_registered_again_replaces_the_first(graph):
    """Two registrations under one name, as after reloading a module."""
    first, second = make_gradient(slope=7.0), make_gradient(slope=8.0)
    assert first.name != second.name
    with tf.Session() as session:
        assert session.run(gradient_of_square(first)) == [7.0]
        assert session.run(gradient_of_square(second)) == [8.0]


def test_devices_that_fuse_ops_themselves_keep_the_plain_gradient(graph):
    class FusingDevice(Device):
        closed_form_gradients = False

    with building_for(FusingDevice()), tf.Session() as session:
        assert session.run(gradient_of_square(make_gradient(slope=7.0))) == [6.0]
    assert not [op for op in graph.get_operations() if op.type == "IdentityN"]

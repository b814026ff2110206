"""Fixtures for HPU graphs, built with Habana's package on a machine without a card.

The package registers its ops for the whole process, which can then no longer create sessions,
datasets or `tf.cond`. These tests therefore have their own pytest run, in the environment made by
`make hpu`.
"""

from __future__ import annotations

import pytest

from albert_tf.devices.hpu import Hpu, register_ops

_HABANA = register_ops()


@pytest.fixture(scope="session")
def hpu():
    """HPU device for building graphs."""
    return Hpu(_HABANA)

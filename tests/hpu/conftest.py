"""Graphs for an HPU, built with the real package where there is no card.

Its ops are registered for the whole process, in which no session, no data set and no `tf.cond` can
be made any more: so these tests have a run of pytest of their own, in the environment that
`make hpu` makes.
"""

from __future__ import annotations

import pytest

from albert_tf.devices.hpu import Hpu, register_ops

_HABANA = register_ops()


@pytest.fixture(scope="session")
def hpu():
    """A card, as far as graphs can tell."""
    return Hpu(_HABANA)

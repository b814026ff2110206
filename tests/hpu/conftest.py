"""Graphs for an HPU, built with the real package where there is no card.

Its ops are registered for the whole process, in which no session, no data set and no `tf.cond` can
be made any more: so these tests have a run of pytest of their own, in the environment that
`make hpu` makes.
"""

from __future__ import annotations

from albert_tf.devices import hpu

hpu.register_ops()

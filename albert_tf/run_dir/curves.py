"""Curves of the evaluation metrics for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.graph.hooks import write_summary

Curve = Mapping[int, Mapping[str, float]]  # values by name, by step


def read(directory: Path) -> dict[int, dict[str, float]]:
    """Read the values in TensorBoard events, by step and tag, as TensorBoard shows them.

    Events of a killed process may end in the middle of a record.
    """
    curve: dict[int, dict[str, float]] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        try:
            for event in tf.train.summary_iterator(str(path)):
                if event.session_log.status == tf.SessionLog.START:
                    curve = {step: values for step, values in curve.items() if step < event.step}
                for value in event.summary.value:
                    curve.setdefault(event.step, {})[value.tag] = value.simple_value
        except tf.errors.DataLossError:
            continue
    return curve


def write(directory: Path, curve: Curve) -> None:
    """Write TensorBoard events so that they show a curve, and nothing twice.

    From the first step on at which the events there are show something else, they are replaced.

    Args:
      directory: directory of the events.
      curve: values by tag, by step.
    """
    written = read(directory)
    differing = {
        step for step in {*written, *curve} if not _are_equal(written.get(step), curve.get(step))
    }
    if not differing:
        return
    first = min(differing)
    if any(step >= first for step in written):
        _hide_from(directory, first)
    for step in sorted(curve):
        if step >= first:
            write_summary(str(directory), step, dict(curve[step]))


def _are_equal(values: Mapping[str, float] | None, others: Mapping[str, float] | None) -> bool:
    if values is None or others is None or values.keys() != others.keys():
        return False
    return all(
        np.array_equal(np.float32(values[name]), np.float32(others[name]), equal_nan=True)
        for name in values
    )


def _hide_from(directory: Path, step: int) -> None:
    """Make TensorBoard drop the events from a step on, as for a restarted program."""
    with tf.Graph().as_default():  # the writer cannot be created in eager mode
        writer = tf.summary.FileWriterCache.get(str(directory))
    writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), step)
    writer.flush()

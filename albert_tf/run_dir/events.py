"""TensorBoard events of a directory: scalars by step, and the settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import numpy as np
import tensorflow.compat.v1 as tf

Curve = Mapping[int, Mapping[str, float]]  # values by tag, by step


def write_scalars(directory: str | Path, step: int, values: Mapping[str, float]) -> None:
    """Write scalars of a step.

    Args:
      directory: directory of the events.
      step: global step.
      values: scalars by tag.
    """
    scalars = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    writer = _writer(directory)
    writer.add_summary(tf.Summary(value=scalars), step)
    writer.flush()


def write_settings(directory: str | Path, values: Mapping[str, Any]) -> None:
    """Write the settings of a run for TensorBoard's HParams page.

    Args:
      directory: directory of the events.
      values: values by name; JSON values.
    """
    from tensorboard.plugins.hparams import summary_v2  # slow to import

    plain = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in values.items()
    }
    writer = _writer(directory)
    writer.add_summary(tf.Summary.FromString(summary_v2.hparams_pb(plain).SerializeToString()))
    writer.flush()


def read(directory: Path) -> dict[int, dict[str, float]]:
    """Read the scalars by step and tag, as TensorBoard shows them.

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


def write_curve(directory: Path, curve: Curve) -> None:
    """Write events so that TensorBoard shows a curve, and nothing twice.

    From the first step on at which the events there show something else, they are replaced.

    Args:
      directory: directory of the events.
      curve: values by tag, by step.
    """
    written = read(directory)
    steps = {*written, *curve}
    differing = [s for s in steps if _stored(written.get(s, {})) != _stored(curve.get(s, {}))]
    if not differing:
        return
    first = min(differing)
    if any(step >= first for step in written):
        # As for a program that has started over at this step: TensorBoard drops what came later.
        writer = _writer(directory)
        writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), first)
        writer.flush()
    for step in sorted(curve):
        if step >= first:
            write_scalars(directory, step, curve[step])


def _stored(values: Mapping[str, float]) -> dict[str, bytes]:
    """Values by tag as events hold them, where NaN equals NaN."""
    return {tag: np.float32(value).tobytes() for tag, value in values.items()}


def _writer(directory: str | Path) -> tf.summary.FileWriter:
    with tf.Graph().as_default():  # the writer cannot be created in eager mode
        return tf.summary.FileWriterCache.get(str(directory))

"""Small checkpoints for tests of an output directory."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable

import tensorflow.compat.v1 as tf

from albert_tf.run_dir import checkpoints

SUFFIXES = (".index", ".meta", ".data-00000-of-00001")


def save(directory: Path, steps: Iterable[int], learning_rate: float = 1.0) -> list[str]:
    """Save checkpoints of these steps, whose weights depend on a learning rate.

    Returns:
      Their prefixes.
    """
    prefixes = []
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable("w", [2])
        slot = tf.get_variable("w/adam_m", [2])
        saver = tf.train.Saver(sharded=True)
        for step in steps:
            session.run(weight.assign([step * learning_rate, 1.0]))
            session.run(slot.assign([0.5, step]))
            prefixes.append(str(directory / f"model.ckpt-{step}"))
            checkpoints.save(session, saver, b"graph", prefixes[-1])
    return prefixes


def flip_byte(prefix: str, offset: int) -> None:
    """Change a byte of a checkpoint's data file; a negative offset counts from the end."""
    path = Path(f"{prefix}.data-00000-of-00001")
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Cut the last byte off a file."""
    path.write_bytes(path.read_bytes()[:-1])

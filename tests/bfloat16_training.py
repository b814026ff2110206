"""Trains the tiny model for 12 steps with a bfloat16 conversion file, and prints the result.

This is a separate program because TensorFlow's bfloat16 rewrite must be on before its import:

  TF_BF16_CONVERSION=bf16_config/albert.json python tests/bfloat16_training.py squad adamw

It prints a JSON object with the losses before each update, and the op type and dtype of each node
of the rewritten graph.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()

import tensorflow.compat.v1 as tf

import optimization
from albert_tf.devices import bfloat16
from golden import build


def main() -> None:
    """Train, and print the result."""
    head, optimizer = sys.argv[1:]
    config = bfloat16.config_from_environment()
    session_config, hooks = tf.ConfigProto(), []
    if config:
        bfloat16.enable_rewrite(session_config)
        hooks.append(bfloat16.ConversionHook(config))
    metadata = tf.RunMetadata()
    with tf.Graph().as_default():
        loss = build(head)["loss"]
        train_op = optimization.create_optimizer(loss, 1e-3, 10, 3, False, optimizer)
        with tf.train.SingularMonitoredSession(hooks, config=session_config) as session:
            options = tf.RunOptions(output_partition_graphs=True)
            losses = [
                float(session.run([loss, train_op], None, options, metadata)[0]) for _ in range(12)
            ]
    nodes = {
        node.name: [node.op, tf.as_dtype(node.attr[name].type).name]
        for graph in metadata.partition_graphs
        for node in graph.node
        for name in ("T", "DstT")
        if name in node.attr
    }
    print(json.dumps({"losses": losses, "nodes": nodes}))


if __name__ == "__main__":
    main()

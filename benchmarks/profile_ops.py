"""Shows which op types take the time of a training step, or of a prediction, of ALBERT base.

The sequences have lengths like those of SQuAD: 180 pieces on average, of 384. A traced run gives
the time in each op; the shares are of their sum over all threads.
"""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

from albert_tf.runs.launch import prepare_environment

prepare_environment()  # before the import of TensorFlow

import tensorflow.compat.v1 as tf
from common import add_size_arguments, report
from training_step import Graph, squad_lengths

WARM_UP_RUNS = 2


def main() -> None:
    """Trace a run, and print the op types with the largest shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predict", action="store_true", help="prediction instead of training")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--compute_padding", action="store_true")
    parser.add_argument("--types", type=int, default=16, help="number of op types to print")
    add_size_arguments(parser)
    args = parser.parse_args()
    graph = Graph(
        args.hidden_size,
        args.layers,
        args.dropout,
        batch_size=args.batch_size,
        compute_padding=args.compute_padding,
        is_training=not args.predict,
    )
    lengths = squad_lengths(args.batch_size)
    for _ in range(WARM_UP_RUNS):
        graph.run(lengths)
    seconds = collections.Counter()
    counts = collections.Counter()
    for op_type, duration in traced_ops(graph, lengths):
        seconds[op_type] += duration
        counts[op_type] += 1
    total = sum(seconds.values())
    for op_type, duration in seconds.most_common(args.types):
        report(op_type, share=duration / total, milliseconds=1000 * duration, ops=counts[op_type])


def traced_ops(graph, lengths):
    """Yield the type of each op of a run, and its time in seconds."""
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE, output_partition_graphs=True)
    metadata = tf.RunMetadata()
    graph.run(lengths, options=options, run_metadata=metadata)
    types = {node.name: node.op for part in metadata.partition_graphs for node in part.node}
    for device in metadata.step_stats.dev_stats:
        for op in device.node_stats:
            op_type = types.get(op.node_name.partition(":")[0], "inside a compiled function")
            yield op_type, (op.op_end_rel_micros - op.op_start_rel_micros) / 1e6


if __name__ == "__main__":
    main()

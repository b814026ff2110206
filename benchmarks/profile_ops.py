"""Shows which op types take the time of a training step, or of a prediction, of ALBERT base.

The sequences have lengths like those of SQuAD: 180 pieces on average, of 384. Traced runs give the
time in each op. They have one thread, as ops that run side by side would count the time in which
they wait for each other.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()
os.environ.update(TF_NUM_INTEROP_THREADS="1", TF_NUM_INTRAOP_THREADS="1")

import tensorflow.compat.v1 as tf
from common import add_size_arguments, report
from training_step import Graph, squad_lengths

WARM_UP_RUNS = 2
TRACED_RUNS = 5


def main() -> None:
    """Trace runs, and print the op types with the largest shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
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
    lengths = typical_lengths(args.batch_size)
    for _ in range(WARM_UP_RUNS):
        graph.run(lengths)
    runs = [traced_times(graph, lengths) for _ in range(TRACED_RUNS)]
    times = {
        op_type: statistics.median(sum(run[op_type]) for run in runs)
        for op_type in sorted(set().union(*runs))
    }
    total = sum(times.values())
    for op_type in sorted(times, key=times.get, reverse=True)[: args.types]:
        seconds, ops = times[op_type], len(runs[0][op_type])
        report(
            "profile_ops",
            op_type=op_type,
            share=seconds / total,
            milliseconds=1000 * seconds,
            ops=ops,
        )


def typical_lengths(batch_size):
    """Lengths of sequences that are evenly spread over the distribution of SQuAD's."""
    many = sorted(squad_lengths(1000))
    return [many[int((number + 0.5) / batch_size * len(many))] for number in range(batch_size)]


def traced_times(graph, lengths):
    """Times in seconds of the ops of a run, by their types."""
    times = collections.defaultdict(list)
    for op_type, seconds in traced_ops(graph, lengths):
        times[op_type].append(seconds)
    return times


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

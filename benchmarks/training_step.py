"""Measures training steps per second of ALBERT base, and their FLOP rate relative to matmul.

The FLOPs of a step are the useful ones: 24 D^2 + 4 S D per token and layer in the forward pass, and
three times that in training. Their rate is compared with that of a plain 2048^3 `tf.matmul`,
measured before and after each step, as other load on the machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

import numpy as np
import tensorflow.compat.v1 as tf
from common import add_size_arguments, report

import modeling
import optimization
from albert_tf.devices.choice import find_device
from albert_tf.devices.device import building_for
from albert_tf.squad.v1 import span_logits, span_loss

BATCH_SIZE, LENGTH = 4, 384
MATMUL_SIZE = 2048
FLOPS_PER_MATMUL = 2 * MATMUL_SIZE**3
WARM_UP_STEPS = 2


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--dropout", type=float, default=0.0)
    add_size_arguments(parser)
    args = parser.parse_args()

    run_step = training_step(args.hidden_size, args.layers, args.dropout)
    step_flops = flops_per_step(args.hidden_size, args.layers)
    run_matmul = plain_matmul()
    for _ in range(WARM_UP_STEPS):
        run_step()
    ratios, step_seconds = [], []
    matmul_before = median_seconds(run_matmul)
    for _ in range(args.steps):
        seconds = seconds_of(run_step)
        matmul_after = median_seconds(run_matmul)
        matmul_rate = 2 * FLOPS_PER_MATMUL / (matmul_before + matmul_after)
        ratios.append(step_flops / seconds / matmul_rate)
        step_seconds.append(seconds)
        matmul_before = matmul_after
    report(
        "training_step",
        hidden_size=args.hidden_size,
        layers=args.layers,
        batch_size=BATCH_SIZE,
        length=LENGTH,
        dropout=args.dropout,
        steps_per_second=1 / statistics.median(step_seconds),
        gigaflops=step_flops / statistics.median(step_seconds) / 1e9,
        ratio=statistics.median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
    )


def flops_per_step(hidden_size: int, layers: int) -> int:
    """Number of useful floating-point operations in a training step."""
    per_token = layers * (24 * hidden_size**2 + 4 * LENGTH * hidden_size)
    return 3 * BATCH_SIZE * LENGTH * per_token


def training_step(hidden_size: int, layers: int, dropout: float = 0.0) -> Callable[[], None]:
    """Build a SQuAD training step on a full batch, and return a function that runs it."""
    config = modeling.AlbertConfig(
        30000,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    ids = np.random.RandomState(0).randint(5, 30000, [BATCH_SIZE, LENGTH])
    positions = [3, 50, 120, 300]
    device = find_device("auto")
    device.start()
    with tf.Graph().as_default(), building_for(device):
        inputs = [
            tf.placeholder_with_default(np.int32(value), [BATCH_SIZE, LENGTH])
            for value in (ids, np.ones_like(ids), np.zeros_like(ids))
        ]
        model = modeling.AlbertModel(config, True, *inputs, use_einsum=False)
        logits = span_logits(model.get_sequence_output())
        loss = span_loss(*logits, tf.constant(positions), tf.constant(positions))
        train_op = optimization.create_optimizer(loss, 1e-5, 1000, 100, use_tpu=False)
        session = tf.Session()
        session.run(tf.global_variables_initializer())
    return lambda: session.run(train_op)


def plain_matmul():
    """Build a product of two matrices, and return a function that computes it."""
    with tf.Graph().as_default():
        factors = [tf.get_variable(name, [MATMUL_SIZE] * 2) for name in "ab"]
        product = tf.matmul(*factors)
        session = tf.Session()
        session.run(tf.global_variables_initializer())
    return lambda: session.run(product.op)


def seconds_of(function):
    """Wall time of a call, in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median_seconds(function, calls=9):
    """Median wall time of a few calls, in seconds."""
    return statistics.median(seconds_of(function) for _ in range(calls))


if __name__ == "__main__":
    main()

"""Training steps per second of ALBERT base, and the share of the machine's matrix-product rate.

The rate of a step counts useful floating-point operations: 12 layers of 24 D^2 + 4 S D for each
token, forward, and three times that for training. It is compared with a plain 2048^3 `tf.matmul`,
measured before and after each step, as other load on the machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time

from common import report  # isort: skip  # finds the product

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
import optimization
import run_squad_v1

BATCH_SIZE, LENGTH, WIDTH, LAYERS = 4, 384, 768, 12
FLOPS_PER_STEP = 3 * BATCH_SIZE * LENGTH * LAYERS * (24 * WIDTH**2 + 4 * LENGTH * WIDTH)
MATMUL_SIZE = 2048
FLOPS_PER_MATMUL = 2 * MATMUL_SIZE**3
WARM_UP_STEPS = 2


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--dropout", type=float, default=0.0)
    args = parser.parse_args()

    run_step = training_step(args.dropout)
    run_matmul = plain_matmul()
    for _ in range(WARM_UP_STEPS):
        run_step()
    ratios, step_seconds = [], []
    matmul_before = median_seconds(run_matmul)
    for _ in range(args.steps):
        seconds = seconds_of(run_step)
        matmul_after = median_seconds(run_matmul)
        matmul_rate = 2 * FLOPS_PER_MATMUL / (matmul_before + matmul_after)
        ratios.append(FLOPS_PER_STEP / seconds / matmul_rate)
        step_seconds.append(seconds)
        matmul_before = matmul_after
    report(
        "training_step",
        model="base",
        batch_size=BATCH_SIZE,
        length=LENGTH,
        dropout=args.dropout,
        steps_per_second=1 / statistics.median(step_seconds),
        gigaflops=FLOPS_PER_STEP / statistics.median(step_seconds) / 1e9,
        ratio=statistics.median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
    )


def training_step(dropout):
    """Builds a SQuAD training step on a full batch, and returns a function that runs it."""
    config = modeling.AlbertConfig(
        30000,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 64,
        intermediate_size=4 * WIDTH,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    ids = np.random.RandomState(0).randint(5, 30000, [BATCH_SIZE, LENGTH])
    positions = [3, 50, 120, 300]
    with tf.Graph().as_default():
        inputs = [
            tf.placeholder_with_default(np.int32(value), [BATCH_SIZE, LENGTH])
            for value in (ids, np.ones_like(ids), np.zeros_like(ids))
        ]
        model = modeling.AlbertModel(config, True, *inputs, use_einsum=False)
        logits = run_squad_v1.span_logits(model.get_sequence_output())
        loss = run_squad_v1.span_loss(*logits, tf.constant(positions), tf.constant(positions))
        train_op = optimization.create_optimizer(loss, 1e-5, 1000, 100, use_tpu=False)
        session = tf.Session()
        session.run(tf.global_variables_initializer())
    return lambda: session.run(train_op)


def plain_matmul():
    """A function that multiplies two matrices."""
    with tf.Graph().as_default():
        factors = [tf.get_variable(name, [MATMUL_SIZE] * 2) for name in "ab"]
        product = tf.matmul(*factors)
        session = tf.Session()
        session.run(tf.global_variables_initializer())
    return lambda: session.run(product.op)


def seconds_of(function):
    """The time that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median_seconds(function, calls=9):
    """The median of the times of a few calls."""
    return statistics.median(seconds_of(function) for _ in range(calls))


if __name__ == "__main__":
    main()

"""Measures a training step of ALBERT base: real tokens per second, and its share of matmul's rate.

The sequences have lengths like those of SQuAD: 180 pieces on average, of 384. The FLOPs of a step
are the useful ones: 24 D^2 + 4 S D per real token and layer in the forward pass, with S the length
of its own sequence, and three times that in training. Their rate is compared with that of a plain
2048^3 `tf.matmul`, measured before and after each step, as other load on the machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()

import numpy as np
import tensorflow.compat.v1 as tf
from common import add_size_arguments, report

import modeling
import optimization
from albert_tf.devices.choice import find_device
from albert_tf.devices.device import building_for
from albert_tf.tasks.squad.v1 import span_logits, span_loss

BATCH_SIZE, LENGTH = 4, 384
SQUAD_LENGTHS = {"mean": 5.1, "sigma": 0.445}  # of the logarithm
SHORTEST = 46
MATMUL_SIZE = 2048
FLOPS_PER_MATMUL = 2 * MATMUL_SIZE**3
WARM_UP_STEPS = 2


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--compute_padding", action="store_true", help="the published graph")
    add_size_arguments(parser)
    args = parser.parse_args()

    graph = Graph(
        args.hidden_size, args.layers, args.dropout, args.batch_size, args.compute_padding
    )
    random = np.random.RandomState(0)
    run_matmul = plain_matmul()
    for _ in range(WARM_UP_STEPS):
        graph.run(squad_lengths(args.batch_size, random))
    ratios, tokens, flops, seconds = [], 0, 0, 0.0
    matmul_before = median_seconds(run_matmul)
    for _ in range(args.steps):
        lengths = squad_lengths(args.batch_size, random)
        step_seconds = seconds_of(lambda lengths=lengths: graph.run(lengths))
        step_flops = flops_per_step(args.hidden_size, args.layers, lengths)
        matmul_after = median_seconds(run_matmul)
        matmul_rate = 2 * FLOPS_PER_MATMUL / (matmul_before + matmul_after)
        ratios.append(step_flops / step_seconds / matmul_rate)
        tokens, flops, seconds = tokens + sum(lengths), flops + step_flops, seconds + step_seconds
        matmul_before = matmul_after
    report(
        "training_step",
        hidden_size=args.hidden_size,
        layers=args.layers,
        batch_size=args.batch_size,
        length=LENGTH,
        dropout=args.dropout,
        compute_padding=args.compute_padding,
        steps_per_second=args.steps / seconds,
        real_tokens_per_second=tokens / seconds,
        gigaflops=flops / seconds / 1e9,
        ratio=statistics.median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
    )


def squad_lengths(batch_size: int, random: np.random.RandomState | None = None) -> list[int]:
    """Draw lengths of sequences, distributed like those of SQuAD's training features.

    Args:
      batch_size: number of sequences.
      random: source of random numbers; a fixed one by default.
    """
    random = random or np.random.RandomState(0)
    lengths = random.lognormal(**SQUAD_LENGTHS, size=batch_size)
    return [int(length) for length in np.clip(lengths, SHORTEST, LENGTH)]


def flops_per_step(hidden_size: int, layers: int, lengths: Sequence[int]) -> int:
    """Number of useful floating-point operations in a training step."""
    return 3 * layers * sum(n * (24 * hidden_size**2 + 4 * n * hidden_size) for n in lengths)


class Graph:
    """SQuAD training step, or prediction, in a session of its own."""

    def __init__(
        self,
        hidden_size: int,
        layers: int,
        dropout: float = 0.0,
        batch_size: int = BATCH_SIZE,
        compute_padding: bool = False,
        is_training: bool = True,
    ):
        """Build the graph, and initialize the variables with random values."""
        config = modeling.AlbertConfig(
            30000,
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=hidden_size // 64,
            intermediate_size=4 * hidden_size,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        device = find_device("auto")
        device.start()
        device = device if is_training else device.for_inference()
        with tf.Graph().as_default(), building_for(device):
            shape = [batch_size, LENGTH if is_training else None]
            self._inputs = [tf.placeholder(tf.int32, shape) for _ in range(3)]
            model = modeling.AlbertModel(
                config,
                is_training,
                *self._inputs,
                use_einsum=False,
                compute_padding=compute_padding,
            )
            logits = span_logits(model.get_sequence_output(), model.output_mask)
            if is_training:
                positions = tf.constant([SHORTEST // 2] * batch_size)
                loss = span_loss(*logits, positions, positions)
                self._fetch = optimization.create_optimizer(loss, 1e-5, 1000, 100, use_tpu=False)
            else:
                self._fetch = [scores.op for scores in logits]
            self._session = tf.Session()
            self._session.run(tf.global_variables_initializer())
        self._is_training = is_training

    def run(self, lengths: Sequence[int], **options: Any) -> None:
        """Run the graph once.

        Args:
          lengths: lengths of the sequences of the batch.
          **options: options of `tf.Session.run`.
        """
        longest = LENGTH if self._is_training else -(-max(lengths) // 32) * 32
        mask = np.int32(np.arange(longest) < np.array(lengths)[:, np.newaxis])
        ids = mask * np.random.RandomState(0).randint(5, 30000, mask.shape)
        values = [ids, mask, np.zeros_like(mask)]
        self._session.run(self._fetch, dict(zip(self._inputs, values)), **options)


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

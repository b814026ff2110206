"""Measures training with two processes against one, in examples per second.

Each process has one thread, and trains ALBERT base on batches of 4 sequences. The efficiency is the
rate of two processes divided by twice the rate of one. Measurements of one and two processes
alternate, as other load on the machine slows both. By default all batches have the same length;
with --lengths=squad they have lengths like those of SQuAD, and processes wait for the longer batch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

import numpy as np
from common import add_size_arguments, report
from training_step import BATCH_SIZE, WARM_UP_STEPS, Graph, squad_lengths

from albert_tf.devices import distributed

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LAUNCHERS = {
    "gloo": [str(Path(sys.executable).with_name("horovodrun")), "--gloo", "-np"],
    "mpi": ["mpirun", "--bind-to", "none", "--oversubscribe", "-np"],
}


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=6, help="steps per measurement")
    parser.add_argument("--turns", type=int, default=3, help="number of measurements")
    parser.add_argument("--launcher", choices=list(LAUNCHERS), default="gloo")
    parser.add_argument("--lengths", choices=["same", "squad"], default="same")
    parser.add_argument("--measure", action="store_true", help="run as a worker process")
    add_size_arguments(parser)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return
    one, two = [], []
    for _ in range(args.turns):
        one.append(examples_per_second(args, 1))
        two.append(examples_per_second(args, 2))
    ratios = [pair / (2 * single) for single, pair in zip(one, two)]
    report(
        "processes",
        hidden_size=args.hidden_size,
        layers=args.layers,
        launcher=args.launcher,
        batch_size=BATCH_SIZE,
        lengths=args.lengths,
        one_process=statistics.median(one),
        two_processes=statistics.median(two),
        efficiency=statistics.median(two) / (2 * statistics.median(one)),
        lowest_efficiency=min(ratios),
        highest_efficiency=max(ratios),
    )


def examples_per_second(args, processes):
    """Start the processes; return their total rate in examples per second."""
    if not shutil.which(LAUNCHERS[args.launcher][0]):
        sys.exit(
            f"{LAUNCHERS[args.launcher][0]} is missing: run `make horovod` (for mpirun: apt-get "
            "install openmpi-bin)"
        )
    command = [sys.executable, __file__, "--measure", f"--steps={args.steps}"]
    command += [f"--lengths={args.lengths}"]
    command += [f"--hidden_size={args.hidden_size}", f"--layers={args.layers}"]
    result = subprocess.run(
        [*LAUNCHERS[args.launcher], str(processes), *command],
        env={**os.environ, **ONE_THREAD, **AS_ROOT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT / "benchmarks",
    )
    (rate,) = [line.split()[-1] for line in result.stdout.splitlines() if "examples/s" in line]
    return float(rate)


def measure(args):
    """Train in one of the processes; rank 0 prints the total rate."""
    distributed.initialize(True)
    graph = Graph(args.hidden_size, args.layers)
    random = np.random.RandomState(distributed.rank())
    batches = [
        squad_lengths(BATCH_SIZE, random) if args.lengths == "squad" else [192] * BATCH_SIZE
        for _ in range(WARM_UP_STEPS + args.steps)
    ]
    for lengths in batches[:WARM_UP_STEPS]:
        graph.run(lengths)
    distributed.wait_for_all()
    start = time.perf_counter()
    for lengths in batches[WARM_UP_STEPS:]:
        graph.run(lengths)
    seconds = max(distributed.gather(time.perf_counter() - start))
    if distributed.is_chief():
        print("examples/s", args.steps * BATCH_SIZE * distributed.size() / seconds, flush=True)


if __name__ == "__main__":
    main()

"""Examples per second of two processes with a thread each, against one process with one thread.

Each process trains ALBERT base on batches of 4 sequences of 384 pieces. With a core for each, two
processes would do twice the work of one; the efficiency is the share of that which they reach. One
and two processes take turns, as other load on the machine slows both.
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
sys.path.insert(0, str(ROOT))  # where albert_tf is

from common import add_size_arguments, report
from training_step import BATCH_SIZE, WARM_UP_STEPS, training_step

from albert_tf.devices import distributed

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LAUNCHERS = {
    "gloo": [str(Path(sys.executable).with_name("horovodrun")), "--gloo", "-np"],
    "mpi": ["mpirun", "--bind-to", "none", "--oversubscribe", "-np"],
}


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="steps that are measured in a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--launcher", choices=list(LAUNCHERS), default="gloo")
    parser.add_argument("--measure", action="store_true", help="be one of the processes")
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
        one_process=statistics.median(one),
        two_processes=statistics.median(two),
        efficiency=statistics.median(two) / (2 * statistics.median(one)),
        lowest_efficiency=min(ratios),
        highest_efficiency=max(ratios),
    )


def examples_per_second(args, processes):
    """The rate of all processes together."""
    if not shutil.which(LAUNCHERS[args.launcher][0]):
        sys.exit("there is no launcher: `make horovod` builds it (Open MPI: apt-get install it)")
    command = [sys.executable, __file__, "--measure", f"--steps={args.steps}"]
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
    """Train and print the rate of all processes, which wait for each other in each step."""
    distributed.initialize(True)
    run_step = training_step(args.hidden_size, args.layers)
    for _ in range(WARM_UP_STEPS):
        run_step()
    distributed.wait_for_all()
    start = time.perf_counter()
    for _ in range(args.steps):
        run_step()
    seconds = max(distributed.gather(time.perf_counter() - start))
    if distributed.is_chief():
        print("examples/s", args.steps * BATCH_SIZE * distributed.size() / seconds, flush=True)


if __name__ == "__main__":
    main()

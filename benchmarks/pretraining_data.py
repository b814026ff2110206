"""Measures pre-training data in records per second, with one process and with two, at 128 pieces.

`create_pretraining_data.py` reads, encodes, masks and writes the text. `ratio` compares one process
with the original's 122 records per second; `speed_up` compares two processes with one. Other load
on the machine slows everything, so a plain Python loop is timed before and after each measurement,
with as many processes, for comparison. The text may be of any size; `megabytes` is the peak memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

from common import SAMPLE, report

from albert_tf.records.record_files import count_records

ORIGINAL_RATE = 122  # records per second
LOOP_LENGTH = 5_000_000


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text_file", help="one sentence per line; generated if not given")
    parser.add_argument("--spm_model_file", default=str(SAMPLE / "sample.model"))
    parser.add_argument("--dupe_factor", type=int, default=40)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        text_file = args.text_file or generated_text(directory)
        rates, loop_rates = {}, {}
        for num_workers in (1, 2):
            before = loop_rate(num_workers)
            rates[num_workers] = measure(args, text_file, directory, num_workers)
            loop_rates[num_workers] = (before + loop_rate(num_workers)) / 2
    report(
        "pretraining_data",
        records_per_second=rates[1],
        records_per_second_of_two=rates[2],
        ratio=rates[1] / ORIGINAL_RATE,
        speed_up=rates[2] / rates[1],
        speed_up_of_plain_loops=loop_rates[2] / loop_rates[1],
        megabytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    )


def generated_text(directory: str) -> str:
    """Generate a text in a directory, and return its path."""
    command = [sys.executable, str(ROOT / "examples/make_squad.py"), directory]
    subprocess.run([*command, "--paragraphs=4000", "--heldout=1"], check=True)
    return f"{directory}/corpus.txt"


def measure(args: argparse.Namespace, text_file: str, directory: str, num_workers: int) -> float:
    """Run the script; return records per second over its whole run time."""
    output_file = f"{directory}/records-{num_workers}"
    flags = {
        "input_file": text_file,
        "output_file": output_file,
        "spm_model_file": args.spm_model_file,
        "max_seq_length": 128,
        "dupe_factor": args.dupe_factor,
        "num_workers": num_workers,
    }
    command = [sys.executable, str(ROOT / "create_pretraining_data.py")]
    start = time.perf_counter()
    subprocess.run([*command, *(f"--{name}={value}" for name, value in flags.items())], check=True)
    seconds = time.perf_counter() - start
    count = count_records(output_file)
    Path(output_file).unlink()
    return count / seconds


def loop_rate(num_processes: int) -> float:
    """Run a plain loop in several processes; return iterations per second in total."""
    start = time.perf_counter()
    with ProcessPoolExecutor(num_processes) as pool:
        list(pool.map(plain_loop, range(num_processes)))
    return num_processes * LOOP_LENGTH / (time.perf_counter() - start)


def plain_loop(_) -> int:
    """Sum numbers in a Python loop."""
    total = 0
    for number in range(LOOP_LENGTH):
        total += number
    return total


if __name__ == "__main__":
    main()

"""What the benchmarks share: where the product is, the inputs, and how a figure is printed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SAMPLE = ROOT / "tests/golden/sample"


def squad_arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the flags for the questions to measure on; the defaults are the sample."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--squad_file", default=str(SAMPLE / "sample_squad_train.json"))
    parser.add_argument("--spm_model_file", default=str(SAMPLE / "sample.model"))
    return parser


def report(benchmark: str, **figures: float | int | str | bool) -> None:
    """Prints the figures of a benchmark as one line of JSON."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps({"benchmark": benchmark, **rounded}), flush=True)

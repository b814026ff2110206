"""Shared parts of the benchmarks: files to measure on, model sizes, output."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent.parent / "tests/golden/sample"


def squad_arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the flags for the questions to measure on; the defaults are the sample."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--squad_file", default=str(SAMPLE / "sample_squad_train.json"))
    parser.add_argument("--spm_model_file", default=str(SAMPLE / "sample.model"))
    return parser


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the size of the model; the default is ALBERT base."""
    parser.add_argument("--hidden_size", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)


def report(benchmark: str, **figures: float | int | str | bool) -> None:
    """Print the figures of a benchmark as one line of JSON."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps({"benchmark": benchmark, **rounded}), flush=True)

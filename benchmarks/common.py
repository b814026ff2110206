"""Code shared by the benchmarks: arguments for input files and model size, output."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent.parent / "tests/golden/sample"


def squad_arguments(description: str) -> argparse.ArgumentParser:
    """Make a parser with flags for the input files; the defaults are the tests' sample."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--squad_file", default=str(SAMPLE / "sample_squad_train.json"))
    parser.add_argument("--spm_model_file", default=str(SAMPLE / "sample.model"))
    return parser


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """Add flags for the size of the model; the default is ALBERT base."""
    parser.add_argument("--hidden_size", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)


def report(benchmark: str, **results: float | int | str | bool) -> None:
    """Print the results of a benchmark as one line of JSON."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in results.items()}
    print(json.dumps({"benchmark": benchmark, **rounded}), flush=True)

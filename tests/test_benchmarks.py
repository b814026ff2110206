"""Short runs of all benchmarks on a tiny model: they must succeed and print their results."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scripts import ROOT

pytestmark = pytest.mark.examples

SMALL = ("--hidden_size=64", "--layers=1")


def run_benchmark(benchmark, *arguments):
    """Run a benchmark, and parse the line of JSON that it prints."""
    (values,) = figures_of(benchmark, *arguments)
    return values


def figures_of(benchmark, *arguments):
    """Run a benchmark, and parse the lines of JSON that it prints."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{benchmark}.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(x) for x in result.stdout.splitlines() if x.startswith("{")]
    assert all(values.pop("benchmark") == benchmark for values in lines)
    return lines


def test_features():
    values = run_benchmark("features")
    assert (values["questions"], values["features"]) == (42, 49)
    assert values["questions_per_second_of_two"] > 0
    expected = values["questions_per_second"] / values["plain_alignment_questions_per_second"]
    assert values["ratio"] == pytest.approx(expected, rel=0.01)


def test_prediction():
    values = run_benchmark("prediction", "--questions=5", *SMALL)
    assert values["questions"] == 5
    assert values["same_answers"]


def test_pretraining_data():
    values = run_benchmark("pretraining_data", "--dupe_factor=1")
    assert values["records_per_second"] > 0
    assert values["records_per_second_of_two"] > 0


def test_training_step():
    values = run_benchmark("training_step", "--steps=2", *SMALL)
    assert (values["hidden_size"], values["layers"]) == (64, 1)
    assert 0 < values["lowest_ratio"] <= values["ratio"] <= values["highest_ratio"]


@pytest.mark.parametrize("flags", [(), ("--predict",)])
def test_profile_ops(flags):
    figures = figures_of("profile_ops", "--types=1000", *flags, *SMALL)
    assert sum(figure["share"] for figure in figures) == pytest.approx(1, abs=0.01)
    shares = [figure["share"] for figure in figures]
    assert shares == sorted(shares, reverse=True)
    products = [figure for figure in figures if "MatMul" in figure["op_type"]]
    assert sum(figure["ops"] for figure in products) >= (8 if flags else 20)


def test_compare():
    """This project alone: `make compare` fetches transformers."""
    small = (
        "--turns=1",
        "--batches=1",
        "--warm_up_batches=1",
        "--questions=4",
        "--dtypes=float32",
        *SMALL,
    )
    figures = figures_of("compare", "--transformers_python=", *small)
    assert [(x["job"], x["program"]) for x in figures] == [
        ("train", "this project"),
        ("train", "this project, with --compute_padding"),
        ("predict", "this project"),
        ("memory", "this project"),
    ]
    assert figures[0]["ratio"] == figures[2]["ratio"] == 1
    for speed in figures[:3]:
        assert 0 < speed["share_of_product_rate"] < 1
    assert figures[3]["gigabytes"] > 0.1


@pytest.mark.horovod
def test_processes():
    values = run_benchmark("processes", "--steps=2", "--turns=1", *SMALL)
    assert values["efficiency"] > 0

"""The longer trainings of the docs, as they are printed, with the figures that they promise.

They take about half an hour: `make test-readme`. `make test` checks their files and flags.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from readme_commands import PAGES, readme_block, run_as_printed
from scripts import ROOT

TOLERANCE = 6  # percentage points: rounding differs between processors, and training amplifies it


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Copy of the project with the tests' environment, after `make quickstart`."""
    folder = tmp_path_factory.mktemp("copy") / "albert"
    made = shutil.ignore_patterns(".*", "__pycache__", "quickstart", "text_to_answers")
    shutil.copytree(ROOT, folder, ignore=made)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    output = run_as_printed("make quickstart", folder)
    (folder / "quickstart/output.txt").write_text(output)
    return folder


def promised(pattern: str) -> list[float]:
    """Numbers in a page, the groups of a pattern."""
    text = " ".join(" ".join(PAGES.values()).split())
    (found,) = re.findall(pattern, text)
    return [float(number) for number in ([found] if isinstance(found, str) else found)]


def results(checkout: Path, file: str) -> dict:
    return json.loads((checkout / "quickstart" / file).read_text())


def test_quickstart(checkout):
    output = (checkout / "quickstart/output.txt").read_text()
    (f1,) = re.findall(r"^trained +exact match +[\d.]+ +F1 +([\d.]+)", output, re.MULTILINE)
    assert float(f1) > 78


def test_squad_v2(checkout):
    run_as_printed(readme_block("make_squad.py quickstart/squad_v2"), checkout)
    (best_f1,) = promised(r"`best_f1` is ([\d.]+)")
    found = results(checkout, "squad_v2/run/eval_results.json")["best_f1"]
    assert found == pytest.approx(best_f1, abs=TOLERANCE)


def test_race(checkout):
    run_as_printed(readme_block("make_race.py quickstart/RACE"), checkout)
    figures = promised(r"has (\d+)% on the 100 dev questions, and (\d+)% on the 100 test questions")
    found = [
        100 * results(checkout, f"race/{name}.json")["accuracy"]
        for name in ("eval_results", "test_accuracy")
    ]
    assert found == pytest.approx(figures, abs=TOLERANCE)


def test_mrpc(checkout):
    run_as_printed(readme_block("make_glue.py quickstart/glue"), checkout)
    (f1,) = promised(r"F1 of the best checkpoint is about ([\d.]+\d)")
    assert results(checkout, "mrpc/eval_results.json")["f1"] == pytest.approx(f1, abs=0.08)


def test_sts_b(checkout):
    """Without reading the sentences, Pearson's correlation is 0."""
    commands = readme_block("make_glue.py quickstart/glue").replace("mrpc", "sts-b")
    run_as_printed(commands, checkout)
    assert results(checkout, "sts-b/eval_results.json")["pearson"] > 0.4


def test_text_to_answers(checkout):
    output = run_as_printed(readme_block("text_to_answers.py"), checkout)
    rows = {"from_random": "random weights", "from_text": "the pre-trained checkpoint"}
    for name, row in rows.items():
        figures = promised(rf"\| {row} \| ([\d.]+) \| ([\d.]+) \|")
        metrics = rf"^{name} +exact match +([\d.]+) +F1 +([\d.]+)"
        (found,) = re.findall(metrics, output, re.MULTILINE)
        assert [float(figure) for figure in found] == pytest.approx(figures, abs=TOLERANCE)

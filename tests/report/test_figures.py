"""Tests of the charts of the report page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from albert_tf.report import figures
from albert_tf.report.blocks import Bars, Histogram, Lines, Scatter

NASTY = '<script>alert("x")</script> & $5 $'
BLOCKS = [
    Bars(NASTY, NASTY, [NASTY, "b"], {NASTY: [1.0, 2.0], "other": [0, 1]}, [3, 4], "percent", 100),
    Lines(
        NASTY,
        "step",
        NASTY,
        {NASTY: [[1, 2.0], [2, 3.0]]},
        {NASTY: [1, 2.0]},
        **{"has_diagonal": True, "vertical": {NASTY: 1.5}},
    ),
    Histogram(NASTY, NASTY, 0, 4, {NASTY: [1, 0, 2]}, {NASTY: 10}),
    Scatter(NASTY, NASTY, NASTY, [[0.0, 1.0], [2.0, 1.5]]),
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_a_chart_is_well_formed_and_shows_names_as_text(block):
    svg = figures.draw(block.as_json())
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert root.get("aria-label") == NASTY
    texts = {"".join(node.itertext()).strip() for node in root.iter("text")}
    shown = NASTY if block.kind != "bars" else {NASTY[:29] + "…", NASTY}
    assert shown in texts if isinstance(shown, str) else shown <= texts
    assert "<script" not in svg


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_a_chart_has_the_colours_of_the_style_sheet_and_is_always_the_same(block):
    svg = figures.draw(block.as_json())
    assert svg == figures.draw(block.as_json())
    assert "var(--series-1)" in svg
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", svg)) <= {"#ffffff"}
    assert "<style" not in svg


def test_a_long_curve_is_thinned_and_keeps_its_end():
    points = [[step, float(step)] for step in range(1, 10_002)]
    kept = figures._thinned(points)
    assert len(kept) == 910
    assert kept[-1] == points[-1]
    assert {b[0] - a[0] for a, b in zip(kept, kept[1:])} == {11}

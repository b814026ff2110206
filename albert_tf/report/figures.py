"""Charts of a report page as inline SVG, drawn by matplotlib.

Colours are names of the page's style sheet, so charts follow light and dark mode. Texts stay texts.
The same chart always gives the same SVG.
"""

from __future__ import annotations

import io
import json
import logging as python_logging
import math
import re
import warnings
from typing import TYPE_CHECKING, Any, Mapping, Sequence
from xml.sax.saxutils import quoteattr

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

python_logging.getLogger("matplotlib").setLevel(python_logging.ERROR)

# Placeholders for the colours of the style sheet.
_INK, _GRID = "#010203", "#010204"
_SERIES = ["#010205", "#010206", "#010207", "#010208"]
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--line)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, 1)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "font.family": ["sans-serif"],
    "font.size": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=_SERIES),
}
_WIDTH, _HEIGHT = 7.0, 3.0  # inches
_MOST_POINTS = 1000  # of a line or a scatter plot
_AXIS_CHARACTERS = 84  # of the names of all groups of bars together
_LONGEST_NAME = 30  # characters
_OUTSIDE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}


def draw(block: Mapping[str, Any]) -> str:
    """Draw a chart.

    Args:
      block: JSON value of a `blocks.Bars`, `Lines`, `Histogram` or `Scatter`.

    Returns:
      An `svg` element, without fixed width and height.
    """
    salt = json.dumps(block)  # ids in the SVGs of a page must differ
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs: the browser has the fonts
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        _CHARTS[block["kind"]](axes, block)
        return _as_svg(figure, block["caption"])


def _bars(axes: Axes, block: Mapping[str, Any]) -> None:
    groups, series = block["groups"], block["series"]
    width = 0.8 / len(series)
    for number, (name, heights) in enumerate(series.items()):
        places = [group + (number - (len(series) - 1) / 2) * width for group in range(len(groups))]
        axes.bar(places, heights, width * 0.95, label=name)
    is_crowded = len(groups) > 12
    room = _LONGEST_NAME if is_crowded else min(_AXIS_CHARACTERS // len(groups), _LONGEST_NAME)
    counts = [f"\n{count:,}" for count in block["counts"]] or [""] * len(groups)
    names = [_shortened(group, room) + count for group, count in zip(groups, counts)]
    axes.set_xticks(range(len(groups)), names, rotation=90 if is_crowded else 0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(
        f"{block['axis']}, and number of examples" if block["counts"] else block["axis"]
    )
    axes.set_ylabel(block["unit"])
    axes.set_ylim(0, block["top"])
    _add_legend(axes, len(series))


def _lines(axes: Axes, block: Mapping[str, Any]) -> None:
    for name, points in block["series"].items():
        x, y = zip(*_thinned(points)) if points else ((), ())
        axes.plot(x, y, label=name, marker="o" if block["has_dots"] else None, markersize=4)
    for name, (x, y) in block["marked"].items():
        ring: dict[str, Any] = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.5}
        axes.plot([x], [y], "o", color=_INK, label=name, **ring)
    if block["has_diagonal"]:
        axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=1, label="perfect calibration")
    _add_vertical_lines(axes, block["vertical"])
    axes.set_xlabel(block["x_axis"])
    axes.set_ylabel(block["y_axis"])
    if block["x_axis"] == "step":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    _add_legend(axes, len(block["series"]) + len(block["marked"]) + len(block["vertical"]))


def _histogram(axes: Axes, block: Mapping[str, Any]) -> None:
    for name, counts in block["series"].items():
        edges = block["start"] + block["step"] * np.arange(len(counts) + 1)
        axes.stairs(counts, edges, label=name, fill=len(block["series"]) == 1, linewidth=1.5)
    _add_vertical_lines(axes, block["vertical"])
    axes.set_xlabel(block["axis"])
    axes.set_ylabel("examples")
    axes.set_ylim(0, None)
    _add_legend(axes, len(block["series"]) + len(block["vertical"]))


def _scatter(axes: Axes, block: Mapping[str, Any]) -> None:
    x, y = zip(*_thinned(block["points"]))
    low, high = min(*x, *y), max(*x, *y)
    axes.plot([low, high], [low, high], "--", color=_INK, linewidth=1, label="predicted = true")
    axes.plot(x, y, "o", markersize=4, alpha=0.6, label="examples")
    axes.set_xlabel(block["x_axis"])
    axes.set_ylabel(block["y_axis"])
    _add_legend(axes, 2)


_CHARTS = {"bars": _bars, "lines": _lines, "histogram": _histogram, "scatter": _scatter}


def _add_vertical_lines(axes: Axes, lines: Mapping[str, float]) -> None:
    for name, x in lines.items():
        axes.axvline(x, color=_INK, linestyle="--", linewidth=1, label=name)


def _add_legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(ncols=4, **_OUTSIDE)


def _thinned(points: Sequence[Any]) -> Sequence[Any]:
    """At most `_MOST_POINTS` points, evenly spread; the last stays."""
    step = math.ceil(len(points) / _MOST_POINTS)
    return points[::-1][::step][::-1] if step > 1 else points


def _shortened(name: str, room: int) -> str:
    return name if len(name) <= room else f"{name[: room - 1]}…"


def _as_svg(figure: Figure, caption: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # The style of an SVG would apply to the whole page.
    svg = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height|xmlns(:xlink)?|version)="[^"]*"', "", head)
    svg = f'{head} role="img" stroke-linejoin="round" aria-label={quoteattr(caption)}>{rest}'
    return re.sub("|".join(_VARIABLES), lambda found: _VARIABLES[found[0]], svg)

"""Building blocks of a report page: tables, charts and lists of examples.

A section with its blocks is a JSON value, which can be kept in a file until the page is written.
This file imports neither TensorFlow nor a plotting library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence, Union

# States of an example, from bad to good.
WRONG, PARTLY_RIGHT, RIGHT = "wrong", "partly right", "right"
# Kinds of spans in a text, besides "1" for the best answer, "2" and "3" for the next.
TRUE_SPAN, MASKED_SPAN = "true", "masked"

EXAMPLES_BYTES = 8_000_000  # of a list of examples; a page with two lists stays under 20 MB

_EMPTY: tuple[object, ...] = (None, "", (), [])  # left out of an example

Cell = Union[str, float, int, None]


@dataclass(frozen=True)
class Block:
    """Base class of blocks; each is a dataclass of JSON values."""

    @property
    def kind(self) -> str:
        """Name of the class, in lower case."""
        return type(self).__name__.lower()

    def as_json(self) -> dict[str, Any]:
        """JSON value: the fields by name, and the kind."""
        return {"kind": self.kind, **vars(self)}


@dataclass(frozen=True)
class Table(Block):
    """A table.

    Attributes:
      caption: title of the table.
      columns: headers of the columns; empty for a table of names and values.
      rows: cells of each row; the first is the row's header.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Bars(Block):
    """A chart with groups of bars, and its numbers as a table.

    Attributes:
      caption: title of the chart.
      axis: label of the axis of the groups.
      groups: names of the groups, in order.
      series: heights of the bars of each group, by the name of the series.
      counts: number of examples in each group; empty if the heights are counts.
      unit: unit of the heights, for the axis.
      top: upper end of the axis; None to fit the heights.
    """

    caption: str
    axis: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float]]
    counts: Sequence[int] = ()
    unit: str = ""
    top: float | None = None


@dataclass(frozen=True)
class Lines(Block):
    """A line chart.

    Attributes:
      caption: title of the chart.
      x_axis, y_axis: labels of the axes.
      series: points (x, y) of each line, by name.
      marked: points (x, y) to mark with a ring, by name.
      has_diagonal: whether to draw the line x = y.
      vertical: x of a vertical line, by name.
      has_dots: whether to draw a dot at each point.
    """

    caption: str
    x_axis: str
    y_axis: str
    series: Mapping[str, Sequence[Sequence[float]]]
    marked: Mapping[str, Sequence[float]] = field(default_factory=dict)
    has_diagonal: bool = False
    vertical: Mapping[str, float] = field(default_factory=dict)
    has_dots: bool = False


@dataclass(frozen=True)
class Histogram(Block):
    """A histogram of one or more series.

    Attributes:
      caption: title of the chart.
      axis: label of the axis of the values.
      start, step: start of the first bin, and width of a bin.
      series: number of values in each bin, by the name of the series.
      vertical: x of vertical lines, by name.
      text: sentence below the chart.
    """

    caption: str
    axis: str
    start: float
    step: float
    series: Mapping[str, Sequence[int]]
    vertical: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Scatter(Block):
    """A scatter plot with the line x = y.

    Attributes:
      caption: title of the chart.
      x_axis, y_axis: labels of the axes.
      points: points (x, y).
    """

    caption: str
    x_axis: str
    y_axis: str
    points: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Matrix(Block):
    """A confusion matrix.

    Attributes:
      caption: title of the matrix.
      labels: labels of rows (true) and columns (predicted).
      counts: number of examples by row and column.
    """

    caption: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Examples(Block):
    """A list of examples with filters and search, in the order to show them; see `example`.

    Attributes:
      caption: title of the list.
      items: examples.
      passages: texts that several examples share.
      total: number of all examples, of which `items` may be the first.
      states: states that occur, to filter by; empty for no such filter.
      filters: values of each further filter, by its name; an example has one of each.
      columns: headers of the examples' tables.
      legend: names of the kinds of spans that are marked.
    """

    caption: str
    items: Sequence[Mapping[str, Any]]
    passages: Sequence[str]
    total: int
    states: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Sequence[str] = ()
    legend: Mapping[str, str] = field(default_factory=dict)


def example(
    title: str,
    *,
    state: str = "",
    facts: Sequence[str] = (),
    groups: Sequence[str] = (),
    texts: Sequence[Sequence[str]] = (),
    passage: str | None = None,
    spans: Sequence[Sequence[Any]] = (),
    rows: Sequence[Sequence[str]] = (),
) -> dict[str, Any]:
    """Make an example for a list.

    Args:
      title: text of its line.
      state: one of `WRONG`, `PARTLY_RIGHT` and `RIGHT`, or "".
      facts: short texts to show next to the title.
      groups: its value of each of the list's filters.
      texts: pairs of a name and a text to show.
      passage: a text to show with spans marked in it; shared with other examples.
      spans: start, end (exclusive, in characters) and kind of the spans of the passage.
      rows: cells of its table.
    """
    item = {"title": title, "state": state, "facts": facts, "groups": groups, "texts": texts}
    return {**item, "passage": passage, "spans": spans, "rows": rows}


def fitting_examples(
    caption: str, items: Sequence[dict[str, Any]], most_bytes: int = EXAMPLES_BYTES, **options: Any
) -> Examples:
    """Make a list of as many examples as fit into a page; passages are stored once.

    Args:
      caption: title of the list.
      items: all examples, in the order to show them.
      most_bytes: size of the list as JSON.
      **options: further fields of `Examples`.
    """
    kept: list[dict[str, Any]] = []
    passages: dict[str, int] = {}
    size = 0
    for item in items:
        passage = item["passage"]
        size += _size({**item, "passage": 0})
        if passage is not None and passage not in passages:
            size += _size(passage)
        if size > most_bytes:
            break
        index = None if passage is None else passages.setdefault(passage, len(passages))
        values = {**item, "passage": index}
        kept.append({name: value for name, value in values.items() if value not in _EMPTY})
    present = {item["state"] for item in items}
    states = [state for state in (WRONG, PARTLY_RIGHT, RIGHT) if state in present]
    return Examples(caption, kept, list(passages), len(items), states, **options)


def _size(value: Any) -> int:
    """Size of a JSON value in a page, in bytes; `<`, `>`, `&` and `'` take six each."""
    text = json.dumps(value, ensure_ascii=False)
    return len(text.encode()) + 5 * sum(map(text.count, "<>&'"))


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
      title: heading.
      blocks: its blocks, in order.
      text: sentence below the heading.
    """

    title: str
    blocks: Sequence[Block]
    text: str = ""

    def as_json(self) -> dict[str, Any]:
        """JSON value of the section and its blocks."""
        blocks = [block.as_json() for block in self.blocks]
        return {"title": self.title, "text": self.text, "blocks": blocks}

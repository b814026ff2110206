"""The report page: one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any, Mapping, Sequence

import jinja2

from albert_tf.report import figures
from albert_tf.report.blocks import Cell

_TEMPLATES = Path(__file__).parent / "templates"


def render(title: str, subtitle: str, sections: Sequence[Mapping[str, Any]]) -> str:
    """Render a page.

    All text is escaped, data in scripts too. A content security policy allows the page's own
    script and styles, and nothing else.

    Args:
      title: title of the page.
      subtitle: text below the title.
      sections: JSON values of `blocks.Section`, in order.

    Returns:
      The page as HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters.update(chart=figures.draw, number=_number, shade=_shade)
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        script=script,
        script_digest=digest,
        style=(_TEMPLATES / "page.css").read_text(encoding="utf-8"),
    )


def _number(value: Cell) -> str:
    """Text of a table's cell."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _shade(count: int, row: Sequence[int]) -> int:
    """Share of a row's examples, in percent, to shade a cell of a matrix by."""
    return round(100 * count / max(sum(row), 1))

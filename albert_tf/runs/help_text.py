"""Text of `--help`: the flags of a script in groups, with their defaults.

A class of settings sorts its own into groups, the most used first, in `HELP_GROUPS`. Those of no
group come last, and those of `HIDDEN` are left to `--helpfull`.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from typing import Any, Iterator

from albert_tf.runs.settings import (
    DEVICES,
    EVALUATION,
    FILES,
    HIDDEN,
    MANY_CARDS,
    TEXT,
    TRAINING,
    kind_of,
    metadata_of,
)

_GROUPS = (FILES, TEXT, TRAINING, EVALUATION, DEVICES, MANY_CARDS)
_FURTHER, _ALL = "Further", "Flags"
_INDENT = " " * 6
_WIDEST = 100  # columns
_END = (
    "--verbosity=1 adds date, thread and file to the lines of the log, and the traceback to "
    "errors. --helpfull lists all flags, also those that have no effect here."
)


def help_text(settings_class: type, description: str) -> str:
    """Write the help of a script.

    Args:
      settings_class: dataclass of the script's settings.
      description: docstring of the script.

    Returns:
      Text for a terminal, without a line feed at its end.
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    lines = [description.strip()]
    for title, names in _groups(settings_class).items():
        lines += ["", f"{title}:"]
        for name in names:
            lines += _lines_of(settings_class, name, width)
    return "\n".join([*lines, "", textwrap.fill(_END, width)])


def _groups(settings_class: type) -> dict[str, list[str]]:
    """Names of the settings to show, by the title of their group; the class's own come first."""
    fields = [field.name for field in dataclasses.fields(settings_class)]
    groups: dict[str, list[str]] = {title: [] for title in _GROUPS}
    hidden, found = set(), set()
    for title, name in _sorted_settings(settings_class):
        if title == HIDDEN:
            hidden.add(name)
        elif name not in found:
            groups[title].append(name)
        found.add(name)
    further = [name for name in fields if name not in found]
    groups[_FURTHER if any(groups.values()) else _ALL] = further
    return {
        title: [name for name in names if name not in hidden]
        for title, names in groups.items()
        if set(names) - hidden
    }


def _sorted_settings(settings_class: type) -> Iterator[tuple[str, str]]:
    """Yield the settings that a class and its bases sort into groups, with the group's title."""
    for owner in settings_class.__mro__:
        for title, names in vars(owner).get("HELP_GROUPS", {}).items():
            for name in names:
                yield title, name


def _lines_of(settings_class: type, name: str, width: int) -> list[str]:
    """Lines about a flag: its name with the kind of value, and its help with the default."""
    (field,) = (field for field in dataclasses.fields(settings_class) if field.name == name)
    metadata = metadata_of(settings_class, name)
    if kind_of(field) == "bool":
        shown = f"--[no]{name}"
    else:
        shown = f"--{name}={_value_of(field, metadata)}"
    text = f"{metadata['help']} {_default_of(field)}".strip()
    return [
        f"  {shown}",
        *textwrap.wrap(text, width, initial_indent=_INDENT, subsequent_indent=_INDENT),
    ]


def _value_of(field: dataclasses.Field, metadata: Any) -> str:
    if metadata["choices"]:
        return "|".join(metadata["choices"])
    if "path" in metadata:
        return "PATH"
    return {"int": "N", "float": "X", "list[str]": "A,B"}.get(kind_of(field), "TEXT")


def _default_of(field: dataclasses.Field) -> str:
    if field.default is None:
        return ""
    value = field.default
    if isinstance(value, bool):
        value = str(value).lower()
    return f"[{value}]"

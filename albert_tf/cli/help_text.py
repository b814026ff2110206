"""Text of `--help`: the flags of a script in groups, with their defaults.

Those without effect are left to `--helpfull`.
"""

from __future__ import annotations

import shutil
import textwrap

from albert_tf.cli.settings import Group, Setting, grouped

_ONLY_GROUP = "Flags"
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
      description: docstring of the script; empty with `python -OO`.

    Returns:
      Text for a terminal, without a line feed at its end.
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    lines = [description.strip()]
    groups = grouped(settings_class)
    groups.pop(Group.HIDDEN, None)
    for group, settings in groups.items():
        lines += ["", f"{group.value if len(groups) > 1 else _ONLY_GROUP}:"]
        for setting in settings:
            lines += _lines_of(setting, width)
    return "\n".join([*lines, "", textwrap.fill(_END, width)]).lstrip()


def _lines_of(setting: Setting, width: int) -> list[str]:
    """Lines about a flag: its name with the kind of value, and its help with the default."""
    if setting.kind is bool:
        shown = f"--[no]{setting.name}"
    else:
        shown = f"--{setting.name}={_value_of(setting)}"
    default = f"[{default_text(setting)}]" if setting.default is not None else ""
    text = f"{setting.declaration.help} {default}".strip()
    return [
        f"  {shown}",
        *textwrap.wrap(text, width, initial_indent=_INDENT, subsequent_indent=_INDENT),
    ]


def _value_of(setting: Setting) -> str:
    if setting.declaration.choices:
        return "|".join(setting.declaration.choices)
    if setting.declaration.path:
        return "PATH"
    return {int: "N", float: "X", list: "A,B"}.get(setting.kind, "TEXT")


def default_text(setting: Setting) -> str:
    """Default of a setting as on the command line; "" for none."""
    if setting.default is None:
        return ""
    return str(setting.default).lower() if setting.kind is bool else str(setting.default)

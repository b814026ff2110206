"""Exceptions for errors that the user can fix."""

from __future__ import annotations

from typing import Sequence

_LONGEST_LINE, _LONGEST_END = 2000, 400  # characters; the remedy is at the end


class InputError(ValueError):
    """Error in a flag, file or record, with a message of one line per problem.

    A line names the file, the place in it (line, question id, record number) and the remedy. What
    it quotes may be anything: characters that cannot be printed are escaped, and a long line is
    shortened. Scripts print the message and exit with code 1, without a traceback.
    """

    def __init__(self, *problems: str):
        """Make the error of one or more problems."""
        super().__init__(*map(_as_line, problems))

    def __str__(self) -> str:
        return "\n".join(self.args)


class SharedInputError(InputError):
    """`InputError` raised by all processes of a run together, and printed by rank 0 only."""


def listed(items: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Join the first few items, and count the rest: "a, b and 3 more"."""
    unlisted = len(items) - most
    more = f" and {unlisted} more" if unlisted > 0 else ""
    return separator.join(items[:most]) + more


def _as_line(text: str) -> str:
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[: _LONGEST_LINE - _LONGEST_END - 1]}…{line[-_LONGEST_END:]}"

"""Exceptions for errors that the user can fix."""

from __future__ import annotations

from typing import Sequence

_LISTED_PROBLEMS = 5


class InputError(ValueError):
    """Error in a flag, file or record, with a one-line message.

    The message names the file, the place in it (line, question id, record number) and the remedy.
    Scripts print it and exit with code 1, without a traceback.
    """


class SharedInputError(InputError):
    """`InputError` raised by all processes of a run together, and printed by rank 0 only."""


def listed(problems: Sequence[str]) -> str:
    """Join the first few problems of a file into one line, and count the rest."""
    unlisted = len(problems) - _LISTED_PROBLEMS
    more = f"; and {unlisted} more like these" if unlisted > 0 else ""
    return "; ".join(problems[:_LISTED_PROBLEMS]) + more

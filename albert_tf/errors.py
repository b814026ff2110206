"""The one exception for what a user can put right."""

from __future__ import annotations

from typing import Sequence

_LISTED_PROBLEMS = 5


class InputError(ValueError):
    """A flag, file or record that cannot be used, with a message of one line.

    The message names the file, the place in it (line, question id, record number) and what to do
    about it. Scripts print it and exit with code 1, without a traceback.
    """


class SharedInputError(InputError):
    """An `InputError` that all processes of a run raise together, so that one of them tells it."""


def listed(problems: Sequence[str]) -> str:
    """The first few problems of a file in one line, and how many more there are."""
    unlisted = len(problems) - _LISTED_PROBLEMS
    more = f"; and {unlisted} more like these" if unlisted > 0 else ""
    return "; ".join(problems[:_LISTED_PROBLEMS]) + more

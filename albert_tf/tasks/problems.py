"""Collection of problems found before a run starts, to report them all at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Iterable, Iterator, TypeVar

from albert_tf.devices import distributed
from albert_tf.io.errors import InputError, SharedInputError

Result = TypeVar("Result")


class Problems:
    """The problems found by this process.

    Example:

      problems = Problems()
      with problems.collected():
          questions = read_squad(path)
      problems.raise_all()
    """

    def __init__(self, messages: Iterable[str] = ()):
        """Start with some problems."""
        self._messages = [*messages]

    def add(self, message: str) -> None:
        """Add a problem, unless it is already in the collection."""
        if message not in self._messages:
            self._messages.append(message)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Catch an `InputError` raised in the block, and add its problems."""
        try:
            yield
        except InputError as error:
            for message in error.args:
                self.add(message)

    def result(self, function: Callable[..., Result], *arguments: object) -> Result | None:
        """Call a function; if it raises an `InputError`, add its problems and return None."""
        with self.collected():
            return function(*arguments)
        return None

    def raise_all(self) -> None:
        """Raise the problems of all processes, if any, one per line.

        A problem that rank 0 has found as well is reported only once.

        Raises:
          SharedInputError: if any process has found a problem.
        """
        first, *others = distributed.gather(self._messages)
        messages = list(first)
        for rank, found in enumerate(others, 1):
            messages += [f"rank {rank}: {message}" for message in found if message not in first]
        if messages:
            raise SharedInputError(*messages)

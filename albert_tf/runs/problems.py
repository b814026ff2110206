"""Problems of a run before it starts, collected to report all of them at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from albert_tf.devices import distributed
from albert_tf.errors import InputError, SharedInputError


class Problems:
    """Collection of problems. Every process of the run has its own.

    Example:

      problems = Problems()
      with problems.collected():
          questions = read_squad(path)
      problems.raise_all()
    """

    def __init__(self):
        self._messages = []

    def add(self, message: str) -> None:
        """Add a problem, unless it has been found before."""
        if message not in self._messages:
            self._messages.append(message)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Add the `InputError` that ends the block, if one does."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def raise_all(self) -> None:
        """Raise `SharedInputError` with the problems of all processes, a line each, if there are
        any. A problem that rank 0 has found too is told once."""
        first, *others = distributed.gather(self._messages)
        messages = list(first)
        for rank, found in enumerate(others, 1):
            messages += [f"rank {rank}: {message}" for message in found if message not in first]
        if messages:
            raise SharedInputError("\n".join(messages))

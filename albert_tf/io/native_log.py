"""Messages that native code writes to standard error, past Python's and TensorFlow's log levels."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
import tempfile
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Iterator, Sequence


@contextlib.contextmanager
def suppressed() -> Iterator[None]:
    """Hold back the messages of native code, and write them only if the block fails.

    Standard error of the whole process is redirected meanwhile, so use this only at the start of a
    script.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def suppress_on_import(name: str) -> None:
    """Import a module in a block of `suppressed` when it is first needed.

    Args:
      name: name of a top-level module.
    """
    if name not in sys.modules:
        sys.meta_path.insert(0, _QuietFinder(name))


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Finder that serves the first import of one module, and then removes itself."""

    def __init__(self, name: str):
        self._name = name

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of the module with a loader that suppresses messages; None for any other module."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                with suppressed():
                    execute(module)

            spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec

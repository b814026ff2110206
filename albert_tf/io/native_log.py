"""Messages that native code writes to standard error, past Python's and TensorFlow's log levels."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import Iterator


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
        except Exception:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)

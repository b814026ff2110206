"""Form of the lines of the log on standard error."""

from __future__ import annotations

import logging as python_logging
import time

from absl import logging


class LineFormatter(python_logging.Formatter):
    """Formatter of log lines: level's letter, time and message.

    With --verbosity=1 they have absl's prefix, with date, thread and place in the code.
    """

    def format(self, record: python_logging.LogRecord) -> str:
        """Format a record."""
        if logging.get_verbosity() >= logging.DEBUG:
            return logging.PythonFormatter().format(record)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{record.levelname[0]} {clock} {super().format(record)}"

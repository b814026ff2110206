"""Runs all benchmarks; each prints its figures as one line of JSON.

The files to measure on can be named as for each benchmark alone; the default is the sample of the
tests, which is too small for steady figures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common import squad_arguments

WITH_QUESTIONS = ("features.py", "prediction.py")
WITHOUT_QUESTIONS = ("training_step.py", "pretraining_data.py", "processes.py")


def main() -> None:
    """Run one after the other."""
    squad_arguments(__doc__.splitlines()[0]).parse_args()
    directory = Path(__file__).parent
    for name in WITH_QUESTIONS:
        subprocess.run([sys.executable, str(directory / name), *sys.argv[1:]], check=True)
    for name in WITHOUT_QUESTIONS:
        subprocess.run([sys.executable, str(directory / name)], check=True)


if __name__ == "__main__":
    main()

"""Runs all benchmarks; each prints its results as one line of JSON.

The flags for input files are those of the single benchmarks. The default is the tests' sample,
which is too small for stable results.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common import squad_arguments

WITH_QUESTIONS = ("features.py", "prediction.py")
WITHOUT_QUESTIONS = ("training_step.py", "pretraining_data.py", "processes.py")


def main() -> None:
    """Run the benchmarks one after the other."""
    squad_arguments((__doc__ or "").partition("\n")[0]).parse_args()
    directory = Path(__file__).parent
    for name in WITH_QUESTIONS:
        subprocess.run([sys.executable, str(directory / name), *sys.argv[1:]], check=True)
    for name in WITHOUT_QUESTIONS:
        subprocess.run([sys.executable, str(directory / name)], check=True)


if __name__ == "__main__":
    main()

"""Downloads and checks SQuAD v1.1 and v2.0, the GLUE tasks and RACE.

python download/download_dataset.py squad mrpc sts-b
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # directory of albert_tf

from albert_tf.cli.launch import launch
from albert_tf.downloads.settings import DataSetSettings


def main(settings: DataSetSettings, names: list[str]) -> None:
    """Download the datasets named by the arguments, and print their directories."""
    from albert_tf.downloads.data_sets import download_data_sets

    for directory in download_data_sets(names, settings):
        print(directory)


if __name__ == "__main__":
    launch(main, DataSetSettings, takes_arguments=True)

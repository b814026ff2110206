"""Downloads and checks a published ALBERT model, and prints the flags to start from it.

    python download/download_pretrained_model.py https://storage.googleapis.com/albert_models/ \
        albert_base_v2
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # directory of albert_tf

from albert_tf.cli.launch import launch
from albert_tf.downloads.settings import ModelDownloadSettings


def main(settings: ModelDownloadSettings, arguments: list[str]) -> None:
    """Download the model named by the arguments, and print the flags for its files."""
    from albert_tf.downloads.models import get_model

    print("\n".join(get_model(arguments, settings).as_flags()))


if __name__ == "__main__":
    launch(main, ModelDownloadSettings, takes_arguments=True)

"""Makes records for `run_pretraining.py` from plain text.

The text has one sentence per line and an empty line between documents.
"""

from __future__ import annotations

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.tasks.pretraining.settings import RecordSettings


def main(settings: RecordSettings) -> None:
    """Make the records, unless they exist already."""
    load_tensorflow()
    from albert_tf.tasks.pretraining.writing import make_records

    make_records(settings)


if __name__ == "__main__":
    launch(main, RecordSettings)

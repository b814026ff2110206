"""From plain text to answers: pre-training on a text, then fine-tuning on questions about it.

Generates a text and questions, makes pre-training records of the text, pre-trains a tiny ALBERT on
them, and fine-tunes it on the questions: once from the pre-trained checkpoint and once from random
weights. Everything is written to one folder, `text_to_answers/` if no other is named.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from quickstart import (
    ROOT,
    TINY_CONFIG,
    TRAINING_FLAGS,
    make_inputs,
    run_script,
    run_squad,
    show_metrics,
)

MAX_SEQ_LENGTH = 80
MAX_PREDICTIONS = 12
DATA_FLAGS = {"dupe_factor": 10, "num_workers": 2}
PRETRAINING_FLAGS = {
    "deterministic_run": "true",  # the same figures each time
    "train_batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "do_eval": "true",
    "max_eval_steps": 20,
}
# A high rate wipes out what pre-training has learned.
RANDOM_LEARNING_RATE, PRETRAINED_LEARNING_RATE = 5e-4, 2e-4


def main() -> None:
    """Make the data, pre-train, fine-tune twice, and print both metrics."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "text_to_answers")
    parser.add_argument("--paragraphs", type=int, default=4000, help="to train on")
    parser.add_argument("--pretraining_steps", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=300, help="of fine-tuning")
    args = parser.parse_args()
    directory = args.directory

    make_inputs(directory, args.paragraphs)
    make_records(directory)
    pretrain(directory, args.pretraining_steps)
    fine_tuning = {**TRAINING_FLAGS, "train_steps": args.steps}
    fine_tuning["learning_rate"] = RANDOM_LEARNING_RATE
    run_squad(directory, "from_random", **fine_tuning)
    fine_tuning["learning_rate"] = PRETRAINED_LEARNING_RATE
    run_squad(directory, "from_text", init_checkpoint=directory / "pretrained", **fine_tuning)
    show_metrics(directory, "from_random", "from_text")


def make_records(directory: Path) -> None:
    """Make the pre-training records of the text."""
    flags = {
        "input_file": directory / "corpus.txt",
        "output_file": directory / "pretraining.tfrecord",
        "spm_model_file": directory / "sentencepiece.model",
        "max_seq_length": MAX_SEQ_LENGTH,
        "max_predictions_per_seq": MAX_PREDICTIONS,
        **DATA_FLAGS,
    }
    run_script("create_pretraining_data.py", flags)


def pretrain(directory: Path, steps: int) -> None:
    """Pre-train on the records.

    The weights start smaller than those of the quickstart: the word embeddings are the weights of
    the masked language model's last layer too, and from 0.1 on it learns next to nothing.
    """
    config_file = directory / "pretraining_config.json"
    config_file.write_text(json.dumps({**TINY_CONFIG, "initializer_range": 0.02}, indent=2) + "\n")
    flags = {
        "albert_config_file": config_file,
        "input_file": directory / "pretraining.tfrecord",
        "output_dir": directory / "pretrained",
        "max_seq_length": MAX_SEQ_LENGTH,
        "max_predictions_per_seq": MAX_PREDICTIONS,
        "num_train_steps": steps,
        "num_warmup_steps": steps // 10,
        **PRETRAINING_FLAGS,
    }
    run_script("run_pretraining.py", flags)


if __name__ == "__main__":
    main()

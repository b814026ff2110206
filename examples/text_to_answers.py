"""Pre-trains a tiny ALBERT on a text, and fine-tunes it on questions about the text.

Generates a text and questions, makes pre-training records from the text, pre-trains a tiny ALBERT
on them, and fine-tunes on the questions: once from random weights and once from the pre-trained
checkpoint. All files go to one directory, by default `text_to_answers/`.
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
    run_main,
    run_script,
    run_squad,
    show_metrics,
)

MAX_SEQ_LENGTH = 80
MAX_PREDICTIONS = 12
DATA_FLAGS = {"dupe_factor": 10, "num_workers": 2}
PRETRAINING_FLAGS = {
    "deterministic_run": "true",  # the same metrics each time
    "train_batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "do_eval": "true",
    "max_eval_steps": 20,
}
# A high learning rate destroys the pre-trained weights.
RANDOM_LEARNING_RATE, PRETRAINED_LEARNING_RATE = 5e-4, 2e-4


def main() -> None:
    """Generate the data, pre-train, fine-tune twice, and print the metrics of both runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "text_to_answers")
    parser.add_argument("--paragraphs", type=int, default=4000, help="number to train on")
    parser.add_argument("--pretraining_steps", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=300, help="number of fine-tuning steps")
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
    """Make the pre-training records from the text."""
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

    The initializer range is smaller than in the quickstart: the masked-LM head shares the word
    embeddings, and with 0.1 it learns next to nothing.
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
    run_main(main)

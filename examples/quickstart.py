"""Trains a tiny ALBERT to answer questions in a few minutes: `make quickstart`.

Generates a small reading-comprehension dataset, trains a SentencePiece model on its text, and
fine-tunes a tiny ALBERT from random weights with `run_squad_v1.py`. All files go to one directory,
by default `quickstart/`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Callable, Mapping

import sentencepiece
from make_squad import make_files

ROOT = Path(__file__).resolve().parent.parent
VOCAB_SIZE = 500
TINY_CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "embedding_size": 64,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_hidden_groups": 3,
    "num_attention_heads": 8,
    "intermediate_size": 256,
    "inner_group_num": 1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0,
    "attention_probs_dropout_prob": 0,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "initializer_range": 0.1,
}
MODEL_FLAGS = {
    "max_seq_length": 80,
    "max_query_length": 24,
    "doc_stride": 48,
    "max_answer_length": 8,
}
TRAINING_FLAGS = {
    "deterministic_run": "true",  # the same metrics each time
    "train_batch_size": 32,
    "learning_rate": 1.5e-3,
    "save_checkpoints_steps": 1000,
}
SHOWN_QUESTIONS = 6


def main() -> None:
    """Generate the data, train, and print answers and metrics."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "quickstart")
    parser.add_argument("--paragraphs", type=int, default=4000, help="number to train on")
    parser.add_argument("--steps", type=int, default=2600, help="number of training steps")
    args = parser.parse_args()
    directory = args.directory

    make_inputs(directory, args.paragraphs)
    run_squad(directory, "trained", train_steps=args.steps, **TRAINING_FLAGS)
    run_squad(directory, "untrained", train_steps=1, **{**TRAINING_FLAGS, "learning_rate": 0})
    show_answers(directory)
    show_metrics(directory, "untrained", "trained")


def run_main(main: Callable[[], None]) -> None:
    """Run a program that Ctrl-C ends in one line."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped by Ctrl-C; the same command starts again")


def make_inputs(directory: Path, paragraphs: int) -> None:
    """Generate the data, the vocabulary and the config of a tiny model."""
    make_files(directory, paragraphs, heldout=100, seed=1)
    train_sentencepiece(directory)
    (directory / "albert_config.json").write_text(json.dumps(TINY_CONFIG, indent=2) + "\n")


def train_sentencepiece(directory: Path) -> None:
    """Train `sentencepiece.model` on the generated text, with ALBERT's special tokens."""
    data = json.loads((directory / "train.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    text = [paragraph["context"] for paragraph in paragraphs]
    text += [question["question"] for paragraph in paragraphs for question in paragraph["qas"]]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line.lower() for line in text),
        model_prefix=str(directory / "sentencepiece"),
        vocab_size=VOCAB_SIZE,
        model_type="bpe",  # learns whole words even from a small text, unlike a unigram model
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        pad_piece="<pad>",
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        minloglevel=1,
    )


def run_squad(directory: Path, output: str, **flags: object) -> None:
    """Print and run a command line of `run_squad_v1.py` on the generated files."""
    flags = {
        "albert_config_file": directory / "albert_config.json",
        "spm_model_file": directory / "sentencepiece.model",
        "train_file": directory / "train.json",
        "predict_file": directory / "heldout.json",
        "output_dir": directory / output,
        **MODEL_FLAGS,
        **flags,
    }
    run_script("run_squad_v1.py", flags)


def run_script(script: str, flags: Mapping[str, object]) -> None:
    """Print and run the command line of a script; exit if it fails."""
    command = [sys.executable, str(ROOT / script)]
    command += [f"--{name}={value}" for name, value in flags.items()]
    print("\n" + " \\\n  ".join([f"python {script}", *command[2:]]), flush=True)
    with subprocess.Popen(command) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the script has got it too, saves and tells
            code = process.wait()
    if code:
        sys.exit(code)


def show_answers(directory: Path) -> None:
    """Print some held-out questions with the predicted and the true answers."""
    predictions = json.loads((directory / "trained/predictions.json").read_text(encoding="utf-8"))
    articles = json.loads((directory / "heldout.json").read_text(encoding="utf-8"))["data"]
    for article in articles[:SHOWN_QUESTIONS]:
        paragraph = article["paragraphs"][0]
        question = paragraph["qas"][0]
        print(f"\n{paragraph['context']}")
        print(f"  question:  {question['question']}")
        print(f"  predicted: {predictions[question['id']]}")
        print(f"  true:      {question['answers'][0]['text']}")


def show_metrics(directory: Path, *outputs: str) -> None:
    """Print exact match and F1 of runs on the held-out questions."""
    print()
    for output in outputs:
        results = json.loads((directory / output / "eval_results.json").read_text())
        print(f"{output:9}  exact match {results['exact_match']:5.1f}  F1 {results['f1']:5.1f}")


if __name__ == "__main__":
    run_main(main)

"""Measures the wall time of ALBERT base prediction, padded and not.

`run_squad_v1.py` predicts twice: sorted by length, and padded to the full length like the original.
The answers must agree. The weights are random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()

import tensorflow.compat.v1 as tf
from common import add_size_arguments, report, squad_arguments

import modeling
import tokenization
from albert_tf.tasks.squad.v1 import span_logits

MAX_SEQ_LENGTH = 384


def main() -> None:
    """Measure, and print the results."""
    parser = squad_arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("--questions", type=int, default=300)
    add_size_arguments(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        questions = write_questions(args.squad_file, args.questions, directory / "questions.json")
        write_random_model(args, directory)
        padded, padded_answers = predict(directory, args.spm_model_file, str(MAX_SEQ_LENGTH))
        by_length, answers = predict(directory, args.spm_model_file, "")
    report(
        "prediction",
        hidden_size=args.hidden_size,
        layers=args.layers,
        max_seq_length=MAX_SEQ_LENGTH,
        questions=questions,
        seconds_padded=padded,
        seconds_sorted=by_length,
        ratio=by_length / padded,
        same_answers=padded_answers == answers,
    )


def write_questions(squad_file: str, limit: int, path: Path) -> int:
    """Write the first questions of a SQuAD file, up to a limit; return their number."""
    count = 0
    articles = json.loads(Path(squad_file).read_text(encoding="utf-8"))["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = paragraph["qas"][: limit - count]
            count += len(paragraph["qas"])
        article["paragraphs"] = [p for p in article["paragraphs"] if p["qas"]]
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return count


def write_random_model(args: argparse.Namespace, directory: Path) -> None:
    """Write a config and a checkpoint with random weights."""
    vocab_size = len(tokenization.FullTokenizer(None, True, args.spm_model_file).vocab)
    config = modeling.AlbertConfig(
        vocab_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 64,
        intermediate_size=4 * args.hidden_size,
    )
    (directory / "albert_config.json").write_text(config.to_json_string())
    with tf.Graph().as_default(), tf.Session() as session:
        model = modeling.AlbertModel(config, False, tf.zeros([1, 8], tf.int32))
        span_logits(model.get_sequence_output())
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(directory / "model.ckpt"))


def predict(directory: Path, spm_model_file: str, length_buckets: str) -> tuple[float, list]:
    """Run the script.

    Returns:
      Wall time in seconds, and a list of the answers and of the texts of the n-best lists.
    """
    flags = {
        "albert_config_file": directory / "albert_config.json",
        "spm_model_file": spm_model_file,
        "init_checkpoint": directory / "model.ckpt",
        "predict_file": directory / "questions.json",
        "output_dir": directory / "output",
        "do_train": "false",
        "max_seq_length": MAX_SEQ_LENGTH,
        "length_buckets": length_buckets,
    }
    command = [sys.executable, str(ROOT / "run_squad_v1.py")]
    command += [f"--{name}={value}" for name, value in flags.items()]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    output = directory / "output"
    answers = json.loads((output / "predictions.json").read_text(encoding="utf-8"))
    n_best = json.loads((output / "nbest_predictions.json").read_text(encoding="utf-8"))
    (output / "eval_results.json").unlink()  # makes the next run predict again
    texts = {question: [entry["text"] for entry in best] for question, best in n_best.items()}
    return seconds, [answers, texts]


if __name__ == "__main__":
    main()

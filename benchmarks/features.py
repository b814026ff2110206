"""Measures feature conversion in questions per second, including reading and writing.

It is measured with one and with two worker processes. The baseline is the original's alignment
alone: cell by cell, once for each question.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf
sys.path.insert(0, str(ROOT / "tests"))  # folder of plain_alignment

from common import report, squad_arguments

import plain_alignment
import tokenization
from albert_tf.records.shards import ExampleShard
from albert_tf.tasks.base import Problems
from albert_tf.tasks.squad.data import read_squad
from albert_tf.tasks.squad.v1 import SquadV1Task
from run_squad_v1 import Settings

PLAIN_QUESTIONS = 200  # approximate number of questions for the plain alignment


def main() -> None:
    """Measure, and print the results."""
    args = squad_arguments((__doc__ or "").partition("\n")[0]).parse_args()
    tokenizer = tokenization.FullTokenizer(None, True, args.spm_model_file)
    files = args.squad_file, args.spm_model_file
    rate, features, questions = measure_conversion(*files, num_workers=1)
    rate_of_two, _, _ = measure_conversion(*files, num_workers=2)
    plain_rate = measure_plain_alignment(args.squad_file, tokenizer)
    report(
        "features",
        questions=questions,
        features=features,
        questions_per_second=rate,
        questions_per_second_of_two=rate_of_two,
        speedup_of_two=rate_of_two / rate,
        plain_alignment_questions_per_second=plain_rate,
        ratio=rate / plain_rate,
    )


def measure_conversion(squad_file, spm_model_file, num_workers):
    """Read a SQuAD file, and write the records of its features.

    Returns:
      Questions per second, number of features and number of questions.
    """
    start, problems = time.perf_counter(), Problems()
    tokenizer = tokenization.FullTokenizer(None, True, spm_model_file)
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(
            train_file=squad_file,
            spm_model_file=spm_model_file,
            do_predict=False,
            output_dir=directory,
        )
        splits = SquadV1Task.read(settings, {}, problems)
        problems.raise_all()
        task = SquadV1Task(settings, None, tokenizer, splits)
        shard = ExampleShard(
            splits.train,
            task.fields(splits.train),
            lambda examples: task.records(splits.train, examples),
            settings.record_settings,
            settings.vocabulary,
            directory,
            num_workers,
        )
        shard.prepare()
    questions = len(splits.train.examples)
    return questions / (time.perf_counter() - start), shard.num_records, questions


def measure_plain_alignment(squad_file, tokenizer):
    """Align paragraphs cell by cell, like the original; return questions per second."""
    texts = [question.paragraph for question in read_squad(squad_file, for_training=True)]
    texts = texts[:: max(1, len(texts) // PLAIN_QUESTIONS)]
    start = time.perf_counter()
    for text in texts:
        normalized = tokenization.preprocess_text(text, lower=True)
        pieces = "".join(tokenizer.tokenize(normalized))
        plain_alignment.plain_align(
            [tokenization.preprocess_text(char, False, True) for char in text],
            pieces.replace(tokenization.SPIECE_UNDERLINE, " "),
        )
    return len(texts) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

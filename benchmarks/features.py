"""Measures feature conversion in questions per second, in one process, including writing records.

The baseline is the original's alignment alone: cell by cell, once for each question.
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
from albert_tf.records.manifests import Origin, record_writer
from albert_tf.records.record_files import serialize_example
from albert_tf.squad.data import read_squad
from albert_tf.squad.features import FeatureConverter, FeatureSettings

SETTINGS = FeatureSettings(384, 128, 64, do_lower_case=True)
PLAIN_QUESTIONS = 200  # approximate number of questions for the plain alignment


def main() -> None:
    """Measure, and print the results."""
    args = squad_arguments(__doc__.splitlines()[0]).parse_args()
    tokenizer = tokenization.FullTokenizer(None, True, args.spm_model_file)
    rate, features, questions = measure_conversion(args.squad_file, tokenizer)
    plain_rate = measure_plain_alignment(args.squad_file, tokenizer)
    report(
        "features",
        questions=questions,
        features=features,
        questions_per_second=rate,
        plain_alignment_questions_per_second=plain_rate,
        ratio=rate / plain_rate,
    )


def measure_conversion(squad_file, tokenizer):
    """Read a SQuAD file, and write the records of its features.

    Returns:
      Questions per second, number of features and number of questions.
    """
    start = time.perf_counter()
    questions = read_squad(squad_file, for_training=True)
    converter = FeatureConverter(tokenizer, SETTINGS)
    with tempfile.TemporaryDirectory() as directory:
        with record_writer(f"{directory}/features.tfrecord", Origin({}, {})) as writer:
            for feature in converter.features(questions, for_training=True):
                values = feature.record(SETTINGS.max_seq_length, for_training=True)
                writer.write(serialize_example(values))
    seconds = time.perf_counter() - start
    assert not converter.dropped
    return len(questions) / seconds, writer.num_records, len(questions)


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

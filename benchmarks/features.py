"""Feature conversion: questions per second, records written, in one process.

The ratio is to the time that the alignment alone takes by the original's rule: cell by cell, once
for every question.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where albert_tf is
sys.path.insert(0, str(ROOT / "tests"))  # where the plain alignment is

from common import report, squad_arguments

import plain_alignment
import tokenization
from albert_tf.records.manifests import Origin, record_writer
from albert_tf.records.record_files import serialize_example
from albert_tf.squad.data import read_squad
from albert_tf.squad.features import FeatureConverter, FeatureSettings

SETTINGS = FeatureSettings(384, 128, 64, do_lower_case=True)
PLAIN_QUESTIONS = 200  # as many as the plain alignment is measured on


def main() -> None:
    """Measure and print the figures."""
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
    """Read a file, make its features, write their records: questions/s, features and questions."""
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
    """Align as the original does, characters preprocessed once for each cell: questions/s."""
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

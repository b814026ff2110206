"""Feature conversion: questions per second, records written, in one process.

The ratio is to the time that the alignment alone takes by the original's rule: cell by cell, once
for every question.
"""

from __future__ import annotations

import tempfile
import time

from common import report, squad_arguments  # isort: skip  # finds the product

import plain_alignment
import tokenization
from albert_tf.records import record_files as records
from albert_tf.squad import data as squad_data

SETTINGS = squad_data.FeatureSettings(384, 128, 64, do_lower_case=True)
PLAIN_QUESTIONS = 200  # as many as the plain alignment is measured on


def main() -> None:
    """Measures and prints the figures."""
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
    """Reads a file, makes its features, writes their records: questions/s and both numbers."""
    start = time.perf_counter()
    paragraphs = squad_data.read_squad(squad_file, for_training=True)
    converter = squad_data.FeatureConverter(tokenizer, SETTINGS)
    with tempfile.TemporaryDirectory() as directory:
        with records.record_writer(f"{directory}/features.tfrecord", {}, {}) as writer:
            for feature in converter.features(paragraphs, for_training=True):
                values = feature.record(SETTINGS.max_seq_length, for_training=True)
                writer.write(records.serialize_example(values))
    seconds = time.perf_counter() - start
    assert not converter.dropped
    questions = sum(len(paragraph.questions) for paragraph in paragraphs)
    return questions / seconds, writer.records, questions


def measure_plain_alignment(squad_file, tokenizer):
    """Aligns as the original does, characters preprocessed once for each cell: questions/s."""
    paragraphs = squad_data.read_squad(squad_file, for_training=True)
    texts = [p.text for p in paragraphs for _ in p.questions]
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

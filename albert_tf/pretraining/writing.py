"""Makes the records that `run_pretraining.py` reads from plain text.

Text has one sentence per line and an empty line between documents. It is read and encoded once;
the ids wait in a temporary file, over which as many passes go as the records are to have
differently masked copies of the text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator

from albert_tf.runs import training  # isort: skip  # before TensorFlow, whose log it quiets

import numpy as np
from absl import logging
from tqdm import tqdm

from albert_tf.errors import InputError
from albert_tf.pretraining import instances as pretraining_data
from albert_tf.pretraining.instances import (
    EncodedBlock,
    InstanceMaker,
    InstanceSettings,
    Vocabulary,
)
from albert_tf.records import record_files as records
from albert_tf.records.workers import ordered_map
from albert_tf.runs import startup
from albert_tf.runs.hooks import ReportTimer, Throughput
from albert_tf.runs.startup import Problems
from tokenization import FullTokenizer

training.define_text_flags(max_seq_length=512)
training.define_string(
    "input_file",
    None,
    "Text files: paths or *-patterns, separated by commas. One sentence per "
    "line, an empty line between documents.",
)
training.define_string("output_file", None, "TFRecord files to write, separated by commas.")
training.define_enum(
    "input_file_mode", "r", ["r", "rb"], "r: text must be UTF-8; rb: what is not is left out."
)
training.define_boolean("do_whole_word_mask", True, "Whether words are masked whole.")
training.define_boolean("do_permutation", False, "Whether pieces also change places.")
training.define_boolean("favor_shorter_ngram", True, "Whether n words are masked with p(n) ~ 1/n.")
training.define_boolean(
    "random_next_sentence",
    False,
    "Whether label 1 means a segment from another document, and not swapped segments.",
)
training.define_integer("ngram", 3, "Most words that are masked together.", lower_bound=1)
training.define_integer(
    "max_predictions_per_seq", 20, "Most pieces masked in an instance.", lower_bound=1
)
training.define_integer("random_seed", 12345, "Another seed makes other instances.")
training.define_integer("dupe_factor", 40, "Passes over the text.", lower_bound=1)
training.define_float(
    "masked_lm_prob", 0.15, "Share of the pieces to mask.", lower_bound=0, upper_bound=1
)
training.define_float(
    "short_seq_prob",
    0.1,
    "Share of documents with shorter instances.",
    lower_bound=0,
    upper_bound=1,
)
training.define_integer(
    "num_workers", 1, "Processes that work; the records do not depend on it.", lower_bound=1
)

_SHORTEST = pretraining_data.MARKS + 2  # a piece in each segment


@dataclass(frozen=True)
class DataSettings:
    """The values of the flags that are not those of `InstanceSettings`."""

    vocab_file: str | None
    spm_model_file: str | None
    do_lower_case: bool
    input_file: str | None
    output_file: str | None
    input_file_mode: str
    random_seed: int
    dupe_factor: int
    num_workers: int


def main(_):
    """Checks the inputs, then makes the records, unless they are there."""
    settings = training.settings_from_flags(DataSettings)
    instance_settings = training.settings_from_flags(InstanceSettings)
    run = checked_run(settings, instance_settings)
    made_from = run.made_from()
    if all([records.usable_manifest(path, *made_from) for path in run.output_files]):
        return
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(records.record_writer(path, *made_from))
            for path in run.output_files
        ]
        count = write_records(run, writers)
    logging.info("%d records have been written to %s", count, ", ".join(run.output_files))


@dataclass(frozen=True)
class DataRun:
    """What a run makes records of, read and checked.

    Attributes:
      settings: the values of the flags.
      instance_settings: those that instances depend on.
      tokenizer: the tokenizer.
      input_files: paths of the text files.
      output_files: paths of the record files.
    """

    settings: DataSettings
    instance_settings: InstanceSettings
    tokenizer: FullTokenizer
    input_files: list[str]
    output_files: list[str]

    def made_from(self) -> tuple[dict, dict]:
        """What records depend on: settings by name, and digests of files by name."""
        settings = {
            **dataclasses.asdict(self.instance_settings),
            "vocab_size": len(self.tokenizer.vocab),
            "do_lower_case": self.settings.do_lower_case,
            "input_file_mode": self.settings.input_file_mode,
            "random_seed": self.settings.random_seed,
            "dupe_factor": self.settings.dupe_factor,
            "output_files": len(self.output_files),
        }
        vocabulary = self.settings.spm_model_file or self.settings.vocab_file
        inputs = [vocabulary, *self.input_files]
        return settings, {path: records.digest(path) for path in inputs}


def checked_run(settings: DataSettings, instance_settings: InstanceSettings) -> DataRun:
    """Finds the files that the flags name.

    Raises:
      InputError: with all that is wrong with the flags and the files.
    """
    problems = Problems()
    tokenizer, input_files, output_files = None, [], []
    with problems.collected():
        tokenizer = startup.load_tokenizer(settings, ["[CLS]", "[SEP]", "[MASK]"])
    with problems.collected():
        input_files = startup.matching_files("input_file", settings.input_file)
    with problems.collected():
        if not settings.output_file:
            raise InputError("--output_file is missing: give the record files to write")
        output_files = [path.strip() for path in settings.output_file.split(",")]
        if len(set(output_files)) < len(output_files) or not all(output_files):
            raise InputError(
                f"--output_file {settings.output_file}: a file is empty or named twice"
            )
        for directory in sorted({str(Path(path).parent) for path in output_files}):
            startup.check_writable("output_file", directory)
    if instance_settings.max_seq_length < _SHORTEST:
        problems.add(
            f"--max_seq_length {instance_settings.max_seq_length} leaves no room for two segments "
            f"beside {pretraining_data.MARKS} marks: give {_SHORTEST} or more"
        )
    problems.raise_all()
    return DataRun(settings, instance_settings, tokenizer, input_files, output_files)


def write_records(run: DataRun, writers: list[records.RecordWriter]) -> int:
    """Writes the instances of all passes to the writers in turn; returns their number.

    Raises:
      InputError: if the text cannot be read or makes no instance.
    """
    settings = run.settings
    with tempfile.TemporaryFile(dir=Path(run.output_files[0]).parent) as file:
        store = BlockStore(file)
        for block in _encoded_blocks(run):
            store.append(block)
        _log_text(run, store)
        maker = InstanceMaker(
            run.instance_settings, Vocabulary(run.tokenizer), settings.random_seed
        )
        tasks = (
            (store.read(block_number), block_number, pass_number)
            for pass_number in range(settings.dupe_factor)
            for block_number in range(len(store))
        )
        made = ordered_map(lambda task: _made_records(maker, *task), tasks, settings.num_workers)
        count = _write(made, writers, len(store) * settings.dupe_factor)
    if not count:
        raise InputError(
            f"{settings.input_file}: there is no document of two sentences or more; give one "
            "sentence per line and an empty line between documents"
        )
    return count


class BlockStore:
    """Encoded blocks in a file, to be read again in any order."""

    def __init__(self, file: BinaryIO):
        """Makes the store in an open file."""
        self._file = file
        self._places = []  # of each block: where it begins, and the lengths of its arrays
        self.num_documents = self.num_single_sentences = self.num_pieces = 0

    def __len__(self) -> int:
        return len(self._places)

    def append(self, block: EncodedBlock) -> None:
        """Adds a block."""
        arrays = dataclasses.astuple(block)
        self._places.append((self._file.tell(), [len(array) for array in arrays]))
        for array in arrays:
            self._file.write(array.tobytes())
        self.num_documents += len(block.document_lengths)
        self.num_single_sentences += block.num_single_sentences
        self.num_pieces += len(block.ids)

    def read(self, number: int) -> EncodedBlock:
        """The block with a number, from 0 in the order in which they were added."""
        start, lengths = self._places[number]
        self._file.seek(start)
        read = (np.frombuffer(self._file.read(4 * length), np.int32) for length in lengths)
        return EncodedBlock(*read)


def _encoded_blocks(run: DataRun) -> Iterator[EncodedBlock]:
    """Yields the blocks of the text as ids."""
    settings = run.settings

    def encode(block):
        return EncodedBlock.from_text(block, run.tokenizer, settings.do_lower_case)

    text = pretraining_data.read_blocks(run.input_files, strict=settings.input_file_mode == "r")
    blocks = ordered_map(encode, text, settings.num_workers)
    return _with_progress(blocks, "reading text", "pieces", lambda block: len(block.ids))


def _log_text(run, store):
    logging.info(
        "%d documents with %d pieces have been read from %d files",
        *(store.num_documents, store.num_pieces, len(run.input_files)),
    )
    if store.num_single_sentences:
        logging.warning(
            "%d documents of a single sentence are left out: they make no pair of segments",
            store.num_single_sentences,
        )


def _made_records(maker, block, block_number, pass_number) -> list[bytes]:
    """The records of one pass over a block."""
    instances = maker.block_instances(block.documents, block_number, pass_number)
    return [records.serialize_example(x.record(maker.settings)) for x in instances]


def _write(made: Iterable[list[bytes]], writers, num_tasks) -> int:
    """Writes records to the writers in turn; returns their number."""
    count = 0
    in_turn = itertools.cycle(writers)
    for block_records in _with_progress(made, "making records", "records", len, num_tasks):
        for record in block_records:
            next(in_turn).write(record)
        count += len(block_records)
    return count


def _with_progress(items, description, unit, size, total=None):
    """Yields items; tells how far it is, and the rate."""
    start, count, done = time.time(), 0, 0
    throughput, timer = Throughput(0, start), ReportTimer(start)
    with tqdm(desc=description, total=total, unit=" blocks", disable=None) as bar:
        for item in items:
            yield item
            count += size(item)
            done += 1
            bar.update()
            now = time.time()
            if timer.is_due(now):
                logging.info(
                    "%s: %d %s, %.0f/s, %.0f/s over the run%s",
                    *(description, count, unit, throughput.since_last(count, now)),
                    throughput.since_start(count, now),
                    f"; {done} of {total} blocks" if total else "",
                )
                timer.restart(now)
    rate = throughput.since_start(count, time.time())
    logging.info("%s: %d %s, %.0f/s", description, count, unit, rate)


if __name__ == "__main__":
    training.launch(main)

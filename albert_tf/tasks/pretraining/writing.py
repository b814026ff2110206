"""Writer of pre-training records from plain text.

The text is read and encoded once. Its ids are kept in a temporary file, and each pass over them
makes another set of pairs and masks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Callable, Iterable, Iterator, Sequence, TypeVar

import numpy as np
from absl import logging
from tqdm import tqdm

from albert_tf.cli.progress import ReportTimer, Throughput
from albert_tf.devices import distributed
from albert_tf.io import files, locks
from albert_tf.io.errors import InputError
from albert_tf.records import manifests, record_files
from albert_tf.records.manifests import Origin
from albert_tf.records.record_files import RecordWriter
from albert_tf.records.workers import ordered_map
from albert_tf.run_dir import model_folder
from albert_tf.tasks.pretraining import instances
from albert_tf.tasks.pretraining.instances import EncodedBlock, InstanceMaker, Vocabulary
from albert_tf.tasks.pretraining.settings import RecordSettings
from albert_tf.tasks.problems import Problems
from tokenization import FullTokenizer

Item = TypeVar("Item")

_MIN_SEQ_LENGTH = instances.SPECIAL_TOKENS + 2  # one piece in each segment


def make_records(settings: RecordSettings) -> None:
    """Write the record files described by settings, unless they exist already.

    Raises:
      InputError: all problems with the settings and with the files they name.
    """
    job = checked_job(settings)
    with _only_writer(job.output_files):
        origin = job.origin
        if all([manifests.usable_manifest(path, origin) for path in job.output_files]):
            return
        with manifests.record_writers(job.output_files, origin) as writers:
            count = write_records(job, writers)
    logging.info("wrote %d records to %s", count, ", ".join(job.output_files))


@contextlib.contextmanager
def _only_writer(paths: Sequence[str]) -> Iterator[None]:
    """Hold the locks of the output files.

    Raises:
      InputError: if another process holds one of them.
    """
    with contextlib.ExitStack() as stack:
        for path in sorted(paths):
            lock_path = Path(f"{path}{files.LOCK_SUFFIX}")
            stack.enter_context(locks.only_run(lock_path, path, "give another --output_file"))
        yield


@dataclass(frozen=True)
class Job:
    """Records to write, and their checked inputs.

    Attributes:
      settings: settings of the script.
      tokenizer: the tokenizer.
      input_files: paths of the text files.
      output_files: paths of the record files.
    """

    settings: RecordSettings
    tokenizer: FullTokenizer
    input_files: list[str]
    output_files: list[str]

    @property
    def num_workers(self) -> int:
        """Number of worker processes."""
        return self.settings.num_workers or distributed.own_cores()

    @property
    def origin(self) -> Origin:
        """Settings and inputs that the records depend on."""
        settings = {
            **dataclasses.asdict(self.settings.instances),
            "vocab_size": len(self.tokenizer.vocab),
            "do_lower_case": self.settings.do_lower_case,
            "input_file_mode": self.settings.input_file_mode,
            "random_seed": self.settings.random_seed,
            "dupe_factor": self.settings.dupe_factor,
            "output_files": len(self.output_files),
        }
        inputs = (*self.settings.vocabulary.values(), *self.input_files)
        return Origin(settings, {path: files.digest(path) for path in inputs})


def checked_job(settings: RecordSettings) -> Job:
    """Check settings, and find and read the files they name.

    Raises:
      InputError: all problems with the settings and with the files they name.
    """
    problems = Problems()
    tokenizer = problems.result(
        model_folder.load_tokenizer,
        settings.vocab_file,
        settings.spm_model_file,
        settings.do_lower_case,
        ["[CLS]", "[SEP]", "[MASK]"],
    )
    input_files = problems.result(files.matching_files, "input_file", settings.input_file)
    output_files = problems.result(_checked_output_files, settings)
    if settings.max_seq_length < _MIN_SEQ_LENGTH:
        problems.add(
            f"--max_seq_length {settings.max_seq_length} leaves no room for two segments after "
            f"{instances.SPECIAL_TOKENS} special tokens: give {_MIN_SEQ_LENGTH} or more"
        )
    problems.raise_all()
    assert tokenizer is not None
    assert input_files is not None
    assert output_files is not None
    return Job(settings, tokenizer, input_files, output_files)


def _checked_output_files(settings: RecordSettings) -> list[str]:
    """Paths of the record files to write, all of which can be written."""
    if not settings.output_file:
        raise InputError("--output_file is missing: give the record files to write")
    paths = [path.strip() for path in settings.output_file.split(",")]
    if len(set(paths)) < len(paths) or not all(paths):
        raise InputError(
            f"--output_file {settings.output_file}: empty or duplicate file name; give each "
            "file once"
        )
    for path in paths:
        files.check_directory("--output_file", Path(path).parent)
        files.check_file(path)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        manifests.check_own(path)
    return paths


def write_records(job: Job, writers: list[RecordWriter]) -> int:
    """Write the instances of all passes, distributing them over the writers in turn.

    Returns:
      Number of instances.

    Raises:
      InputError: if the text cannot be read or is too short for a single instance.
    """
    settings = job.settings
    with tempfile.TemporaryFile(dir=Path(job.output_files[0]).parent) as file:
        store = BlockStore(file)
        for block in _encoded_blocks(job):
            store.append(block)
        _log_text(job, store)
        maker = InstanceMaker(settings.instances, Vocabulary(job.tokenizer), settings.random_seed)
        tasks = (
            (store.read(block_number), block_number, pass_number)
            for pass_number in range(settings.dupe_factor)
            for block_number in range(len(store))
        )
        made = ordered_map(lambda task: _made_records(maker, *task), tasks, job.num_workers)
        count = _write(made, writers, len(store) * settings.dupe_factor)
    if not count:
        raise InputError(
            f"{settings.input_file}: no document has two sentences or more; put one sentence on a "
            "line, and an empty line between documents"
        )
    return count


class BlockStore:
    """Store of encoded blocks in a file, readable in any order.

    Attributes:
      num_documents: number of documents in all blocks.
      num_single_sentences: number of documents of a single sentence.
      num_pieces: number of pieces.
    """

    def __init__(self, file: BinaryIO):
        """Make an empty store in an open file."""
        self._file = file
        # Of each block: offset in the file, and lengths of its arrays.
        self._layout: list[tuple[int, list[int]]] = []
        self.num_documents = self.num_single_sentences = self.num_pieces = 0

    def __len__(self) -> int:
        return len(self._layout)

    def append(self, block: EncodedBlock) -> None:
        """Add a block."""
        arrays = dataclasses.astuple(block)
        self._layout.append((self._file.tell(), [len(array) for array in arrays]))
        for array in arrays:
            self._file.write(array.tobytes())
        self.num_documents += len(block.document_lengths)
        self.num_single_sentences += block.num_single_sentences
        self.num_pieces += len(block.ids)

    def read(self, number: int) -> EncodedBlock:
        """Read a block by its index, in the order of `append`."""
        start, lengths = self._layout[number]
        self._file.seek(start)
        read = (np.frombuffer(self._file.read(4 * length), np.int32) for length in lengths)
        return EncodedBlock(*read)


def _encoded_blocks(job: Job) -> Iterator[EncodedBlock]:
    """Yield the encoded blocks of the text."""
    settings = job.settings

    def encode(block: Sequence[Sequence[str]]) -> EncodedBlock:
        return EncodedBlock.from_text(block, job.tokenizer, settings.do_lower_case)

    text = instances.read_blocks(job.input_files, strict=settings.input_file_mode == "r")
    blocks = ordered_map(encode, text, job.num_workers)
    return _with_progress(blocks, "reading text", "tokens", lambda block: len(block.ids))


def _log_text(job: Job, store: BlockStore) -> None:
    logging.info(
        "read %d documents with %d tokens from %d files",
        store.num_documents,
        store.num_pieces,
        len(job.input_files),
    )
    if store.num_single_sentences:
        logging.warning(
            "skipped %d documents of a single sentence: they are too short for a pair of segments",
            store.num_single_sentences,
        )


def _made_records(
    maker: InstanceMaker, block: EncodedBlock, block_number: int, pass_number: int
) -> list[bytes]:
    """Build the serialized records of one pass over a block."""
    return [
        record_files.serialize_example(instance.record(maker.settings))
        for instance in maker.block_instances(block.documents, block_number, pass_number)
    ]


def _write(made: Iterable[list[bytes]], writers: Sequence[RecordWriter], num_tasks: int) -> int:
    """Distribute records over the writers in turn, and return their number."""
    count = 0
    in_turn = itertools.cycle(writers)
    for block_records in _with_progress(made, "building records", "records", len, num_tasks):
        for record in block_records:
            next(in_turn).write(record)
        count += len(block_records)
    return count


def _with_progress(
    items: Iterable[Item],
    description: str,
    unit: str,
    size: Callable[[Item], int],
    total: int | None = None,
) -> Iterator[Item]:
    """Yield items, logging progress and rate."""
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
                    description,
                    count,
                    unit,
                    throughput.since_last(count, now),
                    throughput.since_start(count, now),
                    f"; {done} of {total} blocks" if total else "",
                )
                timer.restart(now)
    rate = throughput.since_start(count, time.time())
    logging.info("%s: %d %s, %.0f/s", description, count, unit, rate)

"""Writer of pre-training records from plain text.

The text is read and encoded once. Its ids are kept in a temporary file, and each pass over them
makes another set of pairs and masks.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, Callable, Iterable, Iterator, Sequence, TypeVar

from absl import logging
from tqdm import tqdm

from albert_tf.cli.progress import ReportTimer, Throughput
from albert_tf.cli.settings import settings_of
from albert_tf.devices import distributed
from albert_tf.io import files, locks
from albert_tf.io.errors import InputError
from albert_tf.records import manifests, record_files
from albert_tf.records.manifests import Origin
from albert_tf.records.record_files import RecordWriter
from albert_tf.records.workers import ordered_map
from albert_tf.run_dir import model_folder
from albert_tf.tasks.base import Problems
from albert_tf.tasks.pretraining import instances
from albert_tf.tasks.pretraining.instances import Document, InstanceMaker, Vocabulary
from albert_tf.tasks.pretraining.settings import RecordSettings
from tokenization import FullTokenizer

Item = TypeVar("Item")

_MIN_SEQ_LENGTH = instances.SPECIAL_TOKENS + 2  # one piece in each segment


def make_records(settings: RecordSettings) -> None:
    """Write the record files described by settings, unless they exist already.

    Raises:
      InputError: all problems with the settings and with the files they name.
    """
    tokenizer, input_files, output_files = _checked(settings)
    with contextlib.ExitStack() as stack:
        for path in sorted(output_files):
            lock_path = Path(f"{path}{files.LOCK_SUFFIX}")
            stack.enter_context(locks.only_run(lock_path, path, "give another --output_file"))
        values = {
            name: getattr(settings, name)
            for name, setting in settings_of(RecordSettings).items()
            if setting.declaration.affects_training
        }
        values.update(vocab_size=len(tokenizer.vocab), output_files=len(output_files))
        inputs = (*settings.vocabulary.values(), *input_files)
        origin = Origin(values, {path: files.digest(path) for path in inputs})
        if all([manifests.usable_manifest(path, origin) for path in output_files]):
            return
        with manifests.record_writers(output_files, origin) as writers:
            directory = Path(output_files[0]).parent
            count = _write_records(settings, tokenizer, input_files, writers, directory)
    logging.info("wrote %d records to %s", count, ", ".join(output_files))


def _checked(settings: RecordSettings) -> tuple[FullTokenizer, list[str], list[str]]:
    """Check settings, and return the tokenizer and the paths of the text and record files.

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
    output_files = problems.result(_checked_output_files, settings.output_file)
    if settings.max_seq_length < _MIN_SEQ_LENGTH:
        problems.add(
            f"--max_seq_length {settings.max_seq_length} leaves no room for two segments after "
            f"{instances.SPECIAL_TOKENS} special tokens: give {_MIN_SEQ_LENGTH} or more"
        )
    problems.raise_all()
    assert tokenizer is not None
    assert input_files is not None
    assert output_files is not None
    return tokenizer, input_files, output_files


def _checked_output_files(output_file: str | None) -> list[str]:
    """Paths of the record files to write, all of which can be written."""
    if not output_file:
        raise InputError("--output_file is missing: give the record files to write")
    paths = [path.strip() for path in output_file.split(",")]
    if len(set(paths)) < len(paths) or not all(paths):
        raise InputError(
            f"--output_file {output_file}: empty or duplicate file name; give each file once"
        )
    for path in paths:
        directory = Path(path).parent
        files.check_directory(f"--output_file {directory}", directory)
        files.check_file(path)
        directory.mkdir(parents=True, exist_ok=True)
        manifests.check_own(path)
    return paths


def _write_records(
    settings: RecordSettings,
    tokenizer: FullTokenizer,
    input_files: Sequence[str],
    writers: Sequence[RecordWriter],
    directory: Path,
) -> int:
    """Write the instances of all passes, distributing them over the writers in turn.

    Args:
      settings: settings of the script.
      tokenizer: the tokenizer.
      input_files: paths of the text files.
      writers: writers of the record files.
      directory: directory for a temporary file.

    Returns:
      Number of instances.

    Raises:
      InputError: if the text cannot be read or is too short for a single instance.
    """
    num_workers = settings.num_workers or distributed.own_cores()
    maker = InstanceMaker(settings, Vocabulary(tokenizer))

    def encode(block: Sequence[Sequence[str]]) -> list[Document]:
        return instances.encode(block, tokenizer, settings.do_lower_case)

    def build(task: tuple[bytes, int, int]) -> list[bytes]:
        block, block_number, pass_number = task
        made = maker.block_instances(pickle.loads(block), block_number, pass_number)
        return [record_files.serialize_example(instance.record(settings)) for instance in made]

    with tempfile.TemporaryFile(dir=directory) as file:
        text = instances.read_blocks(input_files, strict=settings.input_file_mode == "r")
        sizes = _store(ordered_map(encode, text, num_workers), file, len(input_files))

        def tasks() -> Iterator[tuple[bytes, int, int]]:
            for pass_number in range(settings.dupe_factor):
                file.seek(0)
                for block_number, size in enumerate(sizes):
                    yield file.read(size), block_number, pass_number

        made = _with_progress(
            ordered_map(build, tasks(), num_workers),
            "building records",
            "records",
            len,
            len(sizes) * settings.dupe_factor,
        )
        count = 0
        for record, writer in zip(itertools.chain.from_iterable(made), itertools.cycle(writers)):
            writer.write(record)
            count += 1
    if not count:
        raise InputError(
            f"{settings.input_file}: no document has two sentences or more; put one sentence on a "
            "line, and an empty line between documents"
        )
    return count


def _store(blocks: Iterable[list[Document]], file: BinaryIO, num_files: int) -> list[int]:
    """Write encoded blocks to a file, and log what the text consists of.

    Returns:
      Size of each block in the file, in bytes.
    """
    sizes = []
    num_documents = num_pieces = num_single_sentences = 0
    for block in _with_progress(blocks, "reading text", "tokens", _num_pieces):
        sizes.append(file.write(pickle.dumps(block)))
        num_documents += len(block)
        num_pieces += _num_pieces(block)
        num_single_sentences += sum(len(document) == 1 for document in block)
    logging.info(
        "read %d documents with %d tokens from %d files", num_documents, num_pieces, num_files
    )
    if num_single_sentences:
        logging.warning(
            "skipped %d documents of a single sentence: they are too short for a pair of segments",
            num_single_sentences,
        )
    return sizes


def _num_pieces(block: Iterable[Document]) -> int:
    return sum(len(sentence) for document in block for sentence in document)


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

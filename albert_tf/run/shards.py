"""This process's shard of a data set, as record files.

The examples of a data set are split into contiguous shards, one per process. Each process converts
its own shard to record files, which are reused while settings and inputs stay the same. Record
files given by the user are assigned whole, or split by records if there are fewer files than
processes.
"""

from __future__ import annotations

import functools
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.devices import distributed
from albert_tf.io import files, json_files, locks
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject
from albert_tf.records import datasets, manifests, record_files
from albert_tf.records.manifests import Manifest, Origin
from albert_tf.records.record_files import RecordFields, RecordWriter
from albert_tf.run.conversion import Chunk, convert
from albert_tf.tasks.base import DataSet, RecordFiles, Task
from albert_tf.tasks.options import TextSettings

InputFn = Callable[[], tf.data.Dataset]

NUMBER = "record_number"  # feature: index of the record in its shard
RUN_NUMBER = "number_in_run"  # feature in training: number of the record, unique in the run
IS_REAL = "is_real_example"  # field: 0 in filler records, which the original writes for TPUs


def digests(settings: TextSettings, inputs: Mapping[str, str]) -> dict[str, str]:
    """Digests of input files and of the vocabulary, by name.

    Args:
      settings: settings with the vocabulary.
      inputs: paths of the input files, by name.
    """
    flag = "spm_model_file" if settings.spm_model_file else "vocab_file"
    paths = {**inputs, flag: getattr(settings, flag)}
    return {name: files.digest(path) for name, path in paths.items() if path}


class ExampleShard:
    """This process's shard of a data set, to be converted from examples to records.

    Attributes:
      task: the task.
      data_set: the whole data set.
      examples: examples of the shard.
      num_records: number of records of the shard; known after `prepare`.
      lengths: number of examples of each length in pieces, before they are cut; known after
        `prepare`, and empty for files of other programs.
    """

    def __init__(self, task: Task, data_set: DataSet):
        """Select the shard; `prepare` writes its files."""
        self.task = task
        self.data_set = data_set
        self.num_records = 0
        self.lengths: Mapping[int, int] = {}
        span = distributed.own_shard(len(data_set.examples))
        self.examples = data_set.examples[span.start : span.stop]
        # Keep the files from being replaced by other runs.
        self._readers: list[locks.Handle] = []
        self._is_prepared = False

    @functools.cached_property
    def paths(self) -> list[str]:
        """Paths of the shard's files."""
        return [path for path in (self._path, self._companion_path) if path]

    @functools.cached_property
    def _path(self) -> str:
        data_set = self.data_set
        if data_set.record_file or not data_set.record_dir:
            return self._own_path(data_set.record_file, data_set.record_name)
        return self._cached_path(data_set.record_dir, data_set.record_name)

    @functools.cached_property
    def _companion_path(self) -> str | None:
        data_set = self.data_set
        if not data_set.companion_name:
            return None
        return self._own_path(data_set.companion_file, data_set.companion_name)

    def _own_path(self, given: str | None, name: str) -> str:
        directory = self.data_set.directory or self.task.settings.output_dir or ""
        return distributed.own_file(given or str(Path(directory) / name))

    def _cached_path(self, directory: str, name: str) -> str:
        """Path in a directory that several runs may share, named after the origin of the records.

        A file with the plain name, made by another program, is used if it fits, and is never
        replaced.
        """
        plain = distributed.own_file(str(Path(directory) / name))
        stem, suffix = os.path.splitext(name)
        named = distributed.own_file(str(Path(directory) / f"{stem}-{self._origin.digest}{suffix}"))
        if Path(named).exists() or not manifests.is_foreign(plain):
            return named
        try:
            record_files.check_first_record(plain, self._fields)
        except InputError as error:
            logging.info("not used: %s", error)
            return named
        return plain

    @property
    def num_examples(self) -> int:
        """Number of examples of the whole data set."""
        return len(self.data_set.examples)

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Identity of the whole data set: digests by input name."""
        return digests(self.task.settings, self.data_set.inputs)

    @functools.cached_property
    def _origin(self) -> Origin:
        settings = {
            **self.task.feature_settings,
            "records_version": self.task.records_version,
            **distributed.shard_setting(),
        }
        if self.data_set.max_examples is not None:
            settings["max_examples"] = self.data_set.max_examples
        return Origin(settings, self.fingerprint)

    def check(self) -> None:
        """Check that the files are there already, or can be written.

        Raises:
          InputError: if a file does not fit the run, or can be neither reused nor written.
        """
        for path in self.paths:
            files.check_is_no_directory(path)
        if self._companion_path:
            manifests.check_own(self._companion_path)
        if manifests.is_foreign(self._path):
            record_files.check_first_record(self._path, self._fields)
            if self.data_set.max_examples is not None:
                raise InputError(
                    f"{self._path}: has no manifest, so it is used whole; leave out "
                    "--max_train_examples and --max_eval_examples, or remove the file to rebuild it"
                )
        elif not manifests.is_made(self.paths, self._origin):
            # Those of flags are checked with their flags.
            directories = (self.task.settings.output_dir, self.data_set.record_dir)
            checked = [Path(directory) for directory in directories if directory]
            for path in self.paths:
                if Path(path).parent not in checked:
                    files.check_can_be_written(path)
                with locks.replacing(Path(path)):
                    pass  # no other run reads it

    def are_made(self) -> bool:
        """Whether the files exist already, so that `prepare` writes none."""
        companions = [self._companion_path] if self._companion_path else []
        if manifests.is_foreign(self._path):
            return manifests.is_made(companions, self._origin)
        return manifests.is_made(self.paths, self._origin)

    def prepare(self) -> None:
        """Write the record files, unless they exist already."""
        if self._is_prepared:
            return
        manifest, companion = self._usable()
        has_companions = companion is not None or not self._companion_path
        first_number = self._first_number(manifest if has_companions else None)
        # Without an origin: another program wrote the file.
        if manifest and (has_companions or not manifest.origin):
            self.num_records = manifest.num_records
            self.lengths = manifest.lengths
            if self._companion_path:
                num_companions = (
                    companion.num_records
                    if companion
                    else self._write_companions(self._companion_path)
                )
                self._check_belong_together(num_companions)
        else:
            self._write(first_number)
        self._is_prepared = True

    def _usable(self) -> tuple[Manifest | None, Manifest | None]:
        """Manifests of the files, or None in place of those that must be made."""
        self._read_alone()
        manifest = manifests.usable_manifest(self._path, self._origin, self._fields)
        if not self._companion_path:
            return manifest, None
        return manifest, manifests.usable_manifest(self._companion_path, self._origin)

    def _read_alone(self) -> None:
        """Keep the files that exist from being replaced by other runs."""
        self._readers = [locks.reading(Path(path)) for path in self.paths if Path(path).exists()]

    def _check_belong_together(self, num_companions: int) -> None:
        if num_companions != self.num_records:
            raise InputError(
                f"{self._path} and {self._companion_path} do not belong together: the first has "
                f"{self.num_records} records, the second {num_companions}; remove both to rebuild "
                "them"
            )

    @property
    def _fields(self) -> RecordFields:
        return self.task.fields(self.data_set)

    def _chunks(self) -> Iterator[Chunk]:
        return convert(self.task, self.data_set, self.examples, self.task.settings.num_workers)

    def _first_number(self, manifest: Manifest | None) -> int:
        """Index of the shard's first record in the data set; 0 if its records are not counted.

        If the record file exists already, its manifest saves counting.
        """
        if not self.task.counter:
            return 0

        def count() -> int:
            if manifest:
                return manifest.num_records
            return sum(len(chunk.records) for chunk in self._chunks())

        return distributed.sum_of_earlier(count)

    def _write(self, first_number: int) -> None:
        """Write the record file, and the companion file if there is one."""
        start, counter = time.time(), self.task.counter
        with self._writers(self.paths) as (writer, *companion_writers):
            for chunk in self._chunks():
                for record in chunk.records:
                    if counter:
                        name, first = counter
                        number = first + first_number + writer.num_records
                        record = record_files.with_number(record, name, number)
                    writer.write(record)
                writer.lengths.update(chunk.lengths)
                for companion_writer in companion_writers:
                    for companion in chunk.companions:
                        companion_writer.write(companion)
        self.num_records = writer.num_records
        self.lengths = writer.lengths
        logging.info(
            "%s: wrote %d records in %.1f s", self._path, self.num_records, time.time() - start
        )

    def _write_companions(self, path: str) -> int:
        with self._writers([path]) as (writer,):
            for chunk in self._chunks():
                for companion in chunk.companions:
                    writer.write(companion)
        return writer.num_records

    @contextmanager
    def _writers(self, paths: Sequence[str]) -> Iterator[list[RecordWriter]]:
        """Write files; afterwards keep them from being replaced by other runs."""
        self._readers = []
        with manifests.record_writers(paths, self._origin) as writers:
            yield writers
        self._read_alone()
        if not manifests.is_made(paths, self._origin):
            raise InputError(
                f"{', '.join(paths)}: replaced by another run at the same time; give each run its "
                "own file"
            )

    def companions(self) -> Iterator[JsonObject | None]:
        """Yield the companion of each record, in order; None if there is no companion file."""
        if not self._companion_path:
            yield from (None for _ in range(self.num_records))
            return
        remedy = "remove the file to rebuild it"
        for number, record in enumerate(record_files.read_records(self._companion_path), 1):
            yield json_files.parse(record, f"{self._companion_path}: record {number}", remedy)

    def check_records(self) -> None:
        """Check all records; `InputError` at the first invalid one."""
        if Path(self._path).exists():
            record_files.check_records(self._path, self._fields)

    def check_answers(self, answers: Sequence[Any]) -> None:
        """Check that there is one answer per example.

        Raises:
          InputError: if the record file, made by another program, has other examples.
        """
        if len(answers) != len(self.examples):
            raise InputError(
                f"{self._path} has {len(answers)} examples, but "
                f"{', '.join(self.data_set.inputs.values())} has {len(self.examples)}; remove the "
                "first to rebuild it"
            )

    def training_dataset(self, start_step: int) -> tf.data.Dataset:
        """Training batches, repeated forever, starting at a global step."""
        _check_enough(self.num_records, [self._path])
        return _training_dataset(
            self.task, self.data_set, [self._path], self.num_records, start_step
        )

    def prediction_dataset(self, lengths: Sequence[int]) -> tf.data.Dataset:
        """Prediction batches with `NUMBER`, padded to some lengths; without, sorted by length."""
        source = (self._path, self._fields, self.data_set.batch_size)
        if not lengths:
            return datasets.sorted_dataset(*source, NUMBER)
        return datasets.bucketed_dataset(*source, lengths, NUMBER)


class FileShard:
    """This process's shard of the record files given by the user.

    Attributes:
      task: the task.
      data_set: the record files.
      paths: paths of all files.
      counts: number of records in each file, by path.
      lengths: empty, as the lengths of the examples are unknown.
    """

    lengths: Mapping[int, int] = {}

    def __init__(self, task: Task, data_set: RecordFiles, known_counts: dict[str, int]):
        """Count the records.

        Args:
          task: the task.
          data_set: the record files.
          known_counts: number of records in each file checked so far, by path; extended here.

        Raises:
          InputError: if a file is truncated, does not fit the settings, or was made with another
            vocabulary than the model's.
        """
        self.task = task
        self.data_set = data_set
        self.paths = data_set.paths
        # Keep the files from being replaced by other processes.
        self._readers = [locks.reading(Path(path)) for path in data_set.paths]
        for path in data_set.paths:
            if path not in known_counts:
                known_counts[path] = _checked_count(task, data_set, path)
        self.counts = {path: known_counts[path] for path in data_set.paths}

    @property
    def num_examples(self) -> int:
        """Number of records to use, over all files."""
        total = sum(self.counts.values())
        return total if self.data_set.max_records is None else min(total, self.data_set.max_records)

    @property
    def examples(self) -> range:
        """Indices of the records to predict, counted over all files."""
        return distributed.own_shard(self.num_examples)

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Identity of the whole data set: name, number of records and size (bytes) of each file.

        Digests of the files would take too long.
        """
        files_read = [
            [Path(path).name, count, Path(path).stat().st_size]
            for path, count in self.counts.items()
        ]
        return {self.data_set.flag: files_read}

    def are_made(self) -> bool:
        """True: the files exist already."""
        return True

    def prepare(self) -> None:
        """Do nothing: the files exist already."""

    def companions(self) -> Iterator[None]:
        """Yield None for each record to predict."""
        return (None for _ in self.examples)

    def check_records(self) -> None:
        """Check all records; `InputError` at the first invalid one."""
        for path in self.paths:
            record_files.check_records(path, self.task.fields(self.data_set))

    def check_answers(self, answers: Sequence[Any]) -> None:
        """Do nothing: the records are the examples."""

    def training_dataset(self, start_step: int) -> tf.data.Dataset:
        """Training batches, repeated forever, starting at a global step."""
        counts = list(self.counts.values())
        if self.data_set.max_records is not None:
            spans = datasets.spans_of(self.examples, counts)
        elif len(counts) >= distributed.size():
            own = set(distributed.own_shard(len(counts)))
            spans = [range(n if number in own else 0) for number, n in enumerate(counts)]
        else:
            spans = datasets.spans_of(distributed.own_shard(sum(counts)), counts)
        span_of = {path: span for path, span in zip(self.counts, spans) if span}
        num_records = sum(map(len, span_of.values()))
        _check_enough(num_records, self.paths)
        logging.info("%d records in %d files", sum(counts), len(counts))
        return _training_dataset(
            self.task,
            self.data_set,
            list(span_of),
            num_records,
            start_step,
            list(span_of.values()),
        )

    def prediction_dataset(self, lengths: Sequence[int]) -> tf.data.Dataset:
        """Prediction batches, padded to the full length, with the feature `NUMBER`."""
        first = self.examples.start

        def prepare(numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            features = self.task.prepare(numbers, features)
            return {**features, NUMBER: tf.cast(numbers - first, tf.int32)}

        return datasets.first_batches(
            self.paths,
            self.task.fields(self.data_set),
            self.data_set.batch_size,
            self.examples,
            prepare,
        )


def _checked_count(task: Task, data_set: RecordFiles, path: str) -> int:
    """Count the records of a file, and check that their ids fit the model's vocabulary."""
    manifest = manifests.checked_manifest(path, task.fields(data_set))
    if task.config:
        made_with = manifest.origin.settings.get("vocab_size") if manifest.origin else None
        ids = record_files.first_values(path, data_set.id_fields)
        largest = max(ids)
        if min(ids) < 0:
            raise InputError(f"{path}: a record has the id {min(ids)}; make the records again")
        if (made_with or largest + 1) > task.config.vocab_size or (
            made_with and made_with != task.config.vocab_size
        ):
            raise InputError(
                f"{path}: the records were made with a vocabulary of "
                f"{made_with or f'at least {largest + 1}'} pieces, but "
                f"{task.settings.albert_config_file} has vocab_size {task.config.vocab_size}; make "
                "the records with the vocabulary of the model"
            )
    return manifest.num_records


def _check_enough(num_records: int, paths: Sequence[str]) -> None:
    if not num_records:
        raise InputError(
            f"{', '.join(paths)}: too few examples to give each process one; start fewer processes"
        )


def _training_dataset(
    task: Task,
    data_set: DataSet | RecordFiles,
    paths: Sequence[str],
    num_records: int,
    start_step: int,
    spans: Sequence[range] | None = None,
) -> tf.data.Dataset:
    settings = task.settings
    micro_batches = settings.gradient_accumulation_steps

    def prepare(numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        unique_numbers = numbers * distributed.size() + distributed.rank()
        features = task.prepare(unique_numbers, features)
        denominators = {
            name: tf.fill(tf.shape(numbers), value / micro_batches)
            for name, value in task.denominators(features).items()
        }
        return {**features, **denominators, RUN_NUMBER: unique_numbers}

    return datasets.training_dataset(
        paths,
        num_records,
        task.fields(data_set),
        settings.train_batch_size,
        skip_records=start_step * settings.train_batch_size,
        parallel=not settings.deterministic_run,
        prepare=prepare,
        micro_batches=micro_batches,
        spans=spans,
        seed=settings.seed,
        # The other ranks wait for the one with the most tokens.
        deal_by_length=distributed.size() > 1 and not settings.compute_padding,
    )


def open_shard(
    task: Task, data_set: DataSet | RecordFiles, known_counts: dict[str, int]
) -> ExampleShard | FileShard:
    """Open this process's shard of a data set.

    Args:
      task: the task.
      data_set: the whole data set.
      known_counts: number of records in each file checked so far, by path; extended here.

    Raises:
      InputError: if the given record files cannot be used.
    """
    if isinstance(data_set, DataSet):
        shard = ExampleShard(task, data_set)
        if task.tokenizer or not task.needs_tokenizer(task.settings):
            shard.check()
        return shard
    return FileShard(task, data_set, known_counts)

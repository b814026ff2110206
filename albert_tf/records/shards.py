"""This process's shard of a split, as record files.

The examples of a split are divided into contiguous shards, one per process. Each process converts
its own shard to record files, named by the digest of their origin. Record files given by the user
are assigned whole, or divided by records if there are fewer files than processes.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence, Union

import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.devices import distributed
from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject
from albert_tf.records import conversion, datasets, manifests, record_files
from albert_tf.records.conversion import Convert
from albert_tf.records.datasets import Prepare
from albert_tf.records.manifests import Origin
from albert_tf.records.record_files import RecordFields
from albert_tf.records.splits import RecordSplit, Split

NUMBER = "record_number"  # feature: index of the record in its shard
FILLER = -1  # number of a row that only fills its batch
RUN_NUMBER = "number_in_run"  # feature in training: number of the record, unique in the run
IS_REAL = "is_real_example"  # field: 0 in filler records, which the original writes for TPUs


class ExampleShard:
    """This process's shard of a split, to be converted from examples to records.

    Attributes:
      split: the whole split.
      fields: fields of the records.
      examples: examples of the shard.
      fingerprint: identity of the whole split: digests by input name.
      num_records: number of records of the shard; known after `prepare`.
    """

    def __init__(
        self,
        split: Split,
        fields: RecordFields,
        convert: Convert,
        settings: Mapping[str, Any],
        vocabulary: Mapping[str, str],
        directory: str,
        num_workers: int,
    ):
        """Select the shard; `prepare` writes its files.

        Args:
          split: the whole split.
          fields: fields of the records.
          convert: conversion of examples to records.
          settings: settings that the records depend on, besides those of the split.
          vocabulary: path of the vocabulary by the name of its flag.
          directory: directory of record files that have no other.
          num_workers: number of processes for the conversion.
        """
        self.split = split
        self.fields = fields
        self._convert = convert
        self._directory = directory
        self._num_workers = num_workers
        span = distributed.own_shard(len(split.examples))
        self.examples = split.examples[span.start : span.stop]
        inputs = {**split.inputs, **vocabulary}
        self.fingerprint = {name: files.digest(path) for name, path in inputs.items()}
        settings = {
            **settings,
            **split.settings,
            "records_version": conversion.VERSION,
            **distributed.shard_setting(),
        }
        if split.max_examples is not None:
            settings["max_examples"] = split.max_examples
        self._origin = Origin(settings, self.fingerprint)
        self.num_records = 0
        self._is_prepared = False

    @functools.cached_property
    def paths(self) -> list[str]:
        """Paths of the record file, and of the companion file if there is one."""
        split = self.split
        paths = [self._path(split.record_name, split.record_file, split.record_dir)]
        if split.companion_name:
            paths.append(self._path(split.companion_name, split.companion_file, None))
        return paths

    def _path(self, name: str, given: str | None, directory: str | None) -> str:
        """Path of a file: the given one, or in a directory, by the digest of the origin.

        A file there with the plain name, made by another program, is used if it fits.
        """
        if given:
            return distributed.own_file(given)
        parent = Path(directory or self._directory)
        stem, suffix = os.path.splitext(name)
        named = distributed.own_file(str(parent / f"{stem}-{self._origin.digest}{suffix}"))
        plain = distributed.own_file(str(parent / name))
        if (
            not Path(named).exists()
            and name == self.split.record_name
            and manifests.is_foreign(plain)
        ):
            try:
                record_files.check_first_record(plain, self.fields)
                return plain
            except InputError as error:
                logging.warning("not used: %s", error)
        return named

    @property
    def num_examples(self) -> int:
        """Number of examples of the whole split."""
        return len(self.split.examples)

    def check(self) -> None:
        """Check that the files are there already, or can be written.

        Raises:
          InputError: if a file does not fit the run, or can be neither reused nor written.
        """
        record_path, *companions = self.paths
        for path in self.paths:
            files.check_file(path)
        for path in companions:
            manifests.check_own(path)
        if manifests.is_foreign(record_path):
            record_files.check_first_record(record_path, self.fields)
            if self.split.max_examples is not None:
                raise InputError(
                    f"{record_path}: has no manifest, so it is used whole; leave out "
                    "--max_train_examples and --max_eval_examples, or remove the file to rebuild it"
                )

    def are_made(self) -> bool:
        """Whether the files exist already, so that `prepare` writes none."""
        return all(
            manifests.is_made(path, self._origin) or manifests.is_foreign(path)
            for path in self.paths
        )

    def prepare(self) -> None:
        """Write the record files, unless they exist already; all processes must call this."""
        if self._is_prepared:
            return
        counts = [self._usable_count(path) for path in self.paths]
        first_number = self._first_number(counts[0])
        if None in counts and manifests.is_foreign(self.paths[0]):
            counts[1] = self._write(self.paths[1:], first_number)
        elif None in counts:
            counts = [self._write(self.paths, first_number)]
        if len(set(counts)) > 1:
            raise InputError(
                f"{' and '.join(self.paths)} do not belong together: the first has {counts[0]} "
                f"records, the second {counts[1]}; remove both to rebuild them"
            )
        self.num_records = counts[0] or 0
        self._is_prepared = True

    def _usable_count(self, path: str) -> int | None:
        """Number of records of a file that can be reused; None if it must be made."""
        if manifests.is_foreign(path):
            return manifests.checked_count(path, self.fields)[0]
        manifest = manifests.usable_manifest(path, self._origin)
        return manifest.num_records if manifest else None

    def _first_number(self, count: int | None) -> int:
        """Index of the shard's first record in the split; 0 if its records are not numbered.

        Args:
          count: number of records of the shard, if its file is there already.
        """
        if not self.split.numbered:
            return 0

        def own_count() -> int:
            return sum(1 for _ in self._converted()) if count is None else count

        return distributed.sum_of_earlier(own_count)

    def _converted(self) -> Iterator[tuple[bytes, bytes]]:
        return conversion.converted(self._convert, self.examples, self._num_workers)

    def _write(self, paths: Sequence[str], first_number: int) -> int:
        """Write the record file and the companion file, or the latter alone; count the records."""
        start = time.time()
        with manifests.record_writers(paths, self._origin) as writers:
            for number, (record, companion) in enumerate(self._converted(), first_number):
                if self.split.numbered:
                    name, first = self.split.numbered
                    record = record_files.with_number(record, name, first + number)
                contents = dict(zip(self.paths, (record, companion)))
                for path, writer in zip(paths, writers):
                    writer.write(contents[path])
        count = writers[0].num_records
        logging.info("%s: wrote %d records in %.1f s", paths[0], count, time.time() - start)
        return count

    def companions(self) -> Iterator[JsonObject | None]:
        """Yield the companion of each record, in order; None if there is no companion file."""
        if len(self.paths) == 1:
            yield from itertools.repeat(None, self.num_records)
            return
        path, remedy = self.paths[1], "remove the file to rebuild it"
        for number, record in enumerate(record_files.read_records(path), 1):
            yield json_files.parse(record, f"{path}: record {number}", remedy)

    def check_records(self) -> None:
        """Check all records, to find the one that ended a run; `InputError` at an invalid one."""
        if Path(self.paths[0]).exists():
            record_files.check_records(self.paths[0], self.fields)

    def check_predictions(self, predictions: Sequence[Any]) -> None:
        """Check that there is one prediction per example.

        Raises:
          InputError: if the record file, made by another program, has other examples.
        """
        if len(predictions) != len(self.examples):
            raise InputError(
                f"{self.paths[0]} has {len(predictions)} examples, but "
                f"{', '.join(self.split.paths)} has {len(self.examples)}; remove the first to "
                "rebuild it"
            )

    def training_spans(self) -> list[tuple[str, range]]:
        """Paths of the files to train on, and the range of records to read from each."""
        return [(self.paths[0], range(self.num_records))]

    def prediction_dataset(
        self, lengths: Sequence[int], prepare: Prepare | None = None
    ) -> tf.data.Dataset:
        """Prediction batches with `NUMBER`, padded to some lengths; without, sorted by length."""
        source = (self.paths[0], self.fields, self.split.batch_size)
        if not lengths:
            return datasets.sorted_dataset(*source, NUMBER)
        return datasets.bucketed_dataset(*source, lengths, NUMBER)


class RecordShard:
    """This process's shard of the record files given by the user.

    Attributes:
      split: the whole split.
      fields: fields of the records.
      paths: paths of all files.
      counts: number of records in each file, by path.
      fingerprint: identity of the whole split: name, number of records and size (bytes) of each
        file. Digests of the files would take too long.
    """

    def __init__(self, split: RecordSplit, fields: RecordFields, vocab_size: int, config_file: str):
        """Count the records of each file, and check that their ids fit the model's vocabulary.

        Args:
          split: the whole split.
          fields: fields of the records.
          vocab_size: number of pieces of the model.
          config_file: path of the model's config, for messages.

        Raises:
          InputError: if a file is truncated, does not fit the settings, or was made with another
            vocabulary than the model's.
        """
        self.split = split
        self.fields = fields
        self.paths = split.paths
        self.counts = {path: self._count(path, vocab_size, config_file) for path in split.paths}
        found = [[Path(p).name, n, Path(p).stat().st_size] for p, n in self.counts.items()]
        self.fingerprint = {split.flag: found}

    def _count(self, path: str, vocab_size: int, config_file: str) -> int:
        count, origin = manifests.checked_count(path, self.fields)
        made_with = origin.settings.get("vocab_size") if origin else None
        ids = record_files.first_values(path, self.split.id_fields)
        if min(ids) < 0:
            raise InputError(f"{path}: a record has the id {min(ids)}; make the records again")
        needed = made_with or max(ids) + 1
        if needed > vocab_size or (made_with and made_with != vocab_size):
            raise InputError(
                f"{path}: the records were made with a vocabulary of "
                f"{made_with or f'at least {needed}'} pieces, but {config_file} has vocab_size "
                f"{vocab_size}; make the records with the vocabulary of the model"
            )
        return count

    @property
    def num_examples(self) -> int:
        """Number of records to use, over all files."""
        total = sum(self.counts.values())
        return total if self.split.max_records is None else min(total, self.split.max_records)

    @property
    def examples(self) -> range:
        """Indices of the records to predict, counted over all files."""
        return distributed.own_shard(self.num_examples)

    @property
    def num_records(self) -> int:
        """Number of records of the shard."""
        return len(self.examples)

    def are_made(self) -> bool:
        """True: the files exist already."""
        return True

    def prepare(self) -> None:
        """Do nothing: the files exist already."""

    def companions(self) -> Iterator[None]:
        """Yield None for each record to predict."""
        return itertools.repeat(None, self.num_records)

    def check_records(self) -> None:
        """Check all records, to find the one that ended a run; `InputError` at an invalid one."""
        for path in self.paths:
            record_files.check_records(path, self.fields)

    def check_predictions(self, predictions: Sequence[Any]) -> None:
        """Do nothing: the records are the examples."""

    def training_spans(self) -> list[tuple[str, range]]:
        """As for `ExampleShard`: whole files if there are enough."""
        counts = list(self.counts.values())
        logging.info("%d records in %d files", sum(counts), len(counts))
        spans = datasets.spans_of(self.examples, counts)
        if self.split.max_records is None and len(counts) >= distributed.size():
            own = distributed.own_shard(len(counts))
            spans = [range(n if number in own else 0) for number, n in enumerate(counts)]
        return [(path, span) for path, span in zip(self.paths, spans) if span]

    def prediction_dataset(
        self, lengths: Sequence[int], prepare: Prepare | None = None
    ) -> tf.data.Dataset:
        """Prediction batches, padded to the full length, with the feature `NUMBER`.

        Args:
          lengths: not used.
          prepare: function applied to the features of each batch.
        """
        first = self.examples.start

        def numbered(numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            features = prepare(numbers, features) if prepare else features
            return {**features, NUMBER: tf.cast(numbers - first, tf.int32)}

        return datasets.first_batches(
            self.paths, self.fields, self.split.batch_size, self.examples, numbered
        )


Shard = Union[ExampleShard, RecordShard]

"""Conversion of examples to serialized records, in chunks, by worker processes."""

from __future__ import annotations

import collections
import itertools
import json
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

from absl import logging
from tqdm import tqdm

from albert_tf.records import record_files
from albert_tf.records.splits import Record, Skipped
from albert_tf.records.workers import ordered_map

VERSION = 1  # of the records; a new one has the files of all tasks made again
_CHUNK = 128  # examples; about 25 ms of work

# From consecutive examples, by their index in the shard, to their records in order. It runs in
# worker processes, without sessions or files of the run.
Convert = Callable[[Mapping[int, Any]], "Iterable[Record | Skipped]"]


def converted(
    function: Convert, examples: Sequence[Any], num_workers: int
) -> Iterator[tuple[bytes, bytes]]:
    """Convert the examples of a shard, and warn of those that are skipped.

    The records do not depend on the number of workers.

    Args:
      function: conversion of consecutive examples.
      examples: examples of the shard.
      num_workers: number of processes.

    Yields:
      Each serialized record, with its companion as JSON, in the order of the examples.
    """
    numbered = iter(enumerate(examples))
    parts = iter(lambda: dict(itertools.islice(numbered, _CHUNK)), {})
    skipped: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
    num_workers = min(num_workers, max(1, -(-len(examples) // _CHUNK)))
    chunks = ordered_map(lambda part: _serialized(function(part)), parts, num_workers)
    with tqdm(desc="making features", total=len(examples), unit=" examples", disable=None) as bar:
        for chunk in chunks:
            for record in chunk:
                if isinstance(record, Skipped):
                    skipped[record.reason].append(record.name)
                else:
                    yield record
            bar.update(min(_CHUNK, len(examples) - bar.n))
    for reason, names in skipped.items():
        logging.warning("skipped %d examples, as %s: %s", len(names), reason, " ".join(names))


def _serialized(records: Iterable[Record | Skipped]) -> list[tuple[bytes, bytes] | Skipped]:
    """Serialize the records of a chunk and their companions, in a worker process."""
    return [
        record
        if isinstance(record, Skipped)
        else (
            record_files.serialize_example(record.values),
            json.dumps(record.companion).encode(),
        )
        for record in records
    ]

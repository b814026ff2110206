"""Conversion of examples to serialized records, in chunks, by worker processes."""

from __future__ import annotations

import collections
import itertools
import json
from dataclasses import dataclass, field
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


@dataclass
class Chunk:
    """Records of consecutive examples.

    Attributes:
      records: serialized records.
      companions: their companions as JSON.
      skipped: examples that could not be converted.
    """

    records: list[bytes] = field(default_factory=list)
    companions: list[bytes] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def converted(function: Convert, examples: Sequence[Any], num_workers: int) -> Iterator[Chunk]:
    """Convert the examples of a shard, and warn of those that are skipped.

    The records do not depend on the number of workers.

    Args:
      function: conversion of consecutive examples.
      examples: examples of the shard.
      num_workers: number of processes.

    Yields:
      The records, in the order of the examples.
    """
    numbered = iter(enumerate(examples))
    parts = iter(lambda: dict(itertools.islice(numbered, _CHUNK)), {})
    skipped: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
    num_workers = min(num_workers, max(1, -(-len(examples) // _CHUNK)))
    chunks = ordered_map(lambda part: _chunk(function(part)), parts, num_workers)
    with tqdm(desc="making features", total=len(examples), unit=" examples", disable=None) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(min(_CHUNK, len(examples) - bar.n))
            for example in chunk.skipped:
                skipped[example.reason].append(example.name)
    for reason, names in skipped.items():
        logging.warning("skipped %d examples, as %s: %s", len(names), reason, " ".join(names))


def _chunk(records: Iterable[Record | Skipped]) -> Chunk:
    """Serialize the records of a chunk, in a worker process."""
    chunk = Chunk()
    for record in records:
        if isinstance(record, Skipped):
            chunk.skipped.append(record)
        else:
            chunk.records.append(record_files.serialize_example(record.values))
            chunk.companions.append(json.dumps(record.companion).encode())
    return chunk

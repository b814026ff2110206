"""Conversion of examples to serialized records, in chunks, by worker processes."""

from __future__ import annotations

import collections
import json
import math
from dataclasses import dataclass, field
from typing import Any, Callable, Counter, Iterable, Iterator, Mapping, Sequence

from absl import logging
from tqdm import tqdm

from albert_tf.devices import distributed
from albert_tf.records import record_files
from albert_tf.records.workers import ordered_map
from albert_tf.tasks.base import DataSet, Skipped, Task

_CHUNK = 128  # examples; about 25 ms of work


@dataclass
class Chunk:
    """Records of consecutive examples.

    Attributes:
      records: serialized records, without their numbers.
      companions: their companions as JSON.
      skipped: examples that could not be converted.
      lengths: number of examples of each length in pieces, before they are cut.
    """

    records: list[bytes] = field(default_factory=list)
    companions: list[bytes] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    lengths: Counter[int] = field(default_factory=collections.Counter)


def convert(
    task: Task, data_set: DataSet, examples: Sequence[Any], num_workers: int = 0
) -> Iterator[Chunk]:
    """Convert the examples of a shard, and warn of those that are skipped.

    The records do not depend on the number of workers.

    Args:
      task: the task.
      data_set: the whole data set.
      examples: examples of the shard.
      num_workers: number of processes; 0 for one on each core of this process.

    Yields:
      The records, in the order of the examples.
    """
    is_cut_anywhere = type(task).belong_together is Task.belong_together
    belong_together = None if is_cut_anywhere else task.belong_together
    most_workers = max(1, math.ceil(len(examples) / _CHUNK))
    num_workers = min(num_workers or distributed.own_cores(), most_workers)
    skipped: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
    read = tqdm(examples, "making features", len(examples), unit=" examples", disable=None)
    chunks = ordered_map(
        lambda chunk: _converted(task, data_set, chunk),
        chunks_of(read, belong_together, _CHUNK),
        num_workers,
    )
    for chunk in chunks:
        yield chunk
        for example in chunk.skipped:
            skipped[example.reason].append(example.name)
    for reason, names in skipped.items():
        logging.warning("skipped %d examples, as %s: %s", len(names), reason, " ".join(names))


def chunks_of(
    examples: Iterable[Any], belong_together: Callable[[Any, Any], bool] | None, size: int
) -> Iterator[dict[int, Any]]:
    """Yield the examples to convert together, by their index, as they are read.

    A chunk has `size` examples or, to keep some together, more.
    """
    chunk: dict[int, Any] = {}
    for number, example in enumerate(examples):
        is_joined = belong_together and chunk and belong_together(chunk[number - 1], example)
        if len(chunk) >= size and not is_joined:
            yield chunk
            chunk = {}
        chunk[number] = example
    if chunk:
        yield chunk


def _converted(task: Task, data_set: DataSet, examples: Mapping[int, Any]) -> Chunk:
    """Convert a chunk, in a worker process."""
    chunk = Chunk()
    for record in task.records(data_set, examples):
        if isinstance(record, Skipped):
            chunk.skipped.append(record)
        else:
            chunk.records.append(record_files.serialize_example(record.values))
            chunk.companions.append(json.dumps(record.companion).encode())
            if record.length is not None:
                chunk.lengths[record.length] += 1
    return chunk

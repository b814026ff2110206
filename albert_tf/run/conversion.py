"""Conversion of examples to serialized records, in chunks, by worker processes."""

from __future__ import annotations

import collections
import json
from dataclasses import dataclass, field
from typing import Any, Callable, Counter, Iterator, Mapping, Sequence

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
    spans = list(chunk_spans(examples, belong_together, _CHUNK))
    num_workers = min(num_workers or distributed.own_cores(), max(1, len(spans)))
    skipped: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
    chunks = ordered_map(
        lambda span: _converted(task, data_set, {number: examples[number] for number in span}),
        spans,
        num_workers,
    )
    with tqdm(desc="making features", total=len(examples), unit=" examples", disable=None) as bar:
        for span, chunk in zip(spans, chunks):
            yield chunk
            bar.update(len(span))
            for example in chunk.skipped:
                skipped[example.reason].append(example.name)
    for reason, names in skipped.items():
        logging.warning("skipped %d examples, as %s: %s", len(names), reason, " ".join(names))


def chunk_spans(
    examples: Sequence[Any], belong_together: Callable[[Any, Any], bool] | None, size: int
) -> Iterator[range]:
    """Yield the ranges of examples to convert together: `size` or, to keep some together, more.

    Without `belong_together` no example is read.
    """
    start = 0
    while start < len(examples):
        end = min(start + size, len(examples))
        while belong_together and end < len(examples):
            if not belong_together(examples[end - 1], examples[end]):
                break
            end += 1
        yield range(start, end)
        start = end


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

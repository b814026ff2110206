"""Summary of a run's data sets for its record: numbers of examples, their lengths and labels."""

from __future__ import annotations

import collections
from typing import Any, Mapping

from albert_tf.devices import distributed
from albert_tf.run.context import Setup
from albert_tf.run.shards import ExampleShard, FileShard

_BINS_UP_TO_LIMIT = 24  # of the histogram of lengths; as many follow


def summaries(setup: Setup) -> list[dict[str, Any]]:
    """Summaries of the training and evaluation sets, as JSON values; all processes must call this.

    A set that is not converted yet has no lengths.
    """
    uses = [("training", shard) for shard in setup.train_shards]
    uses += [("evaluation", shard) for shard in setup.eval_shards]
    return [{"use": use, **_summary(setup, shard)} for use, shard in uses]


def _summary(setup: Setup, shard: ExampleShard | FileShard) -> dict[str, Any]:
    gathered = distributed.gather({str(length): n for length, n in shard.lengths.items()})
    lengths: collections.Counter[int] = collections.Counter()
    for own in gathered:
        lengths.update({int(length): count for length, count in own.items()})
    summary: dict[str, Any] = {}
    if lengths:
        histogram = binned(lengths, setup.settings.max_seq_length)
        summary = {"lengths": {**histogram, "fate": setup.task.fate_of_long_examples}}
    if isinstance(shard, FileShard):
        return {"name": shard.data_set.flag, "examples": sum(shard.counts.values()), **summary}
    labels = setup.task.label_counts(shard.data_set)
    return {
        "name": ", ".join(shard.data_set.inputs.values()),
        "examples": len(shard.data_set.examples),
        **summary,
        **({"labels": labels} if labels else {}),
    }


def binned(lengths: Mapping[int, int], limit: int) -> dict[str, Any]:
    """Histogram of lengths, as JSON values.

    Args:
      lengths: number of examples by length, in pieces; not empty.
      limit: longest input of the model.

    Returns:
      `limit`; `step`, the width of a bin; `counts` of the bins from 0 on, the last of which has all
      examples beyond twice the limit; `median` and `longest`; `longer`, the number of examples
      beyond the limit.
    """
    step = -(-limit // _BINS_UP_TO_LIMIT)
    last = 2 * limit // step
    counts = [0] * (min(max(lengths) // step, last) + 1)
    for length, count in lengths.items():
        counts[min(length // step, last)] += count
    total, passed = sum(lengths.values()), 0
    for median in sorted(lengths):
        passed += lengths[median]
        if 2 * passed >= total:
            break
    longer = sum(count for length, count in lengths.items() if length > limit)
    sizes = {"median": median, "longest": max(lengths), "longer": longer}
    return {"limit": limit, "step": step, "counts": counts, **sizes}

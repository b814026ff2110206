"""Program run by each process in the tests of `distributed` and `optimization`.

See test_horovod.py. Rank 0 writes its results to the directory given as argument.
"""

from __future__ import annotations

from pathlib import Path

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()

import tensorflow.compat.v1 as tf
from absl import app, logging

from albert_tf.cli import log
from albert_tf.devices import distributed, reductions
from albert_tf.io import files
from golden import train_on_golden_rows

# Arguments of `train_on_golden_rows`; some heads have sparse gradients (`IndexedSlices`).
RUNS = [
    ("squad", "adamw", 1, "none"),
    ("squad", "lamb", 2, "none"),
    ("classifier", "adamw", 1, "none"),
    ("pretraining", "lamb", 1, "none"),
    ("pretraining", "adamw", 2, "none"),
    ("squad", "adamw", 1, "fp16"),
]


def main(arguments: list[str]) -> None:
    """Exchange values, and train each model of `RUNS` on this rank's rows."""
    directory = Path(arguments[1])
    tf.logging.set_verbosity(tf.logging.ERROR)
    log.start()
    distributed.initialize(True)
    rank = distributed.rank()
    exchanged = {
        "size": distributed.size(),
        "gathered": distributed.gather({"rank": rank, "text": "ä" * rank}),
        "cores": distributed.gather(distributed.own_cores()),
        "broadcast": distributed.broadcast(f"from {rank}"),
        "sum_of_earlier": distributed.gather(distributed.sum_of_earlier(lambda: rank + 5)),
    }
    if distributed.is_chief():
        files.write_json(directory / "exchanged.json", exchanged)
    for number, (head, optimizer, micro_batches, compression) in enumerate(RUNS):
        rows = distributed.own_shard(4)
        values = train_on_golden_rows(head, optimizer, rows, micro_batches, compression)
        of_all = distributed.gather({name: value.tolist() for name, value in values.items()})
        if distributed.is_chief():
            files.write_json(directory / f"{number}.json", of_all)
    compare_weights(0.0)
    compare_weights(1.0)
    if rank:
        logging.info("not logged")
        logging.warning("two\nlines")
    distributed.wait_for_all()


def compare_weights(drift: float) -> None:
    """Start the ranks with different weights, to be replaced by rank 0's, and let them drift."""
    with tf.Graph().as_default():
        rank = distributed.rank()
        weight = tf.get_variable("weight", initializer=tf.constant([float(rank)]))
        move = tf.assign_add(weight, [drift * rank])
        with tf.train.MonitoredSession(hooks=reductions.training_hooks()) as session:
            session.run(move)


if __name__ == "__main__":
    app.run(main)

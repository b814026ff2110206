"""Worker of `compare.py` for this project: runs of its own training loop and prediction, in turns.

python compare_this.py train|predict flags…, with the flags of `run_squad_v1.py`
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

from albert_tf.cli.launch import launch, load_tensorflow

load_tensorflow()

import numpy as np
import tensorflow.compat.v1 as tf
import turns

from albert_tf.graph.prediction import Predictor
from albert_tf.records import record_files
from albert_tf.run import checks, training
from albert_tf.run.evaluation import Evaluator
from albert_tf.tasks.squad.v1 import SquadV1Task
from run_squad_v1 import Settings

FEATURES = "features.npz"  # in the output directory, for the other worker


class TurnHook(tf.train.SessionRunHook):
    """Session hook that waits for a command before the first step of a turn, and answers it."""

    def __init__(self, context):
        self._context = context
        self._steps = 0  # left in this turn

    def begin(self):
        self._num_tokens = tf.get_default_graph().get_tensor_by_name("num_tokens:0")

    def before_run(self, run_context):
        if not self._steps:
            self._steps = next_command(self._context)["batches"]
            self._tokens, self._turn = 0, turns.Turn()
        return tf.train.SessionRunArgs(self._num_tokens)

    def after_run(self, run_context, run_values):
        self._tokens += int(run_values.results)
        self._steps -= 1
        if not self._steps:
            self._turn.end(self._tokens)


def next_command(context):
    """Wait for a command that takes a turn; carry out those before it."""
    for command in turns.commands():
        if command["do"] == "turn":
            return command
        turns.answer({"features": features_file, "product": product_rate}[command["do"]](context))
    os._exit(0)


def features_file(context):
    """Write the features for the other worker, and return their path and lengths."""
    (shard,) = context.shards
    shard.prepare()
    values = {}
    for record in record_files.read_records(shard.paths[0]):
        features = tf.train.Example.FromString(record).features.feature
        length = sum(features["input_mask"].int64_list.value)
        for name in ("input_ids", "segment_ids"):
            ids = features[name].int64_list.value[:length]
            values.setdefault(name, []).append(np.array(ids, np.int32))
        for name in ("start_positions", "end_positions"):
            if name in features:  # not in those for prediction
                values.setdefault(name, []).extend(features[name].int64_list.value)
    lengths = [len(ids) for ids in values["input_ids"]]
    for name in ("input_ids", "segment_ids"):
        values[name] = np.concatenate(values[name])
    path = str(Path(context.settings.output_dir) / FEATURES)
    np.savez(path, lengths=lengths, **values)
    return {"path": path, "lengths": lengths}


def product_rate(context, size=2048, calls=5):
    """Operations per second of a product of two matrices."""
    dtype = tf.bfloat16 if context.conversion else tf.float32
    with tf.Graph().as_default(), tf.Session() as session:
        factors = [tf.Variable(tf.cast(tf.random.normal([size] * 2), dtype)) for _ in "ab"]
        product = tf.matmul(*factors)
        session.run(tf.global_variables_initializer())
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            session.run(product.op)
            seconds.append(time.perf_counter() - start)
    return 2 * size**3 / float(np.median(seconds))


def train(context, predictor):
    """Train in the run's own loop, in turns."""
    training.train(context, Evaluator(context, predictor), [TurnHook(context)])


def predict(context, predictor):
    """Predict all windows in each turn, from records to answers."""
    (shard,) = context.dev
    while True:
        tokens = next_command(context)["tokens"]
        turn = turns.Turn()
        predictor.predictions(context.init_checkpoint, shard)
        turn.end(tokens)


def main(settings: Settings) -> None:
    """Check the settings like a run, and take turns."""
    with checks.only_run(settings):
        context = checks.check(SquadV1Task, settings)
        predictor = Predictor(
            context.task, context.device, context.conversion, context.length_buckets
        )
        (train if settings.do_train else predict)(context, predictor)


if __name__ == "__main__":
    launch(main, Settings)

"""Trains a minimal task: classification of which of two texts is longer.

python tests/toy_task.py --albert_config_file=… --spm_model_file=… --pairs=pairs.json --do_train …
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # folder of albert_tf

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.cli.settings import setting
from albert_tf.tasks.options import RunSettings

load_tensorflow()

import tensorflow.compat.v1 as tf

import modeling
from albert_tf.records.splits import DEV, TEST, TRAIN, Record, Split, Splits
from albert_tf.run.run import run
from albert_tf.tasks.base import Evaluation, Schedule, Task, sequence_fields
from tokenization import padded_inputs


@dataclass(frozen=True)
class Settings(RunSettings):
    """Pairs of texts, and length of training."""

    pairs: Optional[str] = setting(None, "JSON file with a list of pairs of texts.")
    steps: int = setting(10, "Number of training steps.")


class LongerTextTask(Task):
    """Classification of which of two texts is longer."""

    kind = "longer_text"
    title = "Longer text"

    @classmethod
    def read(cls, settings, artifacts, problems):
        found = {}
        with problems.collected():
            pairs = json.loads(Path(settings.pairs).read_text(encoding="utf-8"))
            for name in (TRAIN, DEV, TEST):
                inputs = {"pairs": settings.pairs}
                found[name] = Split(name, f"{name}.tfrecord", inputs, pairs, batch_size=8)
        train = found.get(TRAIN) if settings.do_train else None
        return Splits(train, [found[DEV]], [found[TEST]]) if found else Splits()

    @property
    def schedule(self):
        return Schedule(steps=self.settings.steps, warmup_proportion=0.1)

    def fields(self, split):
        label = tf.io.FixedLenFeature([], tf.int64)
        return {**sequence_fields(self.settings.max_seq_length), "label": label}

    def records(self, split, examples):
        cls, sep = self.tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
        for first, second in examples.values():
            a, b = (self.tokenizer.ids_of_text(text, True) for text in (first, second))
            segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
            inputs = padded_inputs([cls, *a, sep, *b, sep], segments, self.settings.max_seq_length)
            yield Record({**inputs, "label": [int(len(second) > len(first))]})

    def _logits(self, encoder):
        return modeling.output_layer(encoder.get_pooled_output(), 2)

    def loss(self, encoder, features):
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=features["label"], logits=self._logits(encoder)
            )
        )

    def outputs(self, encoder, features):
        return {"second_is_longer": tf.argmax(self._logits(encoder), axis=-1)}

    def evaluate(self, split, predictions, thresholds):
        chosen = [found["second_is_longer"] for found in predictions]
        if split.name == TEST:
            lines = [f"{pair[number]}\n" for pair, number in zip(split.examples, chosen)]
            return Evaluation({}, {"longer.txt": "".join(lines)})
        truth = [int(len(second) > len(first)) for first, second in split.examples]
        hits = sum(number == label for number, label in zip(chosen, truth))
        return Evaluation({"accuracy": hits / len(truth)})


if __name__ == "__main__":
    launch(lambda settings: run(LongerTextTask, settings), Settings)

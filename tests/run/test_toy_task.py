"""Runs of a minimal task, to show that a new task gets all features of a run."""

from __future__ import annotations

import inspect
import json
import random
import re

import pytest
import tensorflow as tf

import toy_task
from albert_tf.records.record_files import serialize_example
from golden import checkpoint_of
from scripts import (
    SAMPLE_MODEL,
    TINY_CONFIG,
    load,
    run_script,
    succeed,
)

FLAGS = {
    "albert_config_file": TINY_CONFIG,
    "spm_model_file": SAMPLE_MODEL,
    "init_checkpoint": checkpoint_of("pretraining"),
    "max_seq_length": 64,
    "train_batch_size": 8,
    "save_checkpoints_steps": 4,
    "deterministic_run": True,
    "do_train": True,
    "write_report": False,
    "device": "cpu",
}


def make_pairs():
    """Make 60 pairs of texts, of 1 to 12 words each."""
    random_ = random.Random(1)
    words = ["lamp", "tower", "keeper", "the", "sea", "supplies"]
    texts = [" ".join(random_.choices(words, k=random_.randint(1, 12))) for _ in range(120)]
    return [list(pair) for pair in zip(texts[::2], texts[1::2])]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Path of a file with `make_pairs()`."""
    path = tmp_path_factory.mktemp("toy") / "pairs.json"
    path.write_text(json.dumps(make_pairs()))
    return path


def flags(pairs, output_dir, **changes):
    return {**FLAGS, "pairs": pairs, "output_dir": output_dir, **changes}


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory):
    """Output directory and exported model of a finished run of 10 steps."""
    directory = tmp_path_factory.mktemp("finished")
    export_dir = tmp_path_factory.mktemp("exported")
    succeed(run_script("tests/toy_task.py", flags(pairs, directory, export_dir=export_dir)))
    (exported,) = export_dir.iterdir()
    return directory, exported


def test_it_takes_less_than_80_lines():
    source = inspect.getsource(toy_task)
    code = source[source.index("@dataclass") :]
    assert len([line for line in code.splitlines() if line.strip()]) < 80
    knowledge = r"manifest|rank|horovod|static|checkpoint|device"
    assert not re.search(knowledge, inspect.getsource(toy_task.LongerTextTask))


def test_it_trains_evaluates_and_predicts(finished, pairs):
    directory, _ = finished
    results = load(directory / "eval_results.json")
    assert set(results["checkpoints"]) == {"model.ckpt-4", "model.ckpt-8", "model.ckpt-10"}
    answers = (directory / "longer.txt").read_text().splitlines()
    rows = load(pairs)
    assert all(answer in pair for answer, pair in zip(answers, rows))
    hits = sum(answer == max(pair, key=len) for answer, pair in zip(answers, rows))
    # In a tie, the first text counts as the longer one, like with `max`.
    assert results["accuracy"] == pytest.approx(hits / 60, abs=0.02)


def test_it_is_served(finished, pairs, sample_tokenizer):
    directory, exported = finished
    cls, sep = sample_tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    chosen = []
    signature = tf.saved_model.load(str(exported)).signatures["examples:serving_default"]
    for pair in load(pairs):
        a, b = (sample_tokenizer.ids_of_text(text, True) for text in pair)
        ids = [cls, *a, sep, *b, sep]
        values = {
            "input_ids": ids,
            "input_mask": [1] * len(ids),
            "segment_ids": [0] * (len(a) + 2) + [1] * (len(b) + 1),
        }
        outputs = signature(input=tf.constant([serialize_example(values)]))
        chosen.append(pair[outputs["second_is_longer"].numpy()[0]])
    assert chosen == (directory / "longer.txt").read_text().splitlines()

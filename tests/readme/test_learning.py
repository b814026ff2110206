"""Tiny models learn each kind of task: labels and rows are not shifted against each other.

`make test` holds the losses to golden numbers, and has SQuAD and pre-training learn.
"""

from __future__ import annotations

import json

from run.test_toy_task import flags, make_pairs
from scripts import load, run_classifier, run_script, succeed


def test_labels(tmp_path):
    """A tiny model can memorize the training rows, which are those of the dev set too."""
    succeed(
        run_classifier(
            tmp_path,
            do_predict=False,
            train_step=250,
            train_batch_size=5,
            learning_rate=3e-3,
            save_checkpoints_steps=250,
        )
    )
    assert load(tmp_path / "eval_results.json")["accuracy"] == 1.0


def test_a_new_task(tmp_path):
    (tmp_path / "pairs.json").write_text(json.dumps(make_pairs()))
    changes = {"steps": 150, "learning_rate": 3e-3, "save_checkpoints_steps": 150}
    output_dir = tmp_path / "run"
    run_flags = flags(tmp_path / "pairs.json", output_dir, **changes)
    succeed(run_script("tests/toy_task.py", run_flags))
    assert load(output_dir / "eval_results.json")["accuracy"] > 0.9

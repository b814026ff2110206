"""The flags of the scripts and their defaults, on which existing commands rely."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import ROOT

SHARED = {
    "albert_config_file": None,
    "vocab_file": None,
    "spm_model_file": None,
    "init_checkpoint": None,
    "do_lower_case": True,
    "save_checkpoints_steps": 5000,
    "keep_checkpoint_max": 5,
    "iterations_per_loop": 1000,
    "use_einsum": False,
    "use_horovod": False,
    "horovod_compression": "none",
    "enable_scoped_allocator": False,
    "deterministic_run": False,
    "use_tpu": False,
    "tpu_name": None,
    "tpu_zone": None,
    "gcp_project": None,
    "master": None,
    "num_tpu_cores": 8,
    "device": "auto",
    "length_buckets": None,
    "export_dir": None,
    "gradient_accumulation_steps": 1,
    "synapse_logger_start": 100,
}
SQUAD = {
    "do_train": True,
    "do_predict": True,
    "output_dir": str(Path.home() / "tmp"),
    "train_file": None,
    "predict_file": None,
    "train_feature_file": None,
    "predict_feature_file": None,
    "predict_feature_left_file": None,
    "max_seq_length": 384,
    "doc_stride": 128,
    "max_query_length": 64,
    "train_batch_size": 32,
    "predict_batch_size": 8,
    "learning_rate": 5e-5,
    "num_train_epochs": 2.0,
    "train_steps": -1,
    "warmup_proportion": 0.1,
    "n_best_size": 20,
    "max_answer_length": 30,
}


CLASSIFIER = {
    "data_dir": None,
    "task_name": None,
    "cached_dir": None,
    "output_dir": None,
    "do_train": False,
    "do_eval": False,
    "do_predict": False,
    "max_seq_length": 512,
    "train_batch_size": 32,
    "eval_batch_size": 8,
    "predict_batch_size": 8,
    "learning_rate": 5e-5,
    "train_step": 1000,
    "warmup_step": 0,
    "optimizer": "adamw",
    "threshold_to_export": None,
}
PRETRAINING = {
    "input_file": None,
    "eval_file": None,
    "output_dir": None,
    "do_train": True,
    "do_eval": False,
    "max_seq_length": 512,
    "max_predictions_per_seq": 20,
    "train_batch_size": 4096,
    "eval_batch_size": 64,
    "optimizer": "lamb",
    "learning_rate": 0.00176,
    "poly_power": 1.0,
    "num_train_steps": 125000,
    "num_warmup_steps": 3125,
    "start_warmup_step": 0,
    "max_eval_steps": 100,
    "init_from_group0": False,
    "masked_lm_budget": 0,
}
PRETRAINING_DATA = {
    "input_file": None,
    "output_file": None,
    "vocab_file": None,
    "spm_model_file": None,
    "input_file_mode": "r",
    "do_lower_case": True,
    "do_whole_word_mask": True,
    "do_permutation": False,
    "favor_shorter_ngram": True,
    "random_next_sentence": False,
    "max_seq_length": 512,
    "ngram": 3,
    "max_predictions_per_seq": 20,
    "random_seed": 12345,
    "dupe_factor": 40,
    "masked_lm_prob": 0.15,
    "short_seq_prob": 0.1,
    "num_workers": 1,
}
LIST_FLAGS = """
import json, sys
from absl import flags
script = __import__(sys.argv[1])
modules = ("albert_tf.runs.training", script.__name__)
defined = [flag for module in modules for flag in flags.FLAGS.get_flags_for_module(module)]
print(json.dumps({flag.name: flag.default for flag in defined}))
"""


def flags_of(script):
    listed = subprocess.run(
        [sys.executable, "-c", LIST_FLAGS, script],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(listed.stdout)


@pytest.mark.parametrize(
    ("script", "own"),
    [("run_squad_v1", SQUAD), ("run_classifier", CLASSIFIER), ("run_pretraining", PRETRAINING)],
)
def test_flags(script, own):
    assert flags_of(script) == {**SHARED, **own, "save_summary_steps": 100}


def test_flags_of_create_pretraining_data():
    assert flags_of("create_pretraining_data") == PRETRAINING_DATA


def test_scripts_can_be_imported_together():
    """The flags that both have are then those of the last."""
    code = "import run_squad_v1, run_classifier; from absl import flags; print(%s)"
    shown = subprocess.run(
        [sys.executable, "-c", code % "flags.FLAGS['max_seq_length'].default"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout == "512\n"

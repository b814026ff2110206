"""The flags of the scripts and their defaults, on which existing commands rely."""

from __future__ import annotations

from pathlib import Path

from absl import flags

import run_squad_v1
import training

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


def test_flags_of_run_squad_v1():
    expected = {**SHARED, **SQUAD, "save_summary_steps": 100}
    defined = {
        flag.name: flag.default
        for module in (training.__name__, run_squad_v1.__name__)
        for flag in flags.FLAGS.get_flags_for_module(module)
    }
    assert defined == expected

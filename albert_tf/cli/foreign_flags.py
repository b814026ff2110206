"""Flags of other ALBERT and BERT scripts that these scripts do not take, with their substitutes."""

from __future__ import annotations

import re
from typing import Container

_MODEL_FILES = (
    "models of TensorFlow Hub are not read; download the same model with "
    "download/download_pretrained_model.py, and give the flags that it prints (--init_checkpoint, "
    "--albert_config_file, --spm_model_file)"
)
_SQUAD_2 = "a flag of run_squad_v2.py, for questions that may have no answer; leave it out"
_ONLY_SQUAD_2 = "this script is only for SQuAD v2.0; leave it out"
_RACE = "a flag of run_race.py, which trains on RACE; leave it out"

# Flags to use instead, some with a note, by the name of the flag. The first that a script
# has fits it.
_SUBSTITUTES = {
    "bert_config_file": ("albert_config_file",),
    "eval_batch_size": ("predict_batch_size",),
    "eval_file": ("predict_file", "data_dir"),
    "input_file": (
        "train_feature_file, with the path of the record file (for the directory of another "
        "script, <directory>/train.tf_record)",
        "cached_dir, the directory of the record files, which are named <task>_train.tf_record; "
        "missing ones are written",
    ),
    "num_keep_checkpoint": ("keep_checkpoint_max",),
    "num_train_epochs": ("num_train_steps: epochs x records / --train_batch_size",),
    "num_train_steps": ("train_steps", "train_step"),
    "num_warmup_steps": ("warmup_proportion, the share of the steps", "warmup_step"),
    "parallel": ("num_workers, the number of processes",),
    "predict_file": ("data_dir, which has the test set",),
    "train_file": ("data_dir, which has the training set", "input_file"),
    "train_step": ("train_steps", "num_train_steps"),
    "train_steps": ("train_step", "num_train_steps"),
    "warmup_proportion": ("num_warmup_steps, the number of steps",),
    "warmup_step": ("warmup_proportion, the share of the steps", "num_warmup_steps"),
}
_REMEDIES = {
    "albert_hub_module_handle": _MODEL_FILES,
    "dropout_prob": (
        "the dropout of the encoder is set by hidden_dropout_prob in the model's config"
    ),
    "end_n_top": _SQUAD_2,
    "high_only": _RACE,
    "max_qa_length": _RACE,
    "middle_only": _RACE,
    "null_score_diff_threshold": _SQUAD_2,
    "start_n_top": _SQUAD_2,
    "use_one_hot_embeddings": "not needed; leave it out",
    "verbose_logging": "use --verbosity=1",
    "version_2_with_negative": _SQUAD_2,
}


def remedy(name: str, defined: Container[str]) -> str | None:
    """Remedy for a flag of another script.

    Args:
      name: name of the flag, without dashes, with or without the prefix "no" of a false one.
      defined: names of the flags that this script has.

    Returns:
      Clause for the error message, or None if the flag is unknown altogether.
    """
    if name not in {**_SUBSTITUTES, **_REMEDIES} and name.startswith("no"):
        name = name[len("no") :]
    text = _REMEDIES.get(name)
    if name == "version_2_with_negative" and "start_n_top" in defined:
        text = _ONLY_SQUAD_2
    for substitute in _SUBSTITUTES.get(name, ()):
        if text is None and re.split(r"\W", substitute)[0] in defined:
            text = f"use --{substitute}"
    return text and f"this script does not take this flag: {text}"

"""Flags of other ALBERT and BERT scripts that these scripts do not take, with their substitutes."""

from __future__ import annotations

from typing import Container

_MODEL_FILES = (
    "models of TensorFlow Hub are not read; download the same model with "
    "download/download_pretrained_model.py, and give the flags that it prints (--init_checkpoint, "
    "--albert_config_file, --spm_model_file)"
)
_SQUAD_2 = "a flag of run_squad_v2.py, for questions that may have no answer; leave it out"
_RACE = "a flag of run_race.py, which trains on RACE; leave it out"
_OPTIONAL = "not needed; leave it out"

# By the name of the flag: the remedy in a script that has the flag given with it, the first that
# fits; None fits every script.
_REMEDIES: dict[str, tuple[tuple[str | None, str], ...]] = {
    "albert_hub_module_handle": ((None, _MODEL_FILES),),
    "bert_config_file": (("albert_config_file", "use --albert_config_file"),),
    "dropout_prob": (
        (None, "the dropout of the encoder is set by hidden_dropout_prob in the model's config"),
    ),
    "end_n_top": ((None, _SQUAD_2),),
    "eval_file": (("predict_file", "use --predict_file"), ("data_dir", "use --data_dir")),
    "eval_batch_size": (("predict_batch_size", "use --predict_batch_size"),),
    "high_only": ((None, _RACE),),
    "input_file": (
        (
            "train_feature_file",
            "use --train_feature_file, with the path of the record file (for the folder of another "
            "script, <folder>/train.tf_record)",
        ),
        (
            "cached_dir",
            "use --cached_dir, the folder of the record files, which are named "
            "<task>_train.tf_record; they are made where they are missing",
        ),
    ),
    "max_qa_length": ((None, _RACE),),
    "middle_only": ((None, _RACE),),
    "null_score_diff_threshold": ((None, _SQUAD_2),),
    "num_keep_checkpoint": (("keep_checkpoint_max", "use --keep_checkpoint_max"),),
    "num_train_epochs": (
        ("num_train_steps", "use --num_train_steps: epochs x records / --train_batch_size"),
    ),
    "num_train_steps": (
        ("train_steps", "use --train_steps"),
        ("train_step", "use --train_step"),
    ),
    "num_warmup_steps": (
        ("warmup_proportion", "use --warmup_proportion, the share of the steps"),
        ("warmup_step", "use --warmup_step"),
    ),
    "parallel": (("num_workers", "use --num_workers, the number of processes"),),
    "predict_file": (("data_dir", "use --data_dir, which has the test set"),),
    "start_n_top": ((None, _SQUAD_2),),
    "train_file": (
        ("data_dir", "use --data_dir, which has the training set"),
        ("input_file", "use --input_file"),
    ),
    "train_step": (
        ("train_steps", "use --train_steps"),
        ("num_train_steps", "use --num_train_steps"),
    ),
    "train_steps": (
        ("train_step", "use --train_step"),
        ("num_train_steps", "use --num_train_steps"),
    ),
    "use_one_hot_embeddings": ((None, _OPTIONAL),),
    "verbose_logging": ((None, "use --verbosity=1"),),
    "version_2_with_negative": (
        ("start_n_top", "this script is for SQuAD v2.0 alone; leave it out"),
        (None, _SQUAD_2),
    ),
    "warmup_proportion": (("num_warmup_steps", "use --num_warmup_steps, the number of steps"),),
    "warmup_step": (
        ("warmup_proportion", "use --warmup_proportion, the share of the steps"),
        ("num_warmup_steps", "use --num_warmup_steps"),
    ),
}


def remedy(name: str, defined: Container[str]) -> str | None:
    """Remedy for a flag of another script.

    Args:
      name: name of the flag, without dashes; perhaps with the prefix "no" of a false one.
      defined: names of the flags that this script has.

    Returns:
      Clause for the error message, or None if the flag is unknown altogether.
    """
    if name not in _REMEDIES and name.startswith("no"):
        name = name[len("no") :]
    for substitute, text in _REMEDIES.get(name, ()):
        if substitute is None or substitute in defined:
            return f"this script does not take this flag: {text}"
    return None

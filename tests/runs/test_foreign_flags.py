"""Flags of other ALBERT code that the scripts do not take."""

from __future__ import annotations

import pytest

from scripts import run_script


@pytest.mark.parametrize(
    ("script", "flag", "remedy"),
    [
        ("run_squad_v1.py", "albert_hub_module_handle=x", "download_pretrained_model.py"),
        ("run_classifier.py", "albert_hub_module_handle=x", "--init_checkpoint"),
        ("run_squad_v1.py", "input_file=folder", "use --train_feature_file"),
        ("run_classifier.py", "input_file=folder", "use --cached_dir"),
        ("run_classifier.py", "noverbose_logging", "use --verbosity=1"),
        ("run_race.py", "num_keep_checkpoint=3", "use --keep_checkpoint_max"),
        ("run_classifier.py", "max_qa_length=3", "run_race.py"),
        ("run_squad_v1.py", "version_2_with_negative=true", "run_squad_v2.py"),
        ("run_squad_v2.py", "version_2_with_negative=true", "for SQuAD v2.0 alone; leave it out"),
        ("run_squad_v1.py", "start_n_top=5", "run_squad_v2.py"),
    ],
)
def test_what_to_use_is_told(script, flag, remedy):
    result = run_script(script, {}, [f"--{flag}"])
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    name = flag.partition("=")[0]
    assert line.startswith(f"error: --{name}: this script does not take this flag: ")
    assert remedy in line


def test_an_unknown_flag_is_not_guessed():
    result = run_script("run_squad_v1.py", {}, ["--train_batchsize=3"])
    assert result.returncode == 1
    assert "Unknown command line flag 'train_batchsize'" in result.stdout + result.stderr

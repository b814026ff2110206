"""Flags of other ALBERT code that the scripts do not take."""

from __future__ import annotations

import pytest

import run_classifier
import run_squad_v1
import run_squad_v2
from albert_tf.cli.foreign_flags import remedy
from albert_tf.cli.settings import settings_of
from albert_tf.tasks.race.settings import RaceSettings
from scripts import fail, run_script

SQUAD, SQUAD_V2, CLASSIFIER = (
    script.Settings for script in (run_squad_v1, run_squad_v2, run_classifier)
)


@pytest.mark.parametrize(
    ("settings_class", "flag", "expected"),
    [
        (SQUAD, "albert_hub_module_handle", "download_pretrained_model.py"),
        (CLASSIFIER, "albert_hub_module_handle", "--init_checkpoint"),
        (SQUAD, "input_file", "use --train_feature_file"),
        (CLASSIFIER, "input_file", "use --cached_dir"),
        (CLASSIFIER, "noverbose_logging", "use --verbosity=1"),
        (RaceSettings, "num_keep_checkpoint", "use --keep_checkpoint_max"),
        (CLASSIFIER, "max_qa_length", "run_race.py"),
        (SQUAD, "version_2_with_negative", "run_squad_v2.py"),
        (SQUAD_V2, "version_2_with_negative", "only for SQuAD v2.0; leave it out"),
        (SQUAD, "start_n_top", "run_squad_v2.py"),
    ],
)
def test_what_to_use_is_told(settings_class, flag, expected):
    told = remedy(flag, settings_of(settings_class))
    assert told.startswith("this script does not take this flag: ")
    assert expected in told


def test_a_script_tells_it():
    (line,) = fail(run_script("run_squad_v1.py", {}, ["--start_n_top=5"]))
    assert line.startswith(
        "error: --start_n_top: this script does not take this flag: a flag of run_"
    )


def test_an_unknown_flag_is_not_guessed():
    result = run_script("run_squad_v1.py", {}, ["--train_batchsize=3"])
    assert result.returncode == 1
    assert "Unknown command line flag 'train_batchsize'" in result.stdout + result.stderr

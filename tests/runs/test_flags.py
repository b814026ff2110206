"""The flags of the scripts and their defaults; existing commands rely on them."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from absl import flags

import ask
import run_classifier
import run_pretraining
import run_squad_v1
import run_squad_v2
from albert_tf.downloads.settings import DataSetSettings, ModelDownloadSettings
from albert_tf.errors import InputError
from albert_tf.pretraining.settings import RecordSettings
from albert_tf.runs import flags as run_flags
from albert_tf.runs import startup
from albert_tf.runs.help_text import help_text
from albert_tf.runs.settings import TpuSettings, bounds_of, setting
from albert_tf.squad.v1 import SquadV1Task
from scripts import ROOT, fail, run_script

SCRIPTS_WITH_HELP = (
    "run_squad_v1.py",
    "run_squad_v2.py",
    "run_classifier.py",
    "run_pretraining.py",
    "create_pretraining_data.py",
    "ask.py",
    "convert_checkpoint.py",
    "download/download_dataset.py",
    "download/download_pretrained_model.py",
)

SETTINGS_CLASSES = (
    run_squad_v1.Settings,
    run_squad_v2.Settings,
    run_classifier.Settings,
    run_pretraining.Settings,
    RecordSettings,
    ask.Settings,
    ModelDownloadSettings,
    DataSetSettings,
)

SHARED = {
    "albert_config_file": None,
    "vocab_file": None,
    "spm_model_file": None,
    "init_checkpoint": None,
    "prediction_dir": None,
    "dry_run": False,
    "do_lower_case": True,
    "save_checkpoints_steps": 5000,
    "keep_checkpoint_max": 5,
    "iterations_per_loop": 1000,
    "use_einsum": False,
    "use_horovod": False,
    "horovod_compression": "none",
    "enable_scoped_allocator": False,
    "deterministic_run": False,
    "seed": 12345,
    "scale_learning_rate": True,
    "evaluate_after_training": False,
    "early_stopping_evaluations": 0,
    "use_tpu": False,
    "tpu_name": None,
    "tpu_zone": None,
    "gcp_project": None,
    "master": None,
    "num_tpu_cores": 8,
    "device": "auto",
    "num_workers": 0,
    "length_buckets": None,
    "export_dir": None,
    "export_tflite": None,
    "write_report": True,
    "compute_padding": False,
    "tflite_float16": False,
    "gradient_accumulation_steps": 1,
    "max_train_examples": None,
    "max_eval_examples": None,
    "synapse_logger_start": 100,
}
SQUAD = {
    "scale_learning_rate": False,
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
SQUAD_V2 = {
    **SQUAD,
    "do_train": False,
    "do_predict": False,
    "num_train_epochs": 3.0,
    "save_checkpoints_steps": 1000,
    "start_n_top": 5,
    "end_n_top": 5,
    "dropout_prob": 0.1,
    "null_score_diff_threshold": None,
}

CLASSIFICATION = {
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
    "num_train_epochs": None,
    "warmup_step": 0,
    "warmup_proportion": None,
    "optimizer": "adamw",
    "threshold_to_export": None,
}
CLASSIFIER = {
    **CLASSIFICATION,
    "train_file": None,
    "dev_file": None,
    "test_file": None,
    "file_format": None,
    "text_column": None,
    "second_text_column": None,
    "label_column": None,
    "regression": False,
    "dev_share": 0.0,
    "metric": None,
    "class_weights": "none",
    "all_probabilities": False,
}
RACE = {
    **CLASSIFICATION,
    "task_name": "race",
    "train_file": None,
    "eval_file": None,
    "predict_file": None,
    "do_train": True,
    "do_eval": True,
    "max_qa_length": 128,
    "high_only": False,
    "middle_only": False,
    "dropout_prob": 0.1,
    "learning_rate": 1e-5,
    "train_step": 12000,
    "warmup_step": 1000,
    "save_checkpoints_steps": 100,
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
    "num_workers": 0,
}
LIST_FLAGS = """
import json, sys
from absl import flags
from albert_tf.runs import flags as run_flags
script, settings = sys.argv[1:]
settings_class = getattr(__import__(script), settings)
defined = set(flags.FLAGS)
run_flags.define(settings_class)
print(json.dumps({
    "at import": sorted(set(flags.FLAGS) & set(vars(run_flags.read(settings_class))) & defined),
    "defaults": vars(run_flags.read(settings_class)),
    "tensorflow": "tensorflow" in sys.modules,
}))
"""


def flags_of(script, settings="Settings"):
    """Names of the flags defined by importing a script, and the defaults of all its flags."""
    listed = subprocess.run(
        [sys.executable, "-c", LIST_FLAGS, script, settings],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(listed.stdout)


@pytest.mark.parametrize(
    ("script", "settings", "own"),
    [
        ("run_squad_v1", "Settings", SQUAD),
        ("run_squad_v2", "Settings", SQUAD_V2),
        ("run_classifier", "Settings", CLASSIFIER),
        ("run_race", "RaceSettings", RACE),
        ("run_pretraining", "Settings", PRETRAINING),
    ],
)
def test_flags(script, settings, own):
    flags = flags_of(script, settings)
    assert flags["defaults"] == {**SHARED, **own, "save_summary_steps": 100}
    assert not flags["tensorflow"]
    # Existing programs import run_pretraining and set its flags; the others define none.
    expected = sorted(flags["defaults"]) if script == "run_pretraining" else []
    assert flags["at import"] == expected


def test_flags_of_create_pretraining_data():
    flags = flags_of("create_pretraining_data", "RecordSettings")
    assert flags["defaults"] == PRETRAINING_DATA
    assert not flags["tensorflow"]


def test_each_script_has_its_defaults_whichever_defines_a_flag():
    values = flags.FlagValues()
    run_flags.define(run_pretraining.Settings, values)
    run_flags.define(run_squad_v1.Settings, values)
    values(["test", "--learning_rate=1e-3"])
    squad = run_flags.read(run_squad_v1.Settings, values)
    assert (squad.max_seq_length, squad.train_batch_size, squad.learning_rate) == (384, 32, 1e-3)
    pretraining = run_flags.read(run_pretraining.Settings, values)
    assert (pretraining.max_seq_length, pretraining.train_batch_size) == (512, 4096)


@dataclass(frozen=True)
class ToySettings:
    """One setting of each kind."""

    count: int = setting(3, "A number.", lower=1, upper=5)
    share: float = setting(0.5, "A share.", lower=0)
    name: str | None = setting(None, "A name.")
    kind: str = setting("a", "A kind.", choices=("a", "b"))
    is_on: bool = setting(True, "A switch.")
    words: list[str] | None = setting(None, "Some words.")


def read_toy(*arguments):
    values = flags.FlagValues()
    run_flags.define(ToySettings, values)
    values(["test", *arguments])
    return run_flags.read(ToySettings, values)


def test_values_of_each_kind():
    assert read_toy() == ToySettings()
    arguments = ("--count=4", "--share=2", "--name=x", "--kind=b", "--nois_on", "--words=p,q")
    assert read_toy(*arguments) == ToySettings(4, 2.0, "x", "b", False, ["p", "q"])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--count=0", "give a whole number from 1 to 5"),
        ("--count=x", "give a whole number from 1 to 5"),
        ("--count=1.5", "give a whole number from 1 to 5"),
        (f"--count={'9' * 5000}", "give a whole number from 1 to 5"),
        ("--share=-1", "give a number of at least 0"),
        ("--share=nan", "give a number of at least 0"),
        ("--share=inf", "give a number of at least 0"),
        ("--share=", "give a number of at least 0"),
        ("--kind=c", "give one of a, b"),
        ("--is_on=maybe", "give true or false"),
    ],
)
def test_values_out_of_bounds_are_refused(argument, message):
    with pytest.raises(InputError) as error:
        read_toy(argument)
    line = str(error.value)
    assert re.match(f"{argument[:10]}.*: {message}$", line)
    assert len(line) < 200


def test_all_wrong_values_are_reported_at_once():
    with pytest.raises(InputError) as error:
        read_toy("--share=-2", "--kind=c", "--count=6")
    assert str(error.value).splitlines() == [
        "--count=6: give a whole number from 1 to 5",
        "--share=-2: give a number of at least 0",
        "--kind=c: give one of a, b",
    ]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1000000", "1e400", "2147483648"])
def test_every_numeric_flag_refuses_absurd_values(value):
    """All flags of a script at once; those that may be that large or negative are listed."""
    allowed = {
        "size": ("2147483648",),
        "max_size": ("2147483648",),
        "max_unpacked_size": ("2147483648",),
        "random_seed": ("-1000000",),
        "threshold_to_export": ("-1000000", "2147483648"),
        "null_score_diff_threshold": ("-1000000", "2147483648"),
    }
    for settings_class in SETTINGS_CLASSES:
        names = [
            field.name
            for field in dataclasses.fields(settings_class)
            if bounds_of(settings_class, field)
        ]
        values = flags.FlagValues()
        run_flags.define(settings_class, values)
        values(["test", *(f"--{name}={value}" for name in names)])
        with pytest.raises(InputError) as error:
            run_flags.read(settings_class, values)
        refused = {line.partition("=")[0][2:] for line in str(error.value).splitlines()}
        assert refused == {name for name in names if value not in allowed.get(name, ())}


def test_a_run_without_flags_checks_its_settings_too():
    settings = run_squad_v1.Settings(predict_batch_size=2**31, num_train_epochs=-1.0)
    with pytest.raises(InputError) as error:
        startup.check(SquadV1Task, settings)
    assert str(error.value).splitlines() == [
        "--predict_batch_size=2147483648: give a whole number from 1 to 1048576",
        "--num_train_epochs=-1: give a number greater than 0 and of at most 1000000",
    ]


def test_undeclared_fields_are_refused():
    @dataclass
    class Undeclared:
        count: int = 3

    with pytest.raises(TypeError, match="count is not declared by `setting`"):
        run_flags.define(Undeclared, flags.FlagValues())


def test_words_that_are_no_flags_are_refused(tmp_path):
    """absl parses "--do_train false" as a flag and a positional argument."""
    result = run_script("run_squad_v1.py", {"output_dir": tmp_path}, extra=["--do_train", "false"])
    (line,) = fail(result)
    assert line.startswith("error: false: not a flag; join a flag and its value with an equals")


def test_help_needs_no_tensorflow(tmp_path):
    """--help works even if TensorFlow cannot be imported."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text("raise ImportError('loaded')")
    for script in SCRIPTS_WITH_HELP:
        result = run_script(script, {}, extra=["--help"], env={"PYTHONPATH": str(tmp_path)})
        assert result.returncode == 1  # absl's code for --help
        assert result.stdout.count("\n  --") > 5
        assert result.stderr == ""


def shown_flags(text):
    """Names of the flags in a help, by the title of their group."""
    groups = {}
    for line in text.splitlines():
        if re.match(r"\w.*:$", line):
            names = groups[line[:-1]] = []
        elif line.startswith("  --"):
            names.append(re.match(r"  --(\[no\])?(\w+)", line)[2])
    return groups


def test_help_shows_the_flags_in_groups():
    text = help_text(run_squad_v1.Settings, "Fine-tunes.")
    groups = shown_flags(text)
    assert list(groups)[:6] == [
        "Files",
        "Model and text",
        "Training",
        "Evaluation and prediction",
        "Devices",
        "Many cards",
    ]
    assert groups["Files"][:4] == ["train_file", "predict_file", "init_checkpoint", "output_dir"]
    assert groups["Devices"][0] == "device"
    assert groups["Many cards"][0] == "use_horovod"
    assert (
        "\n  --max_seq_length=N\n      Maximum length of the model's input, in pieces. [384]"
        in text
    )
    assert "\n  --device=auto|hpu|gpu|cpu\n" in text
    assert "\n  --[no]do_lower_case\n" in text


@pytest.mark.parametrize("settings_class", SETTINGS_CLASSES)
def test_help_shows_every_flag_that_has_an_effect(settings_class):
    shown = [
        name for names in shown_flags(help_text(settings_class, "")).values() for name in names
    ]
    without_effect = {f.name for f in dataclasses.fields(TpuSettings)} | {"task_name"}
    fields = {field.name for field in dataclasses.fields(settings_class)}
    assert len(shown) == len(set(shown))
    assert fields - without_effect <= set(shown) <= fields
    assert not set(shown) & {field.name for field in dataclasses.fields(TpuSettings)}

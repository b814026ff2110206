"""The flags of the scripts and their defaults; existing commands rely on them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import List, Optional

import make_flags_page
import pytest
from absl import flags

import ask
import run_classifier
import run_pretraining
import run_squad_v1
import run_squad_v2
from albert_tf.cli import flags as run_flags
from albert_tf.cli.help_text import help_text
from albert_tf.cli.settings import setting, settings_of
from albert_tf.downloads.settings import DataSetSettings, ModelDownloadSettings
from albert_tf.io.errors import InputError
from albert_tf.run import checks
from albert_tf.tasks.options import TpuSettings
from albert_tf.tasks.pretraining.settings import RecordSettings
from albert_tf.tasks.squad.v1 import SquadV1Task
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

IMPORTED = """
import importlib, json, sys
from absl import flags
import albert_tf.cli.launch  # defines absl's own
before = set(flags.FLAGS)
importlib.import_module(sys.argv[1])
print(json.dumps([sorted(set(flags.FLAGS) - before), "tensorflow" in sys.modules]))
"""


@pytest.mark.parametrize("script", [name[:-3] for name in SCRIPTS_WITH_HELP if "/" not in name])
def test_scripts_are_imported_without_tensorflow_and_flags(script):
    """Existing programs import run_pretraining and set its flags; the others define none."""
    program = [sys.executable, "-c", IMPORTED, script]
    listed = subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    expected = settings_of(run_pretraining.Settings) if script == "run_pretraining" else ()
    assert json.loads(listed) == [sorted(expected), False]


def test_the_page_of_flags_is_up_to_date():
    """It shows all defaults, on which existing commands rely."""
    assert make_flags_page.PAGE.read_text(encoding="utf-8") == make_flags_page.page(), "make docs"


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
    name: Optional[str] = setting(None, "A name.")
    kind: str = setting("a", "A kind.", choices=("a", "b"))
    is_on: bool = setting(True, "A switch.")
    words: Optional[List[str]] = setting(None, "Some words.")


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
        ("--count=0", "give an integer from 1 to 5"),
        ("--count=x", "give an integer from 1 to 5"),
        ("--count=1.5", "give an integer from 1 to 5"),
        (f"--count={'9' * 5000}", "give an integer from 1 to 5"),
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
        "--count=6: give an integer from 1 to 5",
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
        names = [name for name, setting in settings_of(settings_class).items() if setting.bounds]
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
        checks.check(SquadV1Task, settings)
    assert str(error.value).splitlines() == [
        "--predict_batch_size=2147483648: give an integer from 1 to 1048576",
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
        result = run_script(
            script, {}, extra=["--help"], env={"PYTHONPATH": str(tmp_path)}, fresh=True
        )
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
        "Horovod",
    ]
    assert groups["Files"][:4] == ["train_file", "predict_file", "init_checkpoint", "output_dir"]
    assert groups["Devices"][0] == "device"
    assert groups["Horovod"][0] == "use_horovod"
    assert (
        "\n  --max_seq_length=N\n      Maximum length of the model's input, in tokens. [384]"
        in text
    )
    assert "\n  --device=auto|hpu|gpu|cpu\n" in text
    assert "\n  --[no]do_lower_case\n" in text


@pytest.mark.parametrize("settings_class", SETTINGS_CLASSES)
def test_help_shows_every_flag_that_has_an_effect(settings_class):
    shown = [
        name for names in shown_flags(help_text(settings_class, "")).values() for name in names
    ]
    without_effect = {*settings_of(TpuSettings), "task_name"}
    fields = set(settings_of(settings_class))
    assert len(shown) == len(set(shown))
    assert fields - without_effect <= set(shown) <= fields
    assert not set(shown) & set(settings_of(TpuSettings))

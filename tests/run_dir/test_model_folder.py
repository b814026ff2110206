"""The folder of a model: which flags come from it, and which do not."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

import convert_checkpoint
import run_squad_v1
from albert_tf.io.errors import InputError
from albert_tf.run_dir import model_folder
from run_classifier import Settings as ClassifierSettings
from scripts import SAMPLE_MODEL, TINY_CONFIG

SETTINGS = {"max_seq_length": 96, "do_lower_case": False, "doc_stride": 32, "task_name": "rte"}


def write(directory, tokenizer):
    """Write the files of the sample's model."""
    paths = model_folder.named_files(str(TINY_CONFIG), str(SAMPLE_MODEL), None)
    model_folder.write(directory, paths, tokenizer, SETTINGS, {})


@pytest.fixture
def folder(tmp_path, sample_tokenizer):
    """Folder of a model with a checkpoint; only the name of its index matters here."""
    write(tmp_path, sample_tokenizer)
    (tmp_path / "model.ckpt-4.index").touch()
    return tmp_path


def files_of(folder):
    return {
        "albert_config_file": f"{folder}/albert_config.json",
        "spm_model_file": f"{folder}/30k-clean.model",
        "vocab_file": f"{folder}/30k-clean.vocab",
    }


def squad(**given):
    return model_folder.defaults(run_squad_v1.Settings, given)


def test_the_folder_has_the_model_s_files(folder):
    assert (folder / "albert_config.json").read_bytes() == TINY_CONFIG.read_bytes()
    assert (folder / "30k-clean.model").read_bytes() == SAMPLE_MODEL.read_bytes()
    assert json.loads((folder / "settings.json").read_text()) == {"format": 1, **SETTINGS}
    vocabulary = (folder / "30k-clean.vocab").read_text(encoding="utf-8").splitlines()
    assert vocabulary[:3] == ["<pad>\t0", "<unk>\t0", "[CLS]\t0"]


def test_files_with_the_right_content_stay(folder, sample_tokenizer):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "settings.json").write_text("damaged")
    write(folder, sample_tokenizer)
    changed = [path.name for path in before if path.stat().st_mtime_ns != before[path]]
    assert changed == ["settings.json"]
    content = json.loads((folder / "settings.json").read_text())
    assert content == {"format": 1, **SETTINGS}


@pytest.mark.parametrize("name", ["", "model.ckpt-4", "model.ckpt-4.index"])
def test_prediction_takes_all_settings_of_the_model_it_starts_from(folder, name):
    found = squad(do_train=False, init_checkpoint=str(folder / name))
    assert found == {
        **files_of(folder),
        "max_seq_length": 96,
        "do_lower_case": False,
        "doc_stride": 32,
    }


def test_training_takes_the_files_and_the_case(folder):
    found = squad(do_train=True, init_checkpoint=str(folder))
    assert found == {**files_of(folder), "do_lower_case": False}


def test_given_flags_are_kept(folder):
    given = {"spm_model_file": "other.model", "max_seq_length": 384}
    found = squad(do_train=False, init_checkpoint=str(folder), **given)
    assert found == {
        "albert_config_file": f"{folder}/albert_config.json",
        "do_lower_case": False,
        "doc_stride": 32,
    }


def test_an_output_directory_with_a_model_comes_first(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    found = squad(do_train=False, output_dir=str(folder), init_checkpoint=str(other))
    assert found["max_seq_length"] == 96
    (folder / "model.ckpt-4.index").unlink()  # a run that was killed before its first checkpoint
    assert squad(output_dir=str(folder), init_checkpoint=str(other)) == {}
    assert squad(output_dir=str(folder)) == {}


def test_each_script_takes_the_settings_it_knows(folder):
    given = {"init_checkpoint": str(folder)}
    classifier = model_folder.defaults(ClassifierSettings, given)
    known = {name: value for name, value in SETTINGS.items() if name != "doc_stride"}
    assert classifier == {**files_of(folder), **known}
    converter = model_folder.defaults(convert_checkpoint.Settings, given)
    files = {name: path for name, path in files_of(folder).items() if name != "vocab_file"}
    assert converter == {**files, "do_lower_case": False, "task_name": "rte"}


def test_settings_are_checked_like_flags(folder):
    for content, message in (
        (
            '{"format": 1, "max_seq_length": 0}',
            r"max_seq_length is 0, not an integer from 1 to 65536",
        ),
        ('{"format": 1, "task_name": 3}', "task_name is 3, not text"),
        ('{"format": 7}', "its format is 7, this version of the project reads 1"),
        ("[]", "not"),
    ):
        (folder / "settings.json").write_text(content)
        with pytest.raises(InputError, match=rf"settings\.json.*{message}.*; remove it"):
            model_folder.read_settings(folder, ClassifierSettings)


def test_no_path_comes_from_the_settings(folder):
    (folder / "settings.json").write_text(
        '{"format": 1, "export_dir": "/", "data_dir": "x", "unknown": 1}'
    )
    assert model_folder.read_settings(folder, ClassifierSettings) == {}


def test_a_model_without_settings(folder):
    (folder / "settings.json").unlink()
    assert squad(do_train=False, init_checkpoint=str(folder)) == files_of(folder)
    with pytest.raises(InputError, match=r"settings\.json: cannot read the model's settings"):
        model_folder.read_settings(folder, run_squad_v1.Settings, "export it again")


@dataclass
class WithoutModel:
    """Settings of a script that knows no models."""


def test_scripts_without_models():
    assert model_folder.defaults(WithoutModel, {}) == {}

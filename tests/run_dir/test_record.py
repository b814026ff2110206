"""`run.json`, the settings in the log, and `log.txt`."""

from __future__ import annotations

import platform
import re
import shutil
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from albert_tf.cli.settings import settings_of
from albert_tf.io import files
from albert_tf.run import training
from albert_tf.run.run import carry_out
from run_classifier import Settings as ClassifierSettings
from scripts import (
    CLASSIFIER_FLAGS,
    PRETRAINING_FLAGS,
    load,
    message_of,
    run_classifier,
    succeed,
)
from task_factory import make_context

ONLY_TRAIN = {"do_eval": False, "do_predict": False}


def begin(output_dir, resumed_step=None, **changes):
    """Begin a run on a directory, as if it resumed from the checkpoint of a step."""
    context = make_context("classifier", output_dir, **{**ONLY_TRAIN, **changes})
    checkpoint = None
    if resumed_step is not None:
        checkpoint = f"{output_dir}/model.ckpt-{resumed_step}"
        for path in CLASSIFIER_FLAGS["init_checkpoint"].parent.glob("model.ckpt-best.*"):
            name = path.name.replace("best", str(resumed_step))
            shutil.copy(path, output_dir / name)
    training.add_to_record(context, checkpoint, resumed_step or 0)


def test_an_entry(tmp_path):
    begin(tmp_path, learning_rate=3e-5)
    (entry,) = load(tmp_path / "run.json")["starts"]
    assert entry["settings"]["learning_rate"] == 3e-5
    assert entry["settings"]["seed"] == 12345
    assert entry["schedule"] == {
        "steps": 10,
        "warmup_steps": 0,
        "examples_per_step": 4,
        "peak_learning_rate": 3e-5,
    }
    init_checkpoint = str(CLASSIFIER_FLAGS["init_checkpoint"])
    assert entry["start"] == {
        "step": 0,
        "checkpoint": init_checkpoint,
        "index_sha256": files.digest(f"{init_checkpoint}.index"),
    }
    assert entry["inputs"] == {
        "albert_config_file": files.digest(CLASSIFIER_FLAGS["albert_config_file"]),
        "spm_model_file": files.digest(CLASSIFIER_FLAGS["spm_model_file"]),
        "train.tsv": files.digest(CLASSIFIER_FLAGS["data_dir"] / "MRPC/train.tsv"),
    }
    assert entry["versions"]["python"] == platform.python_version()
    assert {"tensorflow", "numpy", "sentencepiece"} <= set(entry["versions"])
    assert entry["processes"]["servers"] == [platform.node()]
    assert entry["device"].startswith("CPU")


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if "other settings" in r.getMessage()]


def test_what_differs_on_resuming_is_told(tmp_path, caplog):
    begin(tmp_path)
    begin(tmp_path, 4, learning_rate=3e-5, seed=7, keep_checkpoint_max=1, eval_batch_size=2)
    (warning,) = warnings(caplog)
    prefix, _, changes = warning.partition(" was trained with other settings than this run has: ")
    assert prefix == f"{tmp_path}/model.ckpt-4"
    assert changes == "learning_rate is 3e-05, was 5e-05; seed is 7, was 12345"


def test_changed_inputs_are_told(tmp_path, caplog):
    begin(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(CLASSIFIER_FLAGS["albert_config_file"].read_text() + " ")
    begin(tmp_path, 4, albert_config_file=config, train_batch_size=2)
    (warning,) = warnings(caplog)
    assert "train_batch_size is 2, was 4" in warning
    assert "number of examples in a step is 2, was 4" in warning
    assert warning.endswith("; albert_config_file has changed")


def test_the_start_that_has_trained_a_checkpoint_is_compared(tmp_path, caplog):
    begin(tmp_path)
    begin(tmp_path, 4, learning_rate=3e-5)  # killed before the next checkpoint
    begin(tmp_path, 4)
    assert len(warnings(caplog)) == 1
    begin(tmp_path, 8)
    assert len(warnings(caplog)) == 1
    assert [e["start"]["step"] for e in load(tmp_path / "run.json")["starts"]] == [0, 4, 4, 8]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"starts": [{}]}', '{"starts": null}', "\0", "[" * 10**5]
)
def test_a_damaged_file_is_set_aside(tmp_path, caplog, text):
    (tmp_path / "run.json").write_text(text)
    begin(tmp_path)
    (aside,) = tmp_path.glob("run.json.damaged-*")
    assert aside.read_text() == text
    assert f"moved to {aside.name}: {tmp_path}/run.json" in caplog.text
    assert len(load(tmp_path / "run.json")["starts"]) == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output directory and log of a finished run."""
    directory = tmp_path_factory.mktemp("finished")
    log = succeed(run_classifier(directory, **ONLY_TRAIN, learning_rate=3e-5))
    return directory, log


def messages(log):
    return [message_of(line) for line in log.splitlines()]


def test_the_log_is_also_a_file(finished):
    directory, log = finished
    lines = (directory / "log.txt").read_text().splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == messages(log)


def test_changed_settings_and_the_rate_come_first_in_the_log(finished):
    _, log = finished
    told = messages(log)
    first = told.index("settings other than the defaults:")
    last = next(i for i, message in enumerate(told) if message.startswith("training takes"))
    assert first < 3
    assert "  learning_rate=3e-05" in told[first:last]
    assert not [line for line in told[first:last] if line.startswith("  keep_checkpoint_max")]
    assert told[first - 1].startswith("versions: python 3.")
    model, data = told[last - 2 : last]
    assert model == "model: 3 layers of width 32, 19,042 parameters with the head"
    assert data == f"training data: 5 examples of {CLASSIFIER_FLAGS['data_dir']}/MRPC/train.tsv"
    assert (
        told[last] == "training takes 10 steps of 4 examples, with a learning rate of up to 3e-05"
    )


def test_the_last_line_tells_time_and_place(finished):
    directory, log = finished
    last = messages(log)[-1]
    assert re.fullmatch(rf"finished in 0:\d\d:\d\d; all is in {directory}", last)


def test_errors_are_in_the_file_too(finished):
    directory, _ = finished
    result = run_classifier(directory, **ONLY_TRAIN, data_dir=directory)
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    text = (directory / "log.txt").read_text()
    assert text.splitlines()[-1].split(" ", 3)[2:] == ["E", error]
    assert "step 10 of 10" in text  # of the first run


PRETRAINING_CHECKPOINT = PRETRAINING_FLAGS["init_checkpoint"]


@pytest.mark.parametrize(
    ("script", "changes", "variable"),
    [
        # Initial weights and order of the records; dynamic masks; head and dropout.
        ("pretraining", {"init_checkpoint": None}, "bert/embeddings/word_embeddings"),
        ("pretraining", {"masked_lm_budget": 5}, "bert/embeddings/word_embeddings"),
        ("classifier", {"init_checkpoint": PRETRAINING_CHECKPOINT}, "output_weights"),
    ],
)
def test_a_seed_makes_a_run(script, changes, variable, tmp_path, pretraining_records):
    inputs = {"spm_model_file": CLASSIFIER_FLAGS["spm_model_file"]}
    if script == "pretraining":
        inputs.update(input_file=pretraining_records, num_train_steps=2)
    else:
        inputs.update(train_step=2, do_predict=False)

    def trained(name, seed):
        context = make_context(
            script, tmp_path / name, **{**inputs, "do_eval": False, "seed": seed, **changes}
        )
        carry_out(context)
        return tf.train.load_variable(str(tmp_path / name / "model.ckpt-2"), variable)

    one, again, two, three = (
        trained(name, seed) for name, seed in (("1", 1), ("again", 1), ("2", 2), ("3", 3))
    )
    np.testing.assert_allclose(again, one, rtol=1e-5, atol=1e-7)
    for weights, others in ((one, two), (one, three), (two, three)):
        assert np.abs(weights - others).max() > 1e-5


def hparams_in(content):
    """Values in a message of the HParams page."""
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert abs(start.start_time_secs - time.time()) < 1000
    return start.hparams


def test_tensorboard_has_the_settings(finished):
    directory, _ = finished
    values = {}
    for path in directory.glob("events.out.tfevents.*"):
        for event in tf.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == "_hparams_/session_start_info":
                    assert value.metadata.plugin_data.plugin_name == "hparams"
                    values.update(hparams_in(value.metadata.plugin_data.content))
    assert values["learning_rate"].number_value == 3e-5
    assert values["train_batch_size"].number_value == 4
    assert values["task_name"].string_value == "mrpc"
    assert values["do_lower_case"].bool_value is True
    assert set(values) == set(settings_of(ClassifierSettings))

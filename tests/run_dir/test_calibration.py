"""Numbers that belong to a checkpoint."""

from __future__ import annotations

import json
import shutil

import pytest

from albert_tf.run_dir import calibration, checkpoint_files
from golden import checkpoint_of
from scripts import SQUAD_CHECKPOINT

NUMBERS = {"null_score_diff_threshold": -1.5}


@pytest.fixture
def checkpoint(tmp_path):
    """Prefix of a copy of a checkpoint, in a directory of its own."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(SQUAD_CHECKPOINT.parent, folder)
    return str(folder / "model.ckpt-best")


def write(folder, checkpoint, text=None):
    value = calibration.contents(checkpoint_files.digest(checkpoint), NUMBERS)
    (folder / "calibration.json").write_text(text or json.dumps(value))


def test_the_output_directory_comes_before_that_of_the_checkpoint(checkpoint, tmp_path):
    assert calibration.read(checkpoint, str(tmp_path)) == {}
    write(tmp_path / "checkpoint", checkpoint)
    assert calibration.read(checkpoint, str(tmp_path)) == NUMBERS
    assert calibration.read(checkpoint) == NUMBERS
    write(tmp_path, checkpoint_of("classifier"))  # of another checkpoint
    assert calibration.read(checkpoint, str(tmp_path)) == NUMBERS
    write(tmp_path, checkpoint)
    write(tmp_path / "checkpoint", checkpoint_of("classifier"))
    assert calibration.read(checkpoint, str(tmp_path)) == NUMBERS
    assert calibration.read(checkpoint) == {}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2}', '{"format": 1, "checkpoint": 1, "x": "a"}', "[" * 10**5]
)
def test_other_contents_are_not_used(checkpoint, tmp_path, caplog, text):
    write(tmp_path, checkpoint, text or "{")
    assert calibration.read(checkpoint, str(tmp_path)) == {}
    assert "calibration.json: not used, as it was not written by this version" in caplog.text

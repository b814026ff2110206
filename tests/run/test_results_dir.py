"""The directory that the results of a run go to."""

from __future__ import annotations

import re
import shutil

import pytest

from albert_tf.io.errors import InputError
from golden import checkpoint_of
from task_factory import make_context


def put_checkpoint(directory, head):
    for suffix in ("index", "data-00000-of-00001"):
        shutil.copyfile(f"{checkpoint_of(head)}.{suffix}", directory / f"model.ckpt-best.{suffix}")


@pytest.fixture
def trained(tmp_path):
    """Output directory with the best checkpoint of a run."""
    put_checkpoint(tmp_path, "squad")
    return tmp_path


def paths_of(context):
    """Files to predict, without the digests in their names."""
    (shard,) = context.dev
    return [re.sub("-[0-9a-f]{12}[.]", ".", path) for path in shard.paths]


def test_results_of_training_go_to_the_output_directory(tmp_path):
    context = make_context("squad", tmp_path)
    assert str(context.results) == str(tmp_path)
    with pytest.raises(InputError, match="--prediction_dir: results of training go to --output"):
        make_context("squad", tmp_path, prediction_dir=tmp_path / "p")


def test_without_a_training_run_in_it_the_output_directory_is_free(tmp_path):
    context = make_context("squad", tmp_path, do_train=False)
    assert str(context.results) == str(tmp_path)


def test_beside_a_training_run_there_is_a_folder_for_each_file(trained):
    context = make_context("squad", trained, do_train=False)
    folder = trained / "predictions/sample_squad"
    assert str(context.results) == str(folder)
    assert paths_of(context) == [
        str(folder / "predict_features.tfrecord"),
        str(folder / "predict_windows.tfrecord"),
    ]


def test_a_given_directory_is_used(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given") / "answers"
    given = {"do_train": False, "prediction_dir": folder}
    context = make_context(
        "squad", trained, **given, predict_feature_file=trained / "mine.tfrecord"
    )
    assert str(context.results) == str(folder)
    assert paths_of(context) == [
        str(trained / "mine.tfrecord"),
        str(folder / "predict_windows.tfrecord"),
    ]
    folder.mkdir()
    (folder / "file").touch()
    with pytest.raises(InputError, match=r"--prediction_dir .*/file: not a directory"):
        make_context("squad", trained, do_train=False, prediction_dir=folder / "file")


def test_records_of_pretraining_name_their_folder(tmp_path, pretraining_records):
    put_checkpoint(tmp_path, "pretraining")
    context = make_context("pretraining", tmp_path, do_train=False, input_file=pretraining_records)
    assert str(context.results) == str(tmp_path / "predictions/train")

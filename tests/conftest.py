"""Fixtures shared by several test files."""

from __future__ import annotations

import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the tests are about CPUs, whatever the machine has

import pytest
import tensorflow.compat.v1 as tf
from absl import logging

import tokenization
from golden import GOLDEN
from scripts import ROOT, create_pretraining_data, run_squad, succeed

logging.set_verbosity(logging.INFO)  # as in the scripts


def pytest_make_parametrize_id(val, argname):
    """Name long contents by their argument.

    An archive holds the time at which it was made, and pytest-xdist refuses workers whose test
    names differ.
    """
    long = isinstance(val, (bytes, str)) and len(val) > 100
    return argname if long else None


# Groups that take longest, so that no worker begins one when the others are about to end.
_FIRST = ("test_horovod.py", "kills", "test_benchmarks.py", "test_run", "test_examples.py")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in its own hook
def pytest_collection_modifyitems(items):
    """Give the tests of a file to one worker, unless they say otherwise, to share its fixtures."""
    places = {}
    for item in items:
        marker = item.get_closest_marker("xdist_group")
        group = marker.args[0] if marker else str(item.path.relative_to(ROOT / "tests"))
        if not marker:
            item.add_marker(pytest.mark.xdist_group(group))
        places[item] = next((n for n, x in enumerate(_FIRST) if group.startswith(x)), len(_FIRST))
    items.sort(key=places.get)


@pytest.fixture
def graph():
    """A fresh default graph."""
    with tf.Graph().as_default() as graph:
        yield graph


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Path of a SavedModel, exported from the golden checkpoint by run_squad_v1.py."""
    directory = tmp_path_factory.mktemp("exported")
    succeed(run_squad(directory / "run", do_train=False, export_dir=directory / "export"))
    (path,) = (directory / "export").iterdir()
    return path


@pytest.fixture(scope="session")
def sample_tokenizer():
    """Tokenizer of the sample text."""
    return tokenization.FullTokenizer(None, True, str(GOLDEN / "sample/sample.model"))


@pytest.fixture(scope="session")
def sample_model(sample_tokenizer):
    """SentencePiece model of the sample text."""
    return sample_tokenizer.sp_model


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Path of a generated text with 400 documents of five sentences each."""
    directory = tmp_path_factory.mktemp("corpus")
    command = [sys.executable, str(ROOT / "examples/make_squad.py"), str(directory)]
    subprocess.run([*command, "--paragraphs=400", "--heldout=1"], check=True)
    return str(directory / "corpus.txt")


@pytest.fixture(scope="session")
def pretraining_records(tmp_path_factory, corpus):
    """Path of a pre-training record file, made from the generated text."""
    path = tmp_path_factory.mktemp("pretraining_records") / "train"
    succeed(create_pretraining_data(path, input_file=corpus, dupe_factor=1))
    return str(path)


@pytest.fixture(scope="session")
def pretraining_files(tmp_path_factory, corpus):
    """Pattern that matches three pre-training record files."""
    directory = tmp_path_factory.mktemp("records")
    output_files = ",".join(str(directory / f"records-{number}") for number in range(3))
    succeed(create_pretraining_data(output_files, input_file=corpus, dupe_factor=1))
    return str(directory / "records-*")

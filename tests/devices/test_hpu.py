"""Runs and graphs without Habana's package; for those with the package see tests/hpu."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from albert_tf.devices import hpu
from albert_tf.devices.device import current
from scripts import ROOT, fail, run_squad, succeed

NOT_INSTALLED = "habana-tensorflow is not installed (requirements-hpu.txt, on Python 3.10)"


def test_no_package_under_auto(tmp_path):
    log = succeed(run_squad(tmp_path, device="auto", train_steps=2, do_predict=False))
    assert "HPU" not in log  # none was asked for, and none is there
    assert "running on CPU: " in log or "running on GPU: " in log


def test_no_package_under_hpu(tmp_path):
    (line,) = fail(run_squad(tmp_path, device="hpu"))
    assert line == f"error: --device=hpu: {NOT_INSTALLED}; fix that, or run with --device=cpu"
    assert not list(tmp_path.glob("*.tfrecord")), "error before any slow work"


def test_graphs_are_not_for_an_hpu_by_default(graph, monkeypatch):
    monkeypatch.setenv("HABANA_SYNAPSE_LOGGER", "range")
    device = current()
    assert not device.static_shapes
    assert device.training_hooks(profile_start=0) == []
    device.check_shapes({"input_ids": tf.placeholder(tf.int32, [None, None])})


@pytest.mark.parametrize("content", [None, "", "GAUDI2\n"])
def test_card_type(tmp_path, monkeypatch, content):
    path = tmp_path / "device_type"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(hpu, "_CARD_FILE", path)
    assert hpu.card_type() == ("GAUDI2" if content else None)


def test_requirements_agree():
    """HPU requirements equal the common ones for Python 3.10, except for TensorFlow."""

    def needed(name):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        requirements = [Requirement(line) for line in lines if not line.startswith("#")]
        return {
            (requirement.name, requirement.specifier)
            for requirement in requirements
            if not requirement.marker or requirement.marker.evaluate({"python_version": "3.10"})
        }

    common = {pair for pair in needed("requirements.txt") if pair[0] != "tensorflow"}
    assert common <= needed("requirements-hpu.txt")
    assert needed("requirements-hpu.txt") - common == {
        ("tensorflow-cpu", SpecifierSet("==2.15.0")),
        ("habana-tensorflow", SpecifierSet("==1.14.0.493")),
    }

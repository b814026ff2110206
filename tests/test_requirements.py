"""The lock file: it fulfills requirements.txt, and names no server."""

from __future__ import annotations

import re

from packaging.requirements import Requirement

from scripts import ROOT


def requirements(name: str) -> dict[str, Requirement]:
    """Requirements of a file that apply to Python 3.13, by name."""
    lines = [line.partition(" #")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    environment = {"python_version": "3.13"}
    return {r.name: r for r in found if not r.marker or r.marker.evaluate(environment)}


def test_the_lock_file_fulfills_the_requirements():
    locked = requirements("requirements.lock")
    for name, requirement in requirements("requirements.txt").items():
        (pin,) = locked[name].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), name
    assert len(locked) > 20  # also what these need


def test_the_lock_file_names_no_server():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--(extra|index|find)-", text)

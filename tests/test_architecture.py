"""How much of the code a run visits."""

from __future__ import annotations

import json
import subprocess
import sys

from scripts import ROOT, SQUAD_FLAGS, command

# Runs a script, and prints the modules of the package that it has imported.
_PROGRAM = """
import atexit, json, runpy, sys
sys.argv = json.loads(sys.argv[1])
names = lambda: [name for name in sys.modules if name.startswith("albert_tf.")]
atexit.register(lambda: print(json.dumps(names())))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# The network, the devices, the command line and the tools for files, and the task itself.
_NOT_COUNTED = ("nn", "devices", "cli", "io", "tasks.squad")


def test_a_run_visits_few_files(tmp_path):
    """A whole run, with evaluation and report page."""
    flags = {**SQUAD_FLAGS, "output_dir": tmp_path / "run", "train_steps": 2, "write_report": True}
    arguments = [*map(str, command("run_squad_v1.py", flags))][1:]
    program = [sys.executable, "-c", _PROGRAM, json.dumps(arguments)]
    output = subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    packages = {f"albert_tf.{name}" for name in _NOT_COUNTED}
    visited = {
        name
        for name in json.loads(output.splitlines()[-1])
        if not any(f"{name}.".startswith(f"{package}.") for package in packages)
        and (ROOT / f"{name.replace('.', '/')}.py").is_file()
    }
    assert (tmp_path / "run/report.html").exists()
    assert {"albert_tf.run.run", "albert_tf.run_dir.run_dir"} < visited
    assert len(visited) <= 30, sorted(visited)

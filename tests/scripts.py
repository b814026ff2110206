"""Running the scripts the way a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from golden import GOLDEN

ROOT = Path(__file__).parent.parent
TINY_CONFIG = GOLDEN / "tiny_model/albert_config.json"
SAMPLE_MODEL = GOLDEN / "sample/sample.model"
SAMPLE_TRAIN = GOLDEN / "sample/sample_squad_train.json"
SAMPLE_PREDICT = GOLDEN / "sample/sample_squad.json"
SQUAD_CHECKPOINT = GOLDEN / "tiny_model/squad/model.ckpt-best"

SQUAD_FLAGS = {
    "albert_config_file": TINY_CONFIG,
    "spm_model_file": SAMPLE_MODEL,
    "init_checkpoint": SQUAD_CHECKPOINT,
    "train_file": SAMPLE_TRAIN,
    "predict_file": SAMPLE_PREDICT,
    "max_seq_length": 96,
    "doc_stride": 32,
    "max_query_length": 24,
    "train_batch_size": 8,
    "save_checkpoints_steps": 4,
    "device": "cpu",
}


def command(script: str, flags: dict) -> list[str]:
    """The command line of a script; flags with the value None are left out."""
    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    return [sys.executable, str(ROOT / script), *given]


def run_script(script: str, flags: dict, **options) -> subprocess.CompletedProcess:
    """Runs a script to its end; `stderr` of the result is its log."""
    return subprocess.run(
        command(script, flags),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **options.pop("env", {})},
        **options,
    )


def run_squad(output_dir, **flags) -> subprocess.CompletedProcess:
    """Runs run_squad_v1.py on the sample; the flags change those of `SQUAD_FLAGS`."""
    return run_script("run_squad_v1.py", {**SQUAD_FLAGS, "output_dir": output_dir, **flags})


def succeed(result: subprocess.CompletedProcess) -> str:
    """The log of a run that must have ended well."""
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def fail(result: subprocess.CompletedProcess) -> list[str]:
    """The error lines of a run that must have ended with exit code 1 and no traceback."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]

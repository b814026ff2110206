"""Commands in README.md, as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_blocks() -> list[str]:
    """Blocks of commands in README.md, as they are printed."""
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def readme_block(text: str) -> str:
    """Block of README.md with a text."""
    (block,) = [block for block in readme_blocks() if text in block]
    return block


def run_as_printed(commands: str, folder: Path) -> str:
    """Run commands in a folder, in the environment of the tests; return their standard output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = f"set -e\n{commands}"
    environment = {**os.environ, "PATH": path}
    command = ["bash", "-c", script]
    result = subprocess.run(
        command, cwd=folder, check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    return result.stdout

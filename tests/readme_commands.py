"""Commands in README.md, CONTRIBUTING.md and the pages of docs/, as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts import ROOT

_FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in _FILES}


def readme_blocks() -> list[str]:
    """Blocks of commands in all pages, as they are printed."""
    return [b for page in PAGES.values() for b in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]


def readme_block(text: str) -> str:
    """The only block with a text."""
    (block,) = [block for block in readme_blocks() if text in block]
    return block


def commands_of(block: str) -> list[list[str]]:
    """Words of each command in a block, without comments and "…"."""
    text = re.sub(r"(^|\s)#.*", "", block, flags=re.MULTILINE).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := line.replace("…", "").split())]


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

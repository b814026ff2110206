"""Writes docs/flags.md, the flags of all scripts, from the declarations of their settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import ask
import convert_checkpoint
import report
import run_classifier
import run_pretraining
import run_squad_v1
import run_squad_v2
from albert_tf.cli.help_text import default_text
from albert_tf.cli.settings import Group, Setting, grouped, settings_of
from albert_tf.downloads.settings import DataSetSettings, ModelDownloadSettings
from albert_tf.tasks.options import RunSettings
from albert_tf.tasks.pretraining.settings import RecordSettings
from albert_tf.tasks.race.settings import RaceSettings

PAGE = ROOT / "docs/flags.md"

_TRAINING_SCRIPTS = {
    "run_squad_v1.py": run_squad_v1.Settings,
    "run_squad_v2.py": run_squad_v2.Settings,
    "run_classifier.py": run_classifier.Settings,
    "run_race.py": RaceSettings,
    "run_pretraining.py": run_pretraining.Settings,
}
_OTHER_SCRIPTS = {
    "create_pretraining_data.py": RecordSettings,
    "ask.py": ask.Settings,
    "convert_checkpoint.py": convert_checkpoint.Settings,
    "report.py": report.Settings,
    "download/download_pretrained_model.py": ModelDownloadSettings,
    "download/download_dataset.py": DataSetSettings,
}
_HEAD = """# Flags

`--help` shows the flags of a script. Each has the form `--name=value`; a flag that is true or false
may also be given as `--name` or `--noname`. `make docs` writes this page from the declarations in
the code.

All scripts take `--verbosity=1`, which adds date, thread and file to the lines of the log, and the
traceback to errors.
"""
_TRAINING_HEAD = """
## Flags of all training scripts

The scripts that train, `run_*.py`, share these flags. The section of a script lists its own flags,
and the shared ones for which it has another default. `use_tpu` is refused; the other TPU flags of
the original (`iterations_per_loop`, `num_tpu_cores`, `tpu_name`, `tpu_zone`, `gcp_project`,
`master`) are accepted without effect, so existing commands run.
"""


def page() -> str:
    """Text of the page."""
    parts = [_HEAD, _TRAINING_HEAD]
    for group, settings in grouped(RunSettings).items():
        if group is not Group.HIDDEN:
            parts += [f"\n### {group.value}\n\n", *_table(settings)]
    shared = settings_of(RunSettings)
    for script, settings_class in _TRAINING_SCRIPTS.items():
        own = [flag for flag in _shown(settings_class) if flag != shared.get(flag.name)]
        parts += [f"\n## {script}\n\n", *_table(own)]
    for script, settings_class in _OTHER_SCRIPTS.items():
        parts += [f"\n## {script}\n\n", *_table(_shown(settings_class))]
    return "".join(parts)


def _shown(settings_class: type) -> Iterator[Setting]:
    for group, settings in grouped(settings_class).items():
        if group is not Group.HIDDEN:
            yield from settings


def _table(settings: Iterable[Setting]) -> Iterator[str]:
    yield "| flag | default | |\n| --- | --- | --- |\n"
    for setting in settings:
        default = default_text(setting).replace(str(Path.home()), "$HOME")
        text = setting.declaration.help
        if setting.declaration.choices:
            text += f" One of {', '.join(f'`{choice}`' for choice in setting.declaration.choices)}."
        yield f"| `{setting.name}` | {f'`{default}`' if default else ''} | {_escaped(text)} |\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

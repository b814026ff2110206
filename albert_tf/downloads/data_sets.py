"""Download, assembly and checks of SQuAD v1.1 and v2.0, the GLUE tasks and RACE."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Callable, Sequence

from absl import logging

from albert_tf.downloads import archives, fetching
from albert_tf.downloads.settings import DataSetSettings
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.tasks.glue.data import TASKS, GlueTask, find_task, read_examples
from albert_tf.tasks.race.data import LEVELS, find_articles, read_articles
from albert_tf.tasks.squad.data import V1, V2, read_squad

# SHA-256 digests, as published in the loaders of Hugging Face and TensorFlow Datasets.
_SQUAD_FILES = {
    V1: {
        "train-v1.1.json": "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
        "dev-v1.1.json": "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
    },
    V2: {
        "train-v2.0.json": "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002",
        "dev-v2.0.json": "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8",
    },
}
_SQUAD_EVALUATION = "evaluate-v1.1.py"
_RACE_ARCHIVE = "RACE.tar.gz"
_RACE_SHA256 = "b2769cc9fdc5c546a693300eb9a966cec6870bd349fbc44ed5225f8ad33006e5"
_MRPC_TRAIN = "msr_paraphrase_train.txt"
_MRPC_TEST = "msr_paraphrase_test.txt"
_MRPC_DEV_IDS = "mrpc_dev_ids.tsv"
_DIAGNOSTIC = "AX.tsv"
# Archives that are not named like their folder.
_ARCHIVES = {"qnli": "QNLIv2", "qqp": "QQP-clean"}

# Function that fills a data set's folder from files that it downloads to another folder.
_Maker = Callable[[Path, Path, DataSetSettings], None]


def download_data_sets(names: Sequence[str], settings: DataSetSettings) -> list[Path]:
    """Download data sets that do not exist yet.

    Args:
      names: names of data sets; "glue" stands for all GLUE tasks.
      settings: output folder, sources and limits.

    Returns:
      Paths of the folders.

    Raises:
      InputError: if a name is unknown, or a data set cannot be downloaded or is invalid.
    """
    folders = []
    for name, make in [_data_set(name) for name in _names(names)]:
        folder = Path(settings.output_dir) / name
        fetching.make_once(folder, functools.partial(download, make, folder, settings))
        folders.append(folder)
    return folders


def _names(arguments: Sequence[str]) -> list[str]:
    """Expand the command's arguments to names of data sets."""
    if not arguments:
        own = ["squad", "squad-v2", "squad-evaluation", "race"]
        known = ", ".join([*own, *_glue_names()])
        raise InputError(f"name the data sets to download: {known}; or glue for all of its tasks")
    return [
        name
        for argument in arguments
        for name in (_glue_names() if argument.lower() == "glue" else [argument])
    ]


def _glue_names() -> list[str]:
    return [name for name in TASKS if name != "mismnli"]  # same data as mnli


def _data_set(name: str) -> tuple[str, _Maker]:
    """Folder name of a data set, and the function that fills the folder."""
    if name.lower() == "squad":
        return "SQuAD", functools.partial(make_squad, version=V1)
    if name.lower() == "squad-v2":
        return "SQuAD-v2", functools.partial(make_squad, version=V2)
    if name.lower() == "squad-evaluation":
        return "SQuAD-evaluation", make_squad_evaluation
    if name.lower() == "race":
        return "RACE", make_race
    task = find_task(name)
    makers = {"mrpc": make_mrpc, "ax": make_diagnostic}
    return task.folders[0], makers.get(task.name, functools.partial(make_glue, task=task))


def download(make: _Maker, folder: Path, settings: DataSetSettings) -> None:
    """Create the folder of a data set atomically, after downloading and checking all files.

    Downloads go to `<folder>.download`, so that a later call can resume them.

    Args:
      make: function that fills a new folder (first argument) from files that it downloads to
        another folder (second argument).
      folder: path of the data set's folder.
      settings: sources and limits.

    Raises:
      InputError: if the data set cannot be downloaded or is invalid.
    """
    downloads = folder.with_name(f"{folder.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with files.atomic_directory(folder) as temporary:
            make(temporary, downloads, settings)
        shutil.rmtree(downloads)
    except InputError as error:
        _keep_parts(downloads)
        messages = (message.replace(f"{temporary}/", "") for message in error.args)
        raise InputError(*(f"{folder}: {message}" for message in messages)) from error


def _keep_parts(downloads: Path) -> None:
    """Remove complete downloads, as one of them is invalid; keep partial ones to resume."""
    for path in downloads.iterdir():
        if ".part" not in path.suffixes:
            path.unlink()
    if not any(downloads.iterdir()):
        downloads.rmdir()


def _fetch(
    folder_url: str, path: Path, settings: DataSetSettings, sha256: str | None = None
) -> Path:
    """Download the file named like `path` from a folder; return `path`."""
    url = f"{folder_url.rstrip('/')}/{path.name}"
    fetching.fetch(url, path, settings, sha256 if settings.verify_checksums else None)
    return path


def make_squad(folder: Path, downloads: Path, settings: DataSetSettings, version: str) -> None:
    """Download SQuAD v1.1 or v2.0: training and dev questions."""
    for name, sha256 in _SQUAD_FILES[version].items():
        path = _fetch(settings.squad_url, downloads / name, settings, sha256)
        read_squad(str(path), for_training=False, version=version)
    for name in _SQUAD_FILES[version]:
        (downloads / name).rename(folder / name)


def make_squad_evaluation(folder: Path, downloads: Path, settings: DataSetSettings) -> None:
    """Download the official evaluation script of SQuAD v1.1."""
    path = downloads / _SQUAD_EVALUATION
    fetching.fetch(settings.squad_evaluation_url, path, settings)
    path.rename(folder / path.name)


def make_race(folder: Path, downloads: Path, settings: DataSetSettings) -> None:
    """Download RACE, after a notice of its license."""
    logging.warning(
        "RACE may be used for non-commercial research only; its passages belong to others: see %s",
        settings.race_url.rpartition("/")[0],
    )
    archive = downloads / _RACE_ARCHIVE
    sha256 = _RACE_SHA256 if settings.verify_checksums else None
    fetching.fetch(settings.race_url, archive, settings, sha256)
    archives.unpack(archive, folder, settings.max_unpacked_size)
    for split in ("train", "dev", "test"):
        paths = find_articles(str(folder), split, LEVELS)
        for level, path in zip(LEVELS, paths.values()):
            read_articles(path, level, needs_answers=True)


def make_glue(folder: Path, downloads: Path, settings: DataSetSettings, task: GlueTask) -> None:
    """Download a GLUE task that is published as an archive."""
    name = f"{_ARCHIVES.get(task.name, task.folders[0])}.zip"
    archive = _fetch(settings.glue_url, downloads / name, settings)
    archives.unpack(archive, folder, settings.max_unpacked_size)
    _check_glue(folder, task)


def make_diagnostic(folder: Path, downloads: Path, settings: DataSetSettings) -> None:
    """Download the GLUE diagnostic set."""
    task = TASKS["ax"]
    path = _fetch(settings.glue_url, downloads / _DIAGNOSTIC, settings)
    path.rename(folder / task.test_files[0])
    _check_glue(folder, task)


def make_mrpc(folder: Path, downloads: Path, settings: DataSetSettings) -> None:
    """Download the paraphrase corpus and split it into the files of MRPC.

    The dev set consists of the training pairs in a published list of ids. Rows are copied byte for
    byte, but in the test set a row number replaces the label.
    """
    train = _fetch(settings.mrpc_url, downloads / _MRPC_TRAIN, settings)
    test = _fetch(settings.mrpc_url, downloads / _MRPC_TEST, settings)
    ids = _fetch(settings.glue_url, downloads / _MRPC_DEV_IDS, settings)
    dev_ids = {tuple(line.split(b"\t")) for line in _lines(ids)}
    header, *rows = _lines(train)
    splits = {"train.tsv": [header], "dev.tsv": [header]}
    for row in rows:
        pair = tuple(row.split(b"\t")[1:3])
        splits["dev.tsv" if pair in dev_ids else "train.tsv"].append(row)
    _, *rows = _lines(test)
    splits["test.tsv"] = [b"index\t#1 ID\t#2 ID\t#1 String\t#2 String"]
    for number, row in enumerate(rows):
        splits["test.tsv"].append(b"\t".join([b"%d" % number, *row.split(b"\t")[1:]]))
    for name, lines in splits.items():
        (folder / name).write_bytes(b"\n".join([*lines, b""]))
    if len(splits["dev.tsv"]) != len(dev_ids) + 1:
        raise InputError(
            f"{_MRPC_DEV_IDS} lists {len(dev_ids)} pairs, but {_MRPC_TRAIN} has "
            f"{len(splits['dev.tsv']) - 1} of them; check --glue_url and --mrpc_url"
        )
    _check_glue(folder, TASKS["mrpc"])


def _lines(path: Path) -> list[bytes]:
    """Non-empty lines of a file as bytes, without surrounding white space."""
    lines = [line.strip() for line in path.read_bytes().split(b"\n")]
    if not any(lines):
        raise InputError(f"{path.name}: the file is empty; check its source")
    return [line for line in lines if line]


def _check_glue(folder: Path, task: GlueTask) -> None:
    """Check all files of a task by reading them as training and prediction do."""
    for split in ("train", "dev", "test"):
        for file in task.files(split):
            read_examples(str(folder / file), task, split)

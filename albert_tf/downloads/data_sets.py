"""Download, assembly and checks of SQuAD v1.1 and v2.0, the GLUE tasks and RACE."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Callable, Mapping, Sequence

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
# Archives that are not named like their directory.
_ARCHIVES = {"qnli": "QNLIv2", "qqp": "QQP-clean"}

# Function that fills a dataset's directory from files that it downloads to another directory.
_Maker = Callable[[Path, Path, DataSetSettings], None]


def download_data_sets(names: Sequence[str], settings: DataSetSettings) -> list[Path]:
    """Download datasets that do not exist yet.

    Args:
      names: names of datasets; "glue" stands for all GLUE tasks.
      settings: output directory, sources and limits.

    Returns:
      Paths of the directories.

    Raises:
      InputError: if a name is unknown, or a dataset cannot be downloaded or is invalid.
    """
    directories = []
    for name, make in [_data_set(name) for name in _names(names)]:
        directory = Path(settings.output_dir) / name
        fetching.make_once(directory, functools.partial(download, make, directory, settings))
        directories.append(directory)
    return directories


def _names(arguments: Sequence[str]) -> list[str]:
    """Expand the command's arguments to names of datasets."""
    if not arguments:
        known = ", ".join([*_OTHERS, *_glue_names()])
        raise InputError(f"name the datasets to download: {known}; or glue for all of its tasks")
    return [
        name
        for argument in arguments
        for name in (_glue_names() if argument.lower() == "glue" else [argument])
    ]


def _glue_names() -> list[str]:
    return [name for name in TASKS if name != "mismnli"]  # same data as mnli


def _data_set(name: str) -> tuple[str, _Maker]:
    """Directory name of a dataset, and the function that fills the directory."""
    if name.lower() in _OTHERS:
        return _OTHERS[name.lower()]
    task = find_task(name)
    makers = {"mrpc": make_mrpc, "ax": make_diagnostic}
    return task.folders[0], makers.get(task.name, functools.partial(make_glue, task=task))


def download(make: _Maker, directory: Path, settings: DataSetSettings) -> None:
    """Create the directory of a dataset atomically, after downloading and checking all files.

    Downloads go to `<directory>.download`, so that a later call can resume them.

    Args:
      make: function that fills a new directory (first argument) from files that it downloads to
        another directory (second argument).
      directory: path of the dataset's directory.
      settings: sources and limits.

    Raises:
      InputError: if the dataset cannot be downloaded or is invalid.
    """
    downloads = directory.with_name(f"{directory.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with files.atomic_directory(directory) as temporary:
            make(temporary, downloads, settings)
        shutil.rmtree(downloads)
    except InputError as error:
        # One of the complete downloads is invalid; partial ones can be resumed.
        for path in downloads.iterdir():
            if ".part" not in path.suffixes:
                path.unlink()
        if not any(downloads.iterdir()):
            downloads.rmdir()
        messages = (message.replace(f"{temporary}/", "") for message in error.args)
        raise InputError(*(f"{directory}: {message}" for message in messages)) from error


def _fetch(
    directory_url: str, path: Path, settings: DataSetSettings, sha256: str | None = None
) -> Path:
    """Download the file named like `path` from a directory; return `path`."""
    url = f"{directory_url.rstrip('/')}/{path.name}"
    fetching.fetch(url, path, settings, sha256 if settings.verify_checksums else None)
    return path


def make_squad(directory: Path, downloads: Path, settings: DataSetSettings, version: str) -> None:
    """Download SQuAD v1.1 or v2.0: training and dev questions."""
    for name, sha256 in _SQUAD_FILES[version].items():
        path = _fetch(settings.squad_url, downloads / name, settings, sha256)
        read_squad(str(path), for_training=False, version=version)
    for name in _SQUAD_FILES[version]:
        (downloads / name).rename(directory / name)


def make_squad_evaluation(directory: Path, downloads: Path, settings: DataSetSettings) -> None:
    """Download the official evaluation script of SQuAD v1.1."""
    path = downloads / _SQUAD_EVALUATION
    fetching.fetch(settings.squad_evaluation_url, path, settings)
    path.rename(directory / path.name)


def make_race(directory: Path, downloads: Path, settings: DataSetSettings) -> None:
    """Download RACE, after a notice of its license."""
    logging.warning(
        "RACE may be used for non-commercial research only; its passages belong to others: see %s",
        settings.race_url.rpartition("/")[0],
    )
    archive = downloads / _RACE_ARCHIVE
    sha256 = _RACE_SHA256 if settings.verify_checksums else None
    fetching.fetch(settings.race_url, archive, settings, sha256)
    archives.unpack(archive, directory, settings.max_unpacked_size)
    for split in ("train", "dev", "test"):
        paths = find_articles(str(directory), split, LEVELS)
        for level, path in zip(LEVELS, paths.values()):
            read_articles(path, level, needs_answers=True)


# Directory name, and the function that fills the directory, of each dataset that is no GLUE task.
_OTHERS: Mapping[str, tuple[str, _Maker]] = {
    "squad": ("SQuAD", functools.partial(make_squad, version=V1)),
    "squad-v2": ("SQuAD-v2", functools.partial(make_squad, version=V2)),
    "squad-evaluation": ("SQuAD-evaluation", make_squad_evaluation),
    "race": ("RACE", make_race),
}


def make_glue(directory: Path, downloads: Path, settings: DataSetSettings, task: GlueTask) -> None:
    """Download a GLUE task that is published as an archive."""
    name = f"{_ARCHIVES.get(task.name, task.folders[0])}.zip"
    archive = _fetch(settings.glue_url, downloads / name, settings)
    archives.unpack(archive, directory, settings.max_unpacked_size)
    _check_glue(directory, task)


def make_diagnostic(directory: Path, downloads: Path, settings: DataSetSettings) -> None:
    """Download the GLUE diagnostic set."""
    task = TASKS["ax"]
    path = _fetch(settings.glue_url, downloads / _DIAGNOSTIC, settings)
    path.rename(directory / task.test_files[0])
    _check_glue(directory, task)


def make_mrpc(directory: Path, downloads: Path, settings: DataSetSettings) -> None:
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
        (directory / name).write_bytes(b"\n".join([*lines, b""]))
    if len(splits["dev.tsv"]) != len(dev_ids) + 1:
        raise InputError(
            f"{_MRPC_DEV_IDS} lists {len(dev_ids)} pairs, but {_MRPC_TRAIN} has "
            f"{len(splits['dev.tsv']) - 1} of them; check --glue_url and --mrpc_url"
        )
    _check_glue(directory, TASKS["mrpc"])


def _lines(path: Path) -> list[bytes]:
    """Non-empty lines of a file as bytes, without surrounding white space."""
    lines = [line.strip() for line in path.read_bytes().split(b"\n")]
    if not any(lines):
        raise InputError(f"{path.name}: the file is empty; check its source")
    return [line for line in lines if line]


def _check_glue(directory: Path, task: GlueTask) -> None:
    """Check all files of a task by reading them as training and prediction do."""
    for split in ("train", "dev", "test"):
        for file in task.files(split):
            read_examples(str(directory / file), task, split)

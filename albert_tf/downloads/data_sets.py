"""Download, assembly and checks of SQuAD v1.1 and v2.0, the GLUE tasks and RACE."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from absl import logging

from albert_tf.downloads import archives, fetching
from albert_tf.downloads.fetching import DownloadPolicy
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.io.locks import file_lock
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


@dataclass(frozen=True)
class Source:
    """Sources of the data sets.

    Attributes:
      squad_url: URL of the folder with the SQuAD files.
      squad_evaluation_url: URL of the SQuAD evaluation script.
      glue_url: URL of the folder with the GLUE archives.
      mrpc_url: URL of the folder with the files of the paraphrase corpus (MRPC).
      race_url: URL of the RACE archive.
      verify_checksums: whether to verify published digests.
      policy: retries and limits of all downloads.
    """

    squad_url: str
    squad_evaluation_url: str
    glue_url: str
    mrpc_url: str
    race_url: str
    verify_checksums: bool
    policy: DownloadPolicy

    def fetch(self, url: str, path: Path, sha256: str | None = None) -> Path:
        """Download a file.

        Args:
          url: URL of the file.
          path: path to download to.
          sha256: expected SHA-256 digest in hexadecimal, if published.

        Returns:
          `path`.
        """
        fetching.fetch(url, path, self.policy, sha256 if self.verify_checksums else None)
        return path


def download_data_sets(names: Sequence[str], output_dir: str, source: Source) -> list[Path]:
    """Download data sets that do not exist yet.

    Args:
      names: names of data sets; "glue" stands for all GLUE tasks.
      output_dir: parent directory of the data sets' folders.
      source: sources of the data sets.

    Returns:
      Paths of the folders.

    Raises:
      InputError: if a name is unknown, or a data set cannot be downloaded or is invalid.
    """
    folders = []
    for name, make in [_data_set(name) for name in _names(names)]:
        folder = Path(output_dir) / name
        if folder.exists():
            logging.info("%s already exists, skipping the download", folder)
        else:
            with file_lock(folder):
                if not folder.exists():
                    download(make, folder, source)
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


def _data_set(name: str) -> tuple[str, Callable[[Path, Path, Source], None]]:
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


def download(make: Callable[[Path, Path, Source], None], folder: Path, source: Source) -> None:
    """Create the folder of a data set atomically, after downloading and checking all files.

    Downloads go to `<folder>.download`, so that a later call can resume them.

    Args:
      make: function that fills a new folder (first argument) from files that it downloads to
        another folder (second argument).
      folder: path of the data set's folder.
      source: sources of the data sets.

    Raises:
      InputError: if the data set cannot be downloaded or is invalid.
    """
    downloads = folder.with_name(f"{folder.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with files.atomic_directory(folder) as temporary:
            make(temporary, downloads, source)
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


def make_squad(folder: Path, downloads: Path, source: Source, version: str) -> None:
    """Download SQuAD v1.1 or v2.0: training and dev questions."""
    for name, sha256 in _SQUAD_FILES[version].items():
        path = source.fetch(f"{source.squad_url}/{name}", downloads / name, sha256)
        read_squad(str(path), for_training=False, version=version)
    for name in _SQUAD_FILES[version]:
        (downloads / name).rename(folder / name)


def make_squad_evaluation(folder: Path, downloads: Path, source: Source) -> None:
    """Download the official evaluation script of SQuAD v1.1."""
    source.fetch(source.squad_evaluation_url, downloads / _SQUAD_EVALUATION)
    (downloads / _SQUAD_EVALUATION).rename(folder / _SQUAD_EVALUATION)


def make_race(folder: Path, downloads: Path, source: Source) -> None:
    """Download RACE, after a notice of its license."""
    logging.warning(
        "RACE may be used for non-commercial research only; its passages belong to others: see %s",
        source.race_url.rpartition("/")[0],
    )
    archive = source.fetch(source.race_url, downloads / _RACE_ARCHIVE, _RACE_SHA256)
    archives.unpack(archive, folder, source.policy.max_unpacked_size)
    for split in ("train", "dev", "test"):
        paths = find_articles(str(folder), split, LEVELS)
        for level, path in zip(LEVELS, paths.values()):
            read_articles(path, level, needs_answers=True)


def make_glue(folder: Path, downloads: Path, source: Source, task: GlueTask) -> None:
    """Download a GLUE task that is published as an archive."""
    name = f"{_ARCHIVES.get(task.name, task.folders[0])}.zip"
    archive = source.fetch(f"{source.glue_url}/{name}", downloads / name)
    archives.unpack(archive, folder, source.policy.max_unpacked_size)
    _check_glue(folder, task)


def make_diagnostic(folder: Path, downloads: Path, source: Source) -> None:
    """Download the GLUE diagnostic set."""
    task = TASKS["ax"]
    path = source.fetch(f"{source.glue_url}/{_DIAGNOSTIC}", downloads / _DIAGNOSTIC)
    path.rename(folder / task.test_files[0].name)
    _check_glue(folder, task)


def make_mrpc(folder: Path, downloads: Path, source: Source) -> None:
    """Download the paraphrase corpus and split it into the files of MRPC.

    The dev set consists of the training pairs in a published list of ids. Rows are copied byte for
    byte, but in the test set a row number replaces the label.
    """
    train = source.fetch(f"{source.mrpc_url}/{_MRPC_TRAIN}", downloads / _MRPC_TRAIN)
    test = source.fetch(f"{source.mrpc_url}/{_MRPC_TEST}", downloads / _MRPC_TEST)
    ids = source.fetch(f"{source.glue_url}/{_MRPC_DEV_IDS}", downloads / _MRPC_DEV_IDS)
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
            read_examples(str(folder / file.name), task, split)

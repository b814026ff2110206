"""SQuAD v1.1 and the tasks of GLUE: downloaded, put together and checked."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from absl import logging

from albert_tf import files
from albert_tf.downloads import archives, fetching
from albert_tf.downloads.fetching import RetryPolicy
from albert_tf.errors import InputError
from albert_tf.glue.data import TASKS, GlueTask, find_task, read_examples
from albert_tf.locks import file_lock
from albert_tf.squad.data import read_squad

# As Hugging Face and TensorFlow publish them in their loaders of the data set.
_SQUAD_FILES = {
    "train-v1.1.json": "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
    "dev-v1.1.json": "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
}
_SQUAD_EVALUATION = "evaluate-v1.1.py"
_MRPC_TRAIN = "msr_paraphrase_train.txt"
_MRPC_TEST = "msr_paraphrase_test.txt"
_MRPC_DEV_IDS = "mrpc_dev_ids.tsv"
_DIAGNOSTIC = "AX.tsv"
# The archives whose name is not that of their folder.
_ARCHIVES = {"qnli": "QNLIv2", "qqp": "QQP-clean"}


@dataclass(frozen=True)
class Source:
    """Sources of the data sets.

    Attributes:
      squad_url: address of the folder with the files of SQuAD.
      squad_evaluation_url: address of its evaluation script.
      glue_url: address of the folder with the archives of GLUE.
      mrpc_url: address of the folder with the files that MRPC is made of.
      verify_checksums: whether files must have their published digests.
      retry_policy: how long to try.
    """

    squad_url: str
    squad_evaluation_url: str
    glue_url: str
    mrpc_url: str
    verify_checksums: bool
    retry_policy: RetryPolicy

    def fetch(self, url: str, path: Path, sha256: str | None = None) -> Path:
        """Download a file and return its path."""
        fetching.fetch(url, path, self.retry_policy, sha256 if self.verify_checksums else None)
        return path


def download_data_sets(names: Sequence[str], output_dir: str, source: Source) -> list[Path]:
    """Download data sets, as far as they are not there.

    Args:
      names: names of data sets; "glue" means all tasks of GLUE.
      output_dir: directory in which each gets a folder.
      source: where data sets come from.

    Returns:
      The folders.
    """
    folders = []
    for name, make in [_data_set(name) for name in _names(names)]:
        folder = Path(output_dir) / name
        if folder.exists():
            logging.info("%s is there: it is not downloaded again", folder)
        else:
            with file_lock(folder):
                if not folder.exists():
                    download(make, folder, source)
        folders.append(folder)
    return folders


def _names(arguments):
    """Names of the data sets that the arguments ask for."""
    if not arguments:
        known = ", ".join(["squad", "squad-evaluation", *_glue_names()])
        raise InputError(f"give the data sets to download: {known}; or glue, for all of its tasks")
    return [
        name
        for argument in arguments
        for name in (_glue_names() if argument.lower() == "glue" else [argument])
    ]


def _glue_names():
    return [name for name in TASKS if name != "mismnli"]  # it has the data of mnli


def _data_set(name) -> tuple[str, Callable[[Path, Path, Source], None]]:
    """The folder of a data set, and the function that makes it."""
    if name.lower() == "squad":
        return "SQuAD", make_squad
    if name.lower() == "squad-evaluation":
        return "SQuAD-evaluation", make_squad_evaluation
    task = find_task(name)
    makers = {"mrpc": make_mrpc, "ax": make_diagnostic}
    return task.folders[0], makers.get(task.name, functools.partial(make_glue, task=task))


def download(make: Callable[[Path, Path, Source], None], folder: Path, source: Source) -> None:
    """Make the folder of a data set atomically, once all of its files are there and checked.

    What is downloaded, and not a part of the data set as it is, lies in `<folder>.download`
    meanwhile, from which a later call goes on.

    Args:
      make: fills a new folder, the first argument, from what it downloads to the second.
      folder: the folder.
      source: where data sets come from.
    """
    downloads = folder.with_name(f"{folder.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with files.atomic_directory(folder) as temporary:
            make(temporary, downloads, source)
        shutil.rmtree(downloads)
    except InputError as error:
        _keep_parts(downloads)
        message = str(error).replace(f"{temporary}/", "")
        raise InputError(f"{folder}: {message}") from error


def _keep_parts(downloads):
    """Remove whole downloads, as one of them is wrong; keep those that a later call resumes."""
    for path in downloads.iterdir():
        if ".part" not in path.suffixes:
            path.unlink()
    if not any(downloads.iterdir()):
        downloads.rmdir()


def make_squad(folder: Path, downloads: Path, source: Source) -> None:
    """SQuAD v1.1: the questions to train and to evaluate on."""
    for name, sha256 in _SQUAD_FILES.items():
        path = source.fetch(f"{source.squad_url}/{name}", downloads / name, sha256)
        read_squad(str(path), for_training=False)
    for name in _SQUAD_FILES:
        (downloads / name).rename(folder / name)


def make_squad_evaluation(folder: Path, downloads: Path, source: Source) -> None:
    """The official evaluation script of SQuAD v1.1."""
    source.fetch(source.squad_evaluation_url, downloads / _SQUAD_EVALUATION)
    (downloads / _SQUAD_EVALUATION).rename(folder / _SQUAD_EVALUATION)


def make_glue(folder: Path, downloads: Path, source: Source, task: GlueTask) -> None:
    """A task of GLUE that comes as an archive."""
    name = f"{_ARCHIVES.get(task.name, task.folders[0])}.zip"
    archive = source.fetch(f"{source.glue_url}/{name}", downloads / name)
    archives.unpack(archive, folder)
    _check_glue(folder, task)


def make_diagnostic(folder: Path, downloads: Path, source: Source) -> None:
    """The diagnostic set of GLUE."""
    task = TASKS["ax"]
    path = source.fetch(f"{source.glue_url}/{_DIAGNOSTIC}", downloads / _DIAGNOSTIC)
    path.rename(folder / task.test_files[0].name)
    _check_glue(folder, task)


def make_mrpc(folder: Path, downloads: Path, source: Source) -> None:
    """MRPC: the paraphrase corpus, from whose training file the benchmark takes the pairs of a list
    of ids as its dev set. Lines are copied byte for byte; test lines get numbers for labels."""
    train = source.fetch(f"{source.mrpc_url}/{_MRPC_TRAIN}", downloads / _MRPC_TRAIN)
    test = source.fetch(f"{source.mrpc_url}/{_MRPC_TEST}", downloads / _MRPC_TEST)
    ids = source.fetch(f"{source.glue_url}/{_MRPC_DEV_IDS}", downloads / _MRPC_DEV_IDS)
    dev_ids = {tuple(line.split(b"\t")) for line in _lines(ids)}
    header, *rows = _lines(train)
    parts = {"train.tsv": [header], "dev.tsv": [header]}
    for row in rows:
        pair = tuple(row.split(b"\t")[1:3])
        parts["dev.tsv" if pair in dev_ids else "train.tsv"].append(row)
    _, *rows = _lines(test)
    parts["test.tsv"] = [b"index\t#1 ID\t#2 ID\t#1 String\t#2 String"]
    for number, row in enumerate(rows):
        parts["test.tsv"].append(b"\t".join([b"%d" % number, *row.split(b"\t")[1:]]))
    for name, lines in parts.items():
        (folder / name).write_bytes(b"\n".join([*lines, b""]))
    if len(parts["dev.tsv"]) != len(dev_ids) + 1:
        raise InputError(
            f"{_MRPC_DEV_IDS} has {len(dev_ids)} pairs, of which {_MRPC_TRAIN} has "
            f"{len(parts['dev.tsv']) - 1}: the two do not belong together"
        )
    _check_glue(folder, TASKS["mrpc"])


def _lines(path):
    """The lines of a file as bytes, without their ends and without those that are empty."""
    lines = [line.strip() for line in path.read_bytes().split(b"\n")]
    if not any(lines):
        raise InputError(f"{path.name}: the file is empty")
    return [line for line in lines if line]


def _check_glue(folder, task):
    """Read all files of a task, as training and prediction will."""
    for split in ("train", "dev", "test"):
        for file in task.files(split):
            read_examples(str(folder / file.name), task, split)

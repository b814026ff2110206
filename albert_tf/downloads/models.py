"""Download and checks of published ALBERT models."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Sequence

from absl import logging

from albert_tf.cli.launch import load_tensorflow
from albert_tf.downloads import archives, fetching
from albert_tf.downloads.settings import ModelDownloadSettings
from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError
from albert_tf.run_dir import model_folder
from albert_tf.run_dir.model_folder import ModelFiles

_USAGE = (
    "give two arguments, the URL of the models and a name: "
    "https://storage.googleapis.com/albert_models/ albert_base_v2; the names are "
    "albert_{base,large,xlarge,xxlarge}_{v1,v2}"
)
_SOURCE_FILE = "download.json"


def get_model(arguments: Sequence[str], settings: ModelDownloadSettings) -> ModelFiles:
    """Download a published model if it does not exist yet.

    Args:
      arguments: base URL of the models, and name of the model.
      settings: output directory, limits, and expected digest and size of the archive.

    Returns:
      Paths of the model's files.

    Raises:
      InputError: if the archive cannot be downloaded, or does not contain a complete and consistent
        model.
    """
    if len(arguments) != 2:
        raise InputError(_USAGE)
    url, name = arguments
    sha256 = settings.sha256
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise InputError(f"--sha256={sha256}: give a SHA-256 digest, 64 hexadecimal digits")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"{name!r} is not the name of a model; {_USAGE}")
    directory = Path(settings.output_dir) / name
    archive_url = f"{url.rstrip('/')}/{name}.tar.gz"
    fetching.make_once(directory, lambda: download_model(archive_url, directory, settings))
    check_source(directory, sha256)
    checks = _module_of_checks()
    return checks.find_model(directory) if checks else _unchecked(directory)


def download_model(url: str, directory: Path, settings: ModelDownloadSettings) -> None:
    """Download, unpack and check a model, and only then create its directory.

    Args:
      url: URL of the archive.
      directory: path of the new directory.
      settings: limits, and expected digest and size of the archive.

    Raises:
      InputError: if the archive cannot be downloaded, or does not contain a complete and consistent
        model.
    """
    archive = directory.with_name(f"{directory.name}.tar.gz")
    fetching.fetch(url, archive, settings, settings.sha256, settings.size)
    try:
        with files.atomic_directory(directory) as temporary:
            logging.info("%s: unpacking and checking", archive)
            archives.unpack(archive, temporary, settings.max_unpacked_size)
            checks = _module_of_checks()
            if checks:
                checks.check_model(checks.find_model(temporary))
            else:
                _unchecked(temporary)
                logging.warning(
                    "%s: TensorFlow is not installed, so the checkpoint has not been read; a run "
                    "will check it",
                    directory,
                )
            source = {"url": url, "sha256": files.digest(str(archive))}
            files.write_json(temporary / _SOURCE_FILE, source)
    except InputError as error:
        message = str(error).replace(f"{temporary}/", "")
        raise InputError(f"{url}: {message}; the download was removed") from error
    finally:
        archive.unlink()


def _module_of_checks() -> ModuleType | None:
    """The module that reads and checks models; None without TensorFlow."""
    try:
        load_tensorflow()
        from albert_tf.inference import trained_model
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        return None
    return trained_model


def _unchecked(directory: Path) -> ModelFiles:
    """Files of a model, which are there; `InputError` if one is missing."""
    checkpoint = directory / model_folder.BEST_CHECKPOINT
    config, vocabulary, spm_model = model_folder.needed_files(directory)
    if not checkpoint.with_name(f"{checkpoint.name}.index").is_file():
        raise InputError(f"{checkpoint}.index is missing; give the directory of a complete model")
    return ModelFiles(config, vocabulary, spm_model, str(checkpoint))


def check_source(directory: Path, sha256: str | None) -> None:
    """Check that the model in a directory comes from the archive with a digest, if one is given.

    Raises:
      InputError: if it comes from another archive, or its origin is unknown.
    """
    if not sha256:
        return
    try:
        remedy = "remove the directory to download the model again"
        source = json_files.read(directory / _SOURCE_FILE, "the source", remedy).text("sha256")
    except InputError as error:
        raise InputError(
            f"{directory}: the directory exists, but is not known to come from the archive with "
            f"SHA-256 digest {sha256}; remove it to download the model again"
        ) from error
    if source != sha256.lower():
        raise InputError(
            f"{directory}: the directory exists, but comes from the archive with SHA-256 digest "
            f"{source}, not {sha256}; remove it to download the model again"
        )

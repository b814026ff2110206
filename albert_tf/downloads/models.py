"""Published ALBERT models: downloaded, unpacked and checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Sequence

from absl import logging

from albert_tf import files
from albert_tf.downloads import archives, fetching
from albert_tf.downloads.fetching import RetryPolicy
from albert_tf.errors import InputError
from albert_tf.locks import file_lock
from albert_tf.runs import model_files
from albert_tf.runs.model_files import ModelFiles

_USAGE = (
    "two arguments are needed, the address of the models and a name: "
    "https://storage.googleapis.com/albert_models/ albert_base_v2; names are "
    "albert_{base,large,xlarge,xxlarge}_{v1,v2}"
)
_SOURCE_FILE = "download.json"


def get_model(
    arguments: Sequence[str],
    output_dir: str,
    retry_policy: RetryPolicy,
    sha256: str | None = None,
    size: int | None = None,
) -> ModelFiles:
    """Download a published model, if it is not there.

    Args:
      arguments: address of the models, and name of the model.
      output_dir: directory in which it gets a folder.
      retry_policy: how long to try.
      sha256: SHA-256 digest that the archive must have.
      size: number of bytes that the archive must have.

    Raises:
      InputError: if the archive cannot be had, or holds no model whose files belong together.
    """
    if len(arguments) != 2:
        raise InputError(_USAGE)
    url, name = arguments
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"{name!r} is no name of a model: {_USAGE}")
    folder = Path(output_dir) / name
    if not folder.exists():
        with file_lock(folder):
            if not folder.exists():
                archive_url = f"{url.rstrip('/')}/{name}.tar.gz"
                download_model(archive_url, folder, retry_policy, sha256, size)
    check_source(folder, sha256)
    return model_files.find_model(folder)


def download_model(
    url: str,
    folder: Path,
    retry_policy: RetryPolicy,
    sha256: str | None = None,
    size: int | None = None,
) -> None:
    """Download and unpack a model; the folder appears when all of it is there and checked.

    Args:
      url: address of the archive.
      folder: where the model goes.
      retry_policy: how long to try.
      sha256: the SHA-256 digest that the archive must have.
      size: the number of bytes that the archive must have.

    Raises:
      InputError: if the archive cannot be had, or holds no model whose files belong together.
    """
    archive = folder.with_name(f"{folder.name}.tar.gz")
    fetching.fetch(url, archive, retry_policy, sha256, size)
    try:
        with files.atomic_directory(folder) as temporary:
            logging.info("%s: unpacking and checking", archive)
            archives.unpack(archive, temporary)
            model_files.check_model(model_files.find_model(temporary))
            source = {"url": url, "sha256": files.digest(str(archive))}
            files.write_json(temporary / _SOURCE_FILE, source)
    except InputError as error:
        message = str(error).replace(f"{temporary}/", "")
        raise InputError(f"{url}: {message}; nothing has been kept") from error
    finally:
        archive.unlink()


def check_source(folder: Path, sha256: str | None) -> None:
    """Check that a folder that is there came from an archive with a digest, if one is given."""
    if not sha256:
        return
    try:
        source = json.loads((folder / _SOURCE_FILE).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: it is there, but not known to come from an archive with the digest "
            f"{sha256}; remove it, and it is downloaded again"
        ) from error
    if source != sha256.lower():
        raise InputError(
            f"{folder}: it is there, but comes from an archive with the SHA-256 digest {source}, "
            f"not {sha256}; remove it, and it is downloaded again"
        )

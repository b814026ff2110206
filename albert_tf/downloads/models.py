"""Downloads a published ALBERT model, checks it, and prints the flags to pass on.

    python download/download_pretrained_model.py https://storage.googleapis.com/albert_models/ \
        albert_base_v2
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import fetching  # isort: skip  # finds the product

from absl import flags, logging

from albert_tf.errors import InputError
from albert_tf.records import record_files as records
from albert_tf.runs import model_files, training

FLAGS = flags.FLAGS
fetching.define_flags()
training.define_string("output_dir", ".", "Where the folder NAME goes.")
training.define_string("sha256", None, "SHA-256 digest that the archive must have.")
training.define_integer("size", None, "Number of bytes that the archive must have.")

_USAGE = (
    "two arguments are needed, the address of the models and a name: "
    "https://storage.googleapis.com/albert_models/ albert_base_v2; names are "
    "albert_{base,large,xlarge,xxlarge}_{v1,v2}"
)
_SOURCE_FILE = "download.json"


def main(argv):
    """Downloads a model if it is not there, and prints where its files are."""
    if len(argv) != 3:
        raise InputError(_USAGE)
    url, name = argv[1:]
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"{name!r} is no name of a model: {_USAGE}")
    folder = Path(FLAGS.output_dir) / name
    archive_url = f"{url.rstrip('/')}/{name}.tar.gz"
    if not folder.exists():
        with fetching.only_one(folder):
            if not folder.exists():
                download_model(
                    archive_url, folder, fetching.patience_from_flags(), FLAGS.sha256, FLAGS.size
                )
    check_source(folder, FLAGS.sha256)
    print("\n".join(model_files.find_model(folder).as_flags()))


def download_model(
    url: str,
    folder: Path,
    patience: fetching.Patience,
    sha256: str | None = None,
    size: int | None = None,
) -> None:
    """Downloads and unpacks a model; the folder appears when all of it is there and checked.

    Args:
      url: address of the archive.
      folder: where the model goes.
      patience: how long to try.
      sha256: the SHA-256 digest that the archive must have.
      size: the number of bytes that the archive must have.

    Raises:
      InputError: if the archive cannot be had, or holds no model whose files belong together.
    """
    archive = folder.with_name(f"{folder.name}.tar.gz")
    fetching.fetch(url, archive, patience, sha256, size)
    try:
        with records.whole_directory(folder) as temporary:
            logging.info("%s: unpacking and checking", archive)
            fetching.unpack(archive, temporary)
            model_files.check_model(model_files.find_model(temporary))
            source = {"url": url, "sha256": records.digest(str(archive))}
            records.write_json(temporary / _SOURCE_FILE, source)
    except InputError as error:
        message = str(error).replace(f"{temporary}/", "")
        raise InputError(f"{url}: {message}; nothing has been kept") from error
    finally:
        archive.unlink()


def check_source(folder: Path, sha256: str | None) -> None:
    """Checks that a folder that is there came from an archive with a digest, if one is given."""
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


if __name__ == "__main__":
    training.launch(main)

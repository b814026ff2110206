"""Settings of the download scripts, from which the flags are generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.paths import CHECKPOINT_PATH
from albert_tf.cli.settings import path_setting, setting
from albert_tf.io.bounds import LARGEST_INT

LONGEST_WAIT = 60.0  # seconds
_DAY = 86_400  # seconds
_LARGEST_FILE = 1 << 50  # bytes


@dataclass(frozen=True)
class DownloadSettings:
    """Output directory, retries and limits of downloads."""

    output_dir: str = path_setting("Parent directory of the downloaded directories.", ".")
    timeout: float = setting(
        60.0,
        "Seconds without data after which a connection counts as lost.",
        upper=_DAY,
        excludes_lower=True,
    )
    min_speed: float = setting(
        1000.0,
        "Bytes per second, on average over the timeout, below which a connection counts as lost.",
        upper=LARGEST_INT,
    )
    retries: int = setting(6, "Maximum number of consecutive retries without progress.")
    retry_seconds: float = setting(
        1.0,
        "Seconds before the first retry, doubled for each further one up to a minute.",
        upper=LONGEST_WAIT,
    )
    max_size: int = setting(
        4 << 30,
        "Largest size of a file to download, in bytes.",
        upper=_LARGEST_FILE,
    )
    max_unpacked_size: int = setting(
        16 << 30,
        "Largest size of an archive's files, in bytes.",
        upper=_LARGEST_FILE,
    )


@dataclass(frozen=True)
class ModelDownloadSettings(DownloadSettings):
    """Directory, and expected digest and size of a model's archive."""

    output_dir: str = path_setting(
        "Parent directory of the model's directory.", ".", kind=CHECKPOINT_PATH
    )
    sha256: Optional[str] = setting(None, "Expected SHA-256 digest of the archive.")
    size: Optional[int] = setting(
        None, "Expected size of the archive in bytes; replaces max_size.", upper=_LARGEST_FILE
    )


@dataclass(frozen=True)
class DataSetSettings(DownloadSettings):
    """Sources of the datasets."""

    squad_url: str = setting(
        "https://rajpurkar.github.io/SQuAD-explorer/dataset",
        "URL of the directory with the SQuAD files.",
    )
    squad_evaluation_url: str = setting(
        "https://worksheets.codalab.org/rest/bundles/0xbcd57bee090b421c982906709c8c27e1/contents/"
        "blob/",
        "URL of the official evaluation script of SQuAD v1.1.",
    )
    glue_url: str = setting(
        "https://dl.fbaipublicfiles.com/glue/data", "URL of the directory with the GLUE archives."
    )
    mrpc_url: str = setting(
        "https://dl.fbaipublicfiles.com/senteval/senteval_data",
        "URL of the directory with the two files of the paraphrase corpus (MRPC).",
    )
    race_url: str = setting(
        "http://www.cs.cmu.edu/~glai1/data/race/RACE.tar.gz",
        "URL of the archive of RACE, licensed for non-commercial research only.",
    )
    verify_checksums: bool = setting(
        True, "Whether to verify the published digests of the SQuAD files and of RACE."
    )

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
class DownloadPolicy:
    """Retries and limits of a download.

    Attributes:
      timeout: seconds without data after which a connection counts as lost.
      retries: maximum number of consecutive retries without progress.
      first_wait: seconds before the first retry, doubled for each further one.
      min_speed: bytes per second, on average over the timeout, below which a connection counts as
        lost.
      max_size: largest size of a file in bytes, unless its size is given.
      max_unpacked_size: largest size of an archive's files, in bytes.
    """

    timeout: float = 60.0
    retries: int = 6
    first_wait: float = 1.0
    min_speed: float = 1000.0
    max_size: int = 4 << 30
    max_unpacked_size: int = 16 << 30


@dataclass(frozen=True)
class DownloadSettings:
    """Output folder, retries and limits of downloads."""

    output_dir: str = path_setting("Parent directory of the downloaded folders.", ".")
    timeout: float = setting(
        DownloadPolicy.timeout,
        "Seconds without data after which a connection counts as lost.",
        upper=_DAY,
        excludes_lower=True,
    )
    min_speed: float = setting(
        DownloadPolicy.min_speed,
        "Bytes per second, on average over the timeout, below which a connection counts as lost.",
        upper=LARGEST_INT,
    )
    retries: int = setting(
        DownloadPolicy.retries, "Maximum number of consecutive retries without progress."
    )
    retry_seconds: float = setting(
        DownloadPolicy.first_wait,
        "Seconds before the first retry, doubled for each further one up to a minute.",
        upper=LONGEST_WAIT,
    )
    max_size: int = setting(
        DownloadPolicy.max_size,
        "Largest size of a file to download, in bytes.",
        upper=_LARGEST_FILE,
    )
    max_unpacked_size: int = setting(
        DownloadPolicy.max_unpacked_size,
        "Largest size of an archive's files, in bytes.",
        upper=_LARGEST_FILE,
    )

    @property
    def policy(self) -> DownloadPolicy:
        """Retries and limits of all downloads."""
        return DownloadPolicy(
            self.timeout,
            self.retries,
            self.retry_seconds,
            self.min_speed,
            self.max_size,
            self.max_unpacked_size,
        )


@dataclass(frozen=True)
class ModelDownloadSettings(DownloadSettings):
    """Folder, and expected digest and size of a model's archive."""

    output_dir: str = path_setting(
        "Parent directory of the model's folder.", ".", kind=CHECKPOINT_PATH
    )
    sha256: Optional[str] = setting(None, "Expected SHA-256 digest of the archive.")
    size: Optional[int] = setting(
        None, "Expected size of the archive in bytes; replaces max_size.", upper=_LARGEST_FILE
    )


@dataclass(frozen=True)
class DataSetSettings(DownloadSettings):
    """Sources of the data sets."""

    squad_url: str = setting(
        "https://rajpurkar.github.io/SQuAD-explorer/dataset",
        "URL of the folder with the SQuAD files.",
    )
    squad_evaluation_url: str = setting(
        "https://worksheets.codalab.org/rest/bundles/0xbcd57bee090b421c982906709c8c27e1/contents/"
        "blob/",
        "URL of the official evaluation script of SQuAD v1.1.",
    )
    glue_url: str = setting(
        "https://dl.fbaipublicfiles.com/glue/data", "URL of the folder with the GLUE archives."
    )
    mrpc_url: str = setting(
        "https://dl.fbaipublicfiles.com/senteval/senteval_data",
        "URL of the folder with the two files of the paraphrase corpus (MRPC).",
    )
    race_url: str = setting(
        "http://www.cs.cmu.edu/~glai1/data/race/RACE.tar.gz",
        "URL of the archive of RACE, licensed for non-commercial research only.",
    )
    verify_checksums: bool = setting(
        True, "Whether to verify the published digests of the SQuAD files and of RACE."
    )

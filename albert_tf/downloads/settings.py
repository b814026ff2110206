"""The settings of the download scripts, from which they make flags."""

from __future__ import annotations

from dataclasses import dataclass

from albert_tf.downloads.fetching import RetryPolicy
from albert_tf.runs.settings import setting


@dataclass(frozen=True)
class DownloadSettings:
    """Output folder and retry policy of downloads."""

    output_dir: str = setting(".", "Directory in which each download gets a folder.")
    timeout: float = setting(
        RetryPolicy.timeout, "Seconds without a byte after which a connection is lost."
    )
    retries: int = setting(
        RetryPolicy.retries, "Tries in a row, without getting further, after the first."
    )
    retry_seconds: float = setting(
        RetryPolicy.first_wait, "Wait before the first retry; doubles with each."
    )

    @property
    def retry_policy(self) -> RetryPolicy:
        """Limits for a network that fails."""
        return RetryPolicy(self.timeout, self.retries, self.retry_seconds)


@dataclass(frozen=True)
class ModelDownloadSettings(DownloadSettings):
    """Digest and size of the archive of a model."""

    sha256: str | None = setting(None, "SHA-256 digest that the archive must have.")
    size: int | None = setting(None, "Number of bytes that the archive must have.")


@dataclass(frozen=True)
class DataSetSettings(DownloadSettings):
    """Sources of the data sets."""

    squad_url: str = setting(
        "https://rajpurkar.github.io/SQuAD-explorer/dataset", "Folder with the files of SQuAD."
    )
    squad_evaluation_url: str = setting(
        "https://worksheets.codalab.org/rest/bundles/0xbcd57bee090b421c982906709c8c27e1/contents/"
        "blob/",
        "Official evaluation script of SQuAD v1.1.",
    )
    glue_url: str = setting(
        "https://dl.fbaipublicfiles.com/glue/data", "Folder with the archives of GLUE."
    )
    mrpc_url: str = setting(
        "https://dl.fbaipublicfiles.com/senteval/senteval_data",
        "Folder with the two files of the paraphrase corpus, of which MRPC is made.",
    )
    verify_checksums: bool = setting(
        True, "Whether the files of SQuAD must have their published digests."
    )

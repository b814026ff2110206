"""Settings of the download scripts, from which the flags are generated."""

from __future__ import annotations

from dataclasses import dataclass

from albert_tf.downloads.fetching import RetryPolicy
from albert_tf.runs.paths import CHECKPOINT_PATH
from albert_tf.runs.settings import path_setting, setting


@dataclass(frozen=True)
class DownloadSettings:
    """Output folder and retry policy of downloads."""

    output_dir: str = path_setting("Parent directory of the downloaded folders.", ".")
    timeout: float = setting(
        RetryPolicy.timeout, "Seconds without data after which a connection counts as lost."
    )
    retries: int = setting(
        RetryPolicy.retries, "Maximum number of consecutive retries without progress."
    )
    retry_seconds: float = setting(
        RetryPolicy.first_wait, "Seconds before the first retry, doubled for each further one."
    )

    @property
    def retry_policy(self) -> RetryPolicy:
        """Retry policy of all downloads."""
        return RetryPolicy(self.timeout, self.retries, self.retry_seconds)


@dataclass(frozen=True)
class ModelDownloadSettings(DownloadSettings):
    """Folder, and expected digest and size of a model's archive."""

    output_dir: str = path_setting(
        "Parent directory of the model's folder.", ".", kind=CHECKPOINT_PATH
    )
    sha256: str | None = setting(None, "Expected SHA-256 digest of the archive.")
    size: int | None = setting(None, "Expected size of the archive in bytes.")


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
    verify_checksums: bool = setting(
        True, "Whether to verify the published digests of the SQuAD files."
    )

"""Resumable downloads with retries."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import requests
import urllib3
from absl import logging
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader, ProtocolError
from urllib3.util import Retry

from albert_tf.downloads.settings import LONGEST_WAIT, DownloadSettings
from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError
from albert_tf.io.locks import file_lock

_BLOCK = 1 << 16  # bytes
_PART = 206  # status: the response is the requested part of the file
_NO_SUCH_PART = 416  # status: the file is not as long as the partial one
_TRANSIENT_STATUS = (408, _NO_SUCH_PART, 425, 429, 500, 502, 503, 504)


def make_once(directory: Path, make: Callable[[], None]) -> None:
    """Call a function that makes a directory, unless it exists or another process makes it.

    Args:
      directory: path of the directory.
      make: function to call.

    Raises:
      InputError: if files cannot be written next to the directory.
    """
    if directory.exists():
        logging.info("%s already exists, skipping the download", directory)
        return
    files.check_directory(f"--output_dir {directory.parent}", directory.parent)
    with file_lock(directory):
        try:
            if not directory.exists():
                make()
        finally:
            # The lock may go: a process that has waited for it looks for the directory first.
            Path(f"{directory}{files.LOCK_SUFFIX}").unlink(missing_ok=True)


def fetch(
    url: str,
    path: Path,
    settings: DownloadSettings,
    sha256: str | None = None,
    size: int | None = None,
) -> None:
    """Download a file, check it, and only then move it to `path`.

    Received bytes are kept in `<path>.part`. A later call resumes from there if the server still
    has the same file. A file that already exists at `path` is reused if its size and digest match.
    Only one process may download to a path at a time: see `make_once`.

    Args:
      url: URL of the file.
      path: path to download to.
      settings: retries and limits.
      sha256: expected SHA-256 digest in hexadecimal.
      size: expected size in bytes.

    Raises:
      InputError: if the server is unreachable or does not have the file, or if size or digest
        differ, or the file is too large. In the last two cases the download is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not _problem(path, size, sha256):
        logging.info("%s already exists, skipping the download", path)
        return
    download = _Download(url, path, settings, size)
    failures, furthest, wait = 0, download.received, settings.retry_seconds
    while True:
        try:
            download.run()
            break
        except _TransferError as error:  # `Retry` of urllib3 knows no resumption and no progress
            failures += 1
            if download.received > furthest and not error.is_slow:
                failures, furthest, wait = 0, download.received, settings.retry_seconds
            if failures > settings.retries:
                raise InputError(
                    f"{url}: the download keeps failing ({error}); repeat the command to resume "
                    f"after the {download.received} bytes received"
                ) from error
            seconds = min(max(wait, error.requested_wait), LONGEST_WAIT)
            logging.warning("%s: %s; retrying in %g s", url, error, seconds)
            time.sleep(seconds)
            wait = min(2 * wait, LONGEST_WAIT)
    problem = _problem(download.part, size, sha256, download.state.get("md5"))
    if problem:
        raise download.refusal(f"{problem}; the download was removed: check the URL and the digest")
    download.part.replace(path)
    download.state_path.unlink()


class _TransferError(Exception):
    """A transfer failed, and may succeed at the next try."""

    def __init__(self, reason: str, requested_wait: float = 0.0, is_slow: bool = False):
        super().__init__(reason)
        self.requested_wait = requested_wait  # seconds, by the server
        self.is_slow = is_slow  # then, received bytes are no progress


@dataclass
class _Download:
    """Partial download to `path`.

    `<path>.part` holds the received bytes, `<path>.part.json` the state to resume from: URL, size,
    digest, and a validator to detect a changed file on the server.
    """

    url: str
    path: Path
    settings: DownloadSettings
    size: int | None

    def __post_init__(self) -> None:
        self.part = self.path.with_name(f"{self.path.name}.part")
        self.state_path = self.path.with_name(f"{self.path.name}.part.json")
        self.state: dict[str, Any] = {}
        with suppress(InputError):
            self.state = json_files.read(self.state_path, "the state", "remove the file").values
        texts = [self.state.get(name) or "" for name in ("url", "validator", "md5")]
        are_texts = all(isinstance(text, str) and text.isprintable() for text in texts)
        is_whole = are_texts and isinstance(self.state.get("total") or 0, int)
        if not (is_whole and texts[0] == self.url and self.part.exists()):
            self.discard()

    @property
    def received(self) -> int:
        """Number of bytes received so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        """Remove the bytes received so far."""
        self.state = {}
        self.part.unlink(missing_ok=True)
        self.state_path.unlink(missing_ok=True)

    def refusal(self, problem: str) -> InputError:
        """Remove the bytes received so far, and make the error that says why."""
        self.discard()
        return InputError(f"{self.url}: {problem}")

    def run(self) -> None:
        """Fetch the missing bytes; raise `_TransferError` if a further try may succeed."""
        headers = {"User-Agent": "albert-download", "Accept-Encoding": "identity"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
            if self.state.get("validator"):
                headers["If-Range"] = self.state["validator"]
        try:
            with _open(self.url, headers, self.settings.timeout) as response:
                answer = f"the server answers {response.status} {response.reason}"
                if response.status == _NO_SUCH_PART:
                    self.discard()
                if response.status in _TRANSIENT_STATUS:
                    raise _TransferError(answer, _requested_wait(response))
                if not 200 <= response.status < 300:
                    raise InputError(f"{self.url}: {answer}; check the URL")
                self._receive(response)
        except (requests.RequestException, HTTPError) as error:
            cause: BaseException = error
            while cause.__context__:  # what the libraries have wrapped
                cause = cause.__context__
            if isinstance(cause, socket.timeout):
                raise _TransferError("no data received within --timeout") from error
            raise _TransferError(str(cause) or type(cause).__name__) from error

    def _receive(self, response: urllib3.BaseHTTPResponse) -> None:
        total = self.state.get("total") if response.status == _PART else response.length_remaining
        if self.size is not None and total is not None and total != self.size:
            raise self.refusal(
                f"the server's file has {total} bytes, expected {self.size}; check the URL and the "
                "size"
            )
        self._check_size(total or 0)
        if response.status != _PART:
            self._start_again(response)
        elif not re.fullmatch(
            rf"bytes {self.received}-\d+/{total}", response.headers.get("Content-Range", "")
        ):
            self.discard()
            raise _TransferError("the file on the server has changed")
        try:
            self._copy(response, total)
        except ProtocolError:  # the connection has been cut; a total tells more about it
            if total is None:
                raise
        if total is not None and self.received != total:
            raise _TransferError(f"the connection ended after {self.received} of {total} bytes")

    def _check_size(self, size: int) -> None:
        """Check the size that the file is going to have."""
        most, flag = self.settings.max_size, "--max_size"
        if self.size is not None:
            most, flag = self.size, "--size"
        if size > most:
            raise self.refusal(
                f"the file is larger than {most} bytes ({flag}); check the URL, or raise {flag}"
            )

    def _start_again(self, response: urllib3.BaseHTTPResponse) -> None:
        """Write the state of a download that begins, in place of an earlier one."""
        self.discard()
        etag = response.headers.get("ETag", "W/")
        digests = response.headers.get("x-goog-hash", "")  # of Google Cloud Storage
        md5 = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", digests)
        self.state = {
            "url": self.url,
            "validator": response.headers.get("Last-Modified") if etag.startswith("W/") else etag,
            "total": response.length_remaining,
            "md5": base64.b64decode(md5.group(1)).hex() if md5 else None,
        }
        files.write_json(self.state_path, self.state)

    def _copy(self, response: urllib3.BaseHTTPResponse, total: int | None) -> None:
        """Append a response to the partial file as data arrives, with a progress bar."""
        name, start, begin = self.path.name, self.received, time.monotonic()
        mark, since = start, begin  # of the measurement of speed
        bar = tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None)
        with bar, files.named_in_errors(self.part), self.part.open("ab") as file:
            for block in iter(lambda: response.read1(_BLOCK), b""):
                self._check_size(file.tell() + len(block))
                file.write(block)
                bar.update(len(block))
                seconds = time.monotonic() - since
                if seconds >= self.settings.timeout:
                    count, least = file.tell() - mark, self.settings.min_speed
                    if count < least * seconds:
                        raise _TransferError(
                            f"{count} bytes in {seconds:.0f} s, less than --min_speed {least:g}",
                            is_slow=True,
                        )
                    mark, since = file.tell(), time.monotonic()
        megabytes, seconds = (self.received - start) / 1e6, max(time.monotonic() - begin, 1e-9)
        speed = megabytes / seconds
        logging.info("%s: %.1f MB in %.0f s (%.1f MB/s)", name, megabytes, seconds, speed)


def _open(url: str, headers: dict[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
    """Ask a web server for a URL, after redirects, or open a local file."""
    try:
        if not url.lower().startswith(("http:", "https:")):
            file = urllib.request.urlopen(url, timeout=timeout)
            return urllib3.HTTPResponse(
                file, dict(file.headers), 200, preload_content=False, decode_content=False
            )
        # The certificates of the system, which Python trusts, rather than those of requests.
        trusted = ssl.get_default_verify_paths()
        verify = trusted.cafile or trusted.capath or True
        return requests.get(url, headers=headers, timeout=timeout, verify=verify, stream=True).raw
    except (requests.exceptions.InvalidSchema, requests.TooManyRedirects) as error:
        raise InputError(
            f"{url}: the server redirects without end, or to another protocol than http and https "
            f"({error}); check the URL"
        ) from error
    except (ValueError, urllib.error.URLError) as error:
        raise InputError(f"{url}: cannot be opened: {error}; check the URL") from error


def _requested_wait(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds to wait before the next try, as requested by the server (Retry-After)."""
    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", ""))
    except (InvalidHeader, ValueError, IndexError, OverflowError):
        return 0.0  # neither seconds nor a date


def _problem(
    path: Path, size: int | None, sha256: str | None, md5: str | None = None
) -> str | None:
    """Describe a mismatch of a file's size or digest, or return None."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"its size is {found} bytes, expected {size}"
    for name, expected in (("SHA-256", sha256), ("MD5", md5)):
        if expected:
            digest = files.digest(path, name.replace("-", ""))
            if digest != expected.lower():
                return f"its {name} digest is {digest}, expected {expected}"
    return None

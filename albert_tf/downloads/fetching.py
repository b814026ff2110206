"""Resumable downloads with retries."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from absl import logging
from tqdm import tqdm

from albert_tf import files
from albert_tf.errors import InputError

_BLOCK = 1 << 16  # bytes
_LONGEST_WAIT = 60.0  # seconds
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    socket.timeout,
    ssl.SSLError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """Retry policy of a download.

    Attributes:
      timeout: seconds without data after which a connection counts as lost.
      retries: maximum number of consecutive retries without progress.
      first_wait: seconds before the first retry, doubled for each further one.
    """

    timeout: float = 60.0
    retries: int = 6
    first_wait: float = 1.0


def fetch(
    url: str,
    path: Path,
    retry_policy: RetryPolicy,
    sha256: str | None = None,
    size: int | None = None,
) -> None:
    """Download a file, check it, and only then move it to `path`.

    Received bytes are kept in `<path>.part`. A later call resumes from there if the server still
    has the same file. A file that already exists at `path` is reused if its size and digest match.
    Only one process may download to a path at a time: see `locks.file_lock`.

    Args:
      url: URL of the file.
      path: path to download to.
      retry_policy: timeout and retries.
      sha256: expected SHA-256 digest in hexadecimal.
      size: expected size in bytes.

    Raises:
      InputError: if the server is unreachable or does not have the file, or if size or digest
        differ. In the last case the download is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not _problem(path, size, sha256):
        logging.info("%s already exists, skipping the download", path)
        return
    download = _Download(url, path, retry_policy.timeout, size)
    failures, furthest = 0, download.received
    while True:
        try:
            download.run()
            break
        except _NETWORK_ERRORS as error:
            failures = 0 if download.received > furthest else failures + 1
            furthest = max(furthest, download.received)
            if failures > retry_policy.retries:
                raise InputError(
                    f"{url}: the download keeps failing ({_reason(error)}); repeat the command to "
                    f"resume after the {download.received} bytes received"
                ) from error
            wait = min(retry_policy.first_wait * 2 ** max(failures - 1, 0), _LONGEST_WAIT)
            wait = max(wait, _requested_wait(error))
            logging.warning("%s: %s; retrying in %g s", url, _reason(error), wait)
            time.sleep(wait)
    download.check(sha256)
    download.finish()


class _Download:
    """Partial download to `path`.

    `<path>.part` holds the received bytes, `<path>.part.json` the state to resume from: URL, size,
    digest, and a validator to detect a changed file on the server.
    """

    def __init__(self, url, path, timeout, size):
        self.url = url
        self.path = path
        self.timeout = timeout
        self.size = size
        self.part = path.with_name(f"{path.name}.part")
        self.state_path = path.with_name(f"{path.name}.part.json")
        self.state = self._read_state()

    @property
    def received(self):
        """Number of bytes received so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def _read_state(self):
        try:
            state = json.loads(self.state_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = {}
        if state.get("url") != self.url or not self.part.exists():
            self.discard()
            return {}
        return state

    def run(self):
        """Fetch the missing bytes; raise one of `_NETWORK_ERRORS` if the transfer fails."""
        headers = {"User-Agent": "albert-download"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
            if self.state.get("validator"):
                headers["If-Range"] = self.state["validator"]
        try:
            request = urllib.request.Request(self.url, headers=headers)
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                self._receive(response)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the partial file is longer than the server's
                self.discard()
                self.state = {}
            elif error.code not in _TRANSIENT_STATUS:
                raise InputError(
                    f"{self.url}: the server answers {error.code} {error.reason}; check the URL"
                ) from error
            raise
        except ValueError as error:
            raise InputError(f"{self.url}: not a valid URL: {error}") from error

    def _receive(self, response):
        start, total = _range_of(response)
        if start and (start != self.received or total != self.state.get("total")):
            self.discard()
            raise http.client.HTTPException("the file on the server has changed")
        if self.size is not None and total is not None and total != self.size:
            self.discard()
            raise InputError(
                f"{self.url}: the server's file has {total} bytes, expected {self.size}; check the "
                "URL and the size"
            )
        if not start:
            self._write_state(response, total)
        with self.part.open("ab" if start else "wb") as file:
            _copy(response, file, start, total, self.path.name)
        if total is not None and self.received != total:
            raise http.client.HTTPException(
                f"the connection ended after {self.received} of {total} bytes"
            )

    def _write_state(self, response, total):
        etag = response.headers.get("ETag", "")
        is_exact = etag and not etag.startswith("W/")
        self.state = {
            "url": self.url,
            "validator": etag if is_exact else response.headers.get("Last-Modified"),
            "total": total,
            "md5": _md5_of(response),
        }
        self.discard()
        files.write_json(self.state_path, self.state)

    def check(self, sha256):
        """Check size and digests; remove the download if they differ."""
        problem = _problem(self.part, self.size, sha256, self.state.get("md5"))
        if problem:
            self.discard()
            raise InputError(
                f"{self.url}: {problem}; the download was removed: check the URL and the digest, "
                "and repeat the command"
            )

    def finish(self):
        """Move the complete file to its final path."""
        self.part.replace(self.path)
        self.state_path.unlink()

    def discard(self):
        """Remove the bytes received so far."""
        self.part.unlink(missing_ok=True)
        self.state_path.unlink(missing_ok=True)


def _problem(path, size, sha256, md5=None):
    """Describe a mismatch of a file's size or digest, or return None."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"its size is {found} bytes, expected {size}"
    algorithms = hashlib.sha256(), hashlib.md5()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            for algorithm in algorithms:
                algorithm.update(block)
    found_sha256, found_md5 = (algorithm.hexdigest() for algorithm in algorithms)
    if sha256 and found_sha256 != sha256.lower():
        return f"its SHA-256 digest is {found_sha256}, expected {sha256}"
    if md5 and found_md5 != md5:
        return f"its MD5 digest is {found_md5}, but the server reports {md5}"
    return None


def _range_of(response):
    """Offset of a response's first byte, and the total size of the file or None."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not match:
            raise http.client.HTTPException(
                "the server sent a partial response without a valid Content-Range"
            )
        return int(match.group(1)), int(match.group(2))
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _md5_of(response):
    """MD5 digest from the headers of Google Cloud Storage, in hexadecimal, or None."""
    for header in response.headers.get_all("x-goog-hash", []):
        match = re.search(r"\bmd5=([\w+/]+=*)", header)
        if match:
            return base64.b64decode(match.group(1)).hex()
    return None


def _copy(response, file, start, total, name):
    """Copy a response to a file as data arrives, with a progress bar."""
    start_time = time.time()
    with tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None
    ) as bar:
        for block in iter(lambda: response.read1(_BLOCK), b""):
            file.write(block)
            bar.update(len(block))
        received = file.tell() - start
    megabytes, seconds = received / 1e6, max(time.time() - start_time, 1e-9)
    speed = megabytes / seconds
    logging.info("%s: %.1f MB in %.0f s (%.1f MB/s)", name, megabytes, seconds, speed)


def _reason(error):
    """Short description of a network error."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, socket.timeout):
        return "no data received within --timeout"
    return str(error) or type(error).__name__


def _requested_wait(error):
    """Seconds to wait before the next try, as requested by the server (Retry-After)."""
    headers = getattr(error, "headers", None)
    value = headers.get("Retry-After", "") if headers else ""
    return min(float(value), _LONGEST_WAIT) if value.isdigit() else 0.0

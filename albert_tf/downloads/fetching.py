"""Downloads that may be cut off and tried again."""

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
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    socket.timeout,
    ssl.SSLError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of a download over a network that fails.

    Attributes:
      timeout: seconds without a byte after which a connection counts as lost.
      retries: how often in a row a download is tried again without getting further.
      first_wait: seconds before the first retry; they double with each.
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
    """Download a file; it appears at `path` when it is whole and has been checked.

    What arrives is kept in `<path>.part`, from which a later call goes on if the server still has
    the same file. A file that is at `path` already is used if size and digest are right. Only one
    process may download to a path at a time: see `locks.file_lock`.

    Args:
      url: where the file is.
      path: where it goes.
      retry_policy: how long to try.
      sha256: the SHA-256 digest that it must have, in hexadecimal.
      size: the number of bytes that it must have.

    Raises:
      InputError: if the server does not have the file or cannot be reached, or if what it has is
        not the file with that size and digest, which is then removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not _problem(path, size, sha256):
        logging.info("%s is there: it is not downloaded again", path)
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
                    f"{url}: the download fails again and again ({_reason(error)}); the "
                    f"{download.received} bytes that have arrived are kept: give the same command "
                    "again"
                ) from error
            wait = min(retry_policy.first_wait * 2 ** max(failures - 1, 0), _LONGEST_WAIT)
            wait = max(wait, _wanted_wait(error))
            logging.warning("%s: %s; next try in %g s", url, _reason(error), wait)
            time.sleep(wait)
    download.check(sha256)
    download.finish()


class _Download:
    """A file on its way to `path`: `<path>.part`, and beside it what tells whether the server still
    has the same file (`<path>.part.json`)."""

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
        """The number of bytes that are there."""
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
        """Fetch the missing bytes; raises one of `_NETWORK_ERRORS` if some do not arrive."""
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
            if error.code == 416:  # there are more bytes than the server has
                self.discard()
                self.state = {}
            elif error.code not in _PASSING_STATUS:
                raise InputError(
                    f"{self.url}: the server answers {error.code} {error.reason}; check the address"
                ) from error
            raise
        except ValueError as error:
            raise InputError(f"{self.url}: not an address to download from: {error}") from error

    def _receive(self, response):
        start, total = _range_of(response)
        if start and (start != self.received or total != self.state.get("total")):
            self.discard()
            raise http.client.HTTPException("the server has another file than before")
        if self.size is not None and total is not None and total != self.size:
            self.discard()
            raise InputError(
                f"{self.url}: the server has {total} bytes, but {self.size} are expected; check "
                "the address and the size"
            )
        if not start:
            self._write_state(response, total)
        with self.part.open("ab" if start else "wb") as file:
            _copy(response, file, start, total, self.path.name)
        if total is not None and self.received != total:
            raise http.client.HTTPException(
                f"the connection has ended after {self.received} of {total} bytes"
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
        """Compare size and digests; a file that differs is removed."""
        problem = _problem(self.part, self.size, sha256, self.state.get("md5"))
        if problem:
            self.discard()
            raise InputError(
                f"{self.url}: {problem}; the download has been removed: check where file and "
                "digest come from, and give the same command again"
            )

    def finish(self):
        """Give the whole file its final name."""
        self.part.replace(self.path)
        self.state_path.unlink()

    def discard(self):
        """Remove the bytes received so far."""
        self.part.unlink(missing_ok=True)
        self.state_path.unlink(missing_ok=True)


def _problem(path, size, sha256, md5=None):
    """Problem of a file, or None."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"it has {found} bytes, but {size} are expected"
    digest = hashlib.sha256(), hashlib.md5()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            for algorithm in digest:
                algorithm.update(block)
    found_sha256, found_md5 = (algorithm.hexdigest() for algorithm in digest)
    if sha256 and found_sha256 != sha256.lower():
        return f"its SHA-256 digest is {found_sha256}, but {sha256} is expected"
    if md5 and found_md5 != md5:
        return f"its MD5 digest is {found_md5}, but the server tells {md5}"
    return None


def _range_of(response):
    """The first byte that a response brings, and the size of the whole file or None."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not match:
            raise http.client.HTTPException("the server sends a part and does not say which")
        return int(match.group(1)), int(match.group(2))
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _md5_of(response):
    """The MD5 digest in hexadecimal that Google's storage tells of a file, or None."""
    for header in response.headers.get_all("x-goog-hash", []):
        match = re.search(r"\bmd5=([\w+/]+=*)", header)
        if match:
            return base64.b64decode(match.group(1)).hex()
    return None


def _copy(response, file, start, total, name):
    """Copy a response to a file block by block, as the blocks arrive."""
    begin = time.time()
    with tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None
    ) as bar:
        for block in iter(lambda: response.read1(_BLOCK), b""):
            file.write(block)
            bar.update(len(block))
        received = file.tell() - start
    megabytes, seconds = received / 1e6, max(time.time() - begin, 1e-9)
    speed = megabytes / seconds
    logging.info("%s: %.1f MB in %.0f s (%.1f MB/s)", name, megabytes, seconds, speed)


def _reason(error):
    """Why the network failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, socket.timeout):
        return "no byte has come for the time of --timeout"
    return str(error) or type(error).__name__


def _wanted_wait(error):
    """The seconds that a server asks to wait before the next try."""
    headers = getattr(error, "headers", None)
    value = headers.get("Retry-After", "") if headers else ""
    return min(float(value), _LONGEST_WAIT) if value.isdigit() else 0.0

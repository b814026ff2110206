"""Resumable downloads with retries."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import http.client
import io
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Callable, Literal
from urllib.request import Request

from absl import logging
from tqdm import tqdm

from albert_tf.io import files, json_files
from albert_tf.io.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK = 1 << 16  # bytes
LONGEST_WAIT = 60.0  # seconds
_MOST_DOUBLINGS = 30  # of the wait; enough to reach the longest
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    socket.timeout,
    ssl.SSLError,
)


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


def fetch(
    url: str,
    path: Path,
    policy: DownloadPolicy,
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
      policy: retries and limits.
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
    download = _Download(url, path, policy, size)
    failures, furthest = 0, download.received
    while True:
        try:
            download.run()
            break
        except _NETWORK_ERRORS as error:
            has_progressed = download.received > furthest and not isinstance(error, _TooSlowError)
            failures = 0 if has_progressed else failures + 1
            furthest = max(furthest, download.received)
            if failures > policy.retries:
                raise InputError(
                    f"{url}: the download keeps failing ({_reason(error)}); repeat the command to "
                    f"resume after the {download.received} bytes received"
                ) from error
            doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
            wait = min(policy.first_wait * 2**doublings, LONGEST_WAIT)
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

    def __init__(self, url: str, path: Path, policy: DownloadPolicy, size: int | None):
        self.url = url
        self.path = path
        self.policy = policy
        self.size = size
        self.max_size = policy.max_size if size is None else size
        self.part = path.with_name(f"{path.name}.part")
        self.state_path = path.with_name(f"{path.name}.part.json")
        self.state = self._read_state()

    @property
    def received(self) -> int:
        """Number of bytes received so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def _read_state(self) -> dict[str, Any]:
        try:
            state = json_files.read(self.state_path, "the state", "remove the file")
            for name in ("validator", "md5"):
                if state.values.get(name) is not None and not state.text(name).isprintable():
                    raise state.error(f"{name} is not a line of text")
            if state.values.get("total") is not None:
                state.integer("total", 0)
            is_same = state.text("url") == self.url and self.part.exists()
        except InputError:
            is_same = False
        if not is_same:
            self.discard()
            return {}
        return state.values

    def run(self) -> None:
        """Fetch the missing bytes; raise one of `_NETWORK_ERRORS` if the transfer fails."""
        headers = {"User-Agent": "albert-download"}
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
            if self.state.get("validator"):
                headers["If-Range"] = self.state["validator"]
        try:
            request = Request(self.url, headers=headers)
            opener = _opener(self.policy)
            with opener.open(request, timeout=self.policy.timeout) as response:
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
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{self.url}: not a valid URL: {error}") from error

    def _receive(self, response: HTTPResponse) -> None:
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
        self._check_size(total or 0)
        if not start:
            self._write_state(response, total)
        with self.part.open("ab" if start else "wb") as file:
            _copy(response, file, start, total, self.path.name, self._check_size)
        if total is not None and self.received != total:
            raise http.client.HTTPException(
                f"the connection ended after {self.received} of {total} bytes"
            )

    def _check_size(self, size: int) -> None:
        if size > self.max_size:
            self.discard()
            limit = "--max_size" if self.size is None else "--size"
            raise InputError(
                f"{self.url}: the file is larger than {self.max_size} bytes ({limit}); check the "
                f"URL, or raise {limit} if the file is what you want"
            )

    def _write_state(self, response: HTTPResponse, total: int | None) -> None:
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

    def check(self, sha256: str | None) -> None:
        """Check size and digests; remove the download if they differ."""
        problem = _problem(self.part, self.size, sha256, self.state.get("md5"))
        if problem:
            self.discard()
            raise InputError(
                f"{self.url}: {problem}; the download was removed: check the URL and the digest, "
                "and repeat the command"
            )

    def finish(self) -> None:
        """Move the complete file to its final path."""
        self.part.replace(self.path)
        self.state_path.unlink()

    def discard(self) -> None:
        """Remove the bytes received so far."""
        self.part.unlink(missing_ok=True)
        self.state_path.unlink(missing_ok=True)


def _problem(
    path: Path, size: int | None, sha256: str | None, md5: str | None = None
) -> str | None:
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


def _range_of(response: HTTPResponse) -> tuple[int, int | None]:
    """Offset of a response's first byte, and the total size of the file or None."""
    if response.status == 206:
        match = re.fullmatch(
            r"bytes (\d{1,18})-\d+/(\d{1,18})", response.headers.get("Content-Range", "")
        )
        if not match:
            raise http.client.HTTPException(
                "the server sent a partial response without a valid Content-Range"
            )
        return int(match.group(1)), int(match.group(2))
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None


def _md5_of(response: HTTPResponse) -> str | None:
    """MD5 digest from the headers of Google Cloud Storage, in hexadecimal, or None."""
    for header in response.headers.get_all("x-goog-hash", []):
        match = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", header)
        if match:
            return base64.b64decode(match.group(1)).hex()
    return None


def _copy(
    response: HTTPResponse,
    file: BinaryIO,
    start: int,
    total: int | None,
    name: str,
    check_size: Callable[[int], None],
) -> None:
    """Copy a response to a file as data arrives, with a progress bar.

    `check_size` is called with the size that the file is going to have.
    """
    start_time = time.time()
    with tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None
    ) as bar:
        for block in iter(lambda: response.read1(_BLOCK), b""):
            check_size(file.tell() + len(block))
            file.write(block)
            bar.update(len(block))
        received = file.tell() - start
    megabytes, seconds = received / 1e6, max(time.time() - start_time, 1e-9)
    speed = megabytes / seconds
    logging.info("%s: %.1f MB in %.0f s (%.1f MB/s)", name, megabytes, seconds, speed)


def _reason(error: Exception) -> str:
    """Short description of a network error."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    reason: object = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.timeout):
        return "no data received within --timeout"
    return str(reason) or type(reason).__name__


def _requested_wait(error: Exception) -> float:
    """Seconds to wait before the next try, as requested by the server (Retry-After)."""
    headers = getattr(error, "headers", None)
    value = headers.get("Retry-After", "").strip() if headers else ""
    if re.fullmatch(r"[0-9]{1,9}", value):
        wait = float(value)
    else:
        try:
            wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, IndexError, OverflowError):
            return 0.0  # neither seconds nor a date
    return min(max(wait, 0.0), LONGEST_WAIT)


def _opener(policy: DownloadPolicy) -> urllib.request.OpenerDirector:
    """Opener of URLs that follows redirects to http and https, and gives up on slow servers."""

    class WatchedResponse(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any):
            watched = _WatchedSocket(sock, policy)
            super().__init__(watched, *args, **kwargs)  # type: ignore[arg-type]

    class WatchedConnections(urllib.request.AbstractHTTPHandler):
        """Mix-in for handlers: connections with `WatchedResponse`s."""

        def do_open(
            self, http_class: Callable[..., HTTPConnection], req: Request, **arguments: Any
        ) -> HTTPResponse:
            def connect(*args: Any, **kwargs: Any) -> HTTPConnection:
                connection = http_class(*args, **kwargs)
                connection.response_class = WatchedResponse
                return connection

            return super().do_open(connect, req, **arguments)

    class HttpHandler(WatchedConnections, urllib.request.HTTPHandler):
        pass

    class HttpsHandler(WatchedConnections, urllib.request.HTTPSHandler):
        pass

    return urllib.request.build_opener(HttpHandler, HttpsHandler, _RedirectHandler)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        request: Request,
        response: IO[bytes],
        code: int,
        message: str,
        headers: HTTPMessage,
        new_url: str,
    ) -> Request | None:
        if urllib.parse.urlsplit(new_url).scheme not in ("http", "https"):
            raise InputError(
                f"{request.full_url}: the server redirects to {new_url}, which is neither http nor "
                "https; check the URL"
            )
        return super().redirect_request(request, response, code, message, headers, new_url)


class _TooSlowError(ConnectionError):
    """The server sends less than the policy's `min_speed`."""


class _WatchedSocket:
    """Socket of a connection, as far as `http.client.HTTPResponse` uses it."""

    def __init__(self, sock: socket.socket, policy: DownloadPolicy):
        self._socket = sock
        self._policy = policy

    def makefile(self, mode: Literal["rb"]) -> io.BufferedReader:
        return io.BufferedReader(_WatchedReader(self._socket.makefile(mode, 0), self._policy))


class _WatchedReader(io.RawIOBase):
    """Reader of headers and data that raises `_TooSlowError` if they come too slowly."""

    def __init__(self, reader: io.RawIOBase, policy: DownloadPolicy):
        self._reader = reader
        self._policy = policy
        self._received, self._seconds = 0, 0.0  # since the last measurement

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        start = time.monotonic()
        count = self._reader.readinto(buffer)
        self._seconds += time.monotonic() - start
        self._received += count or 0
        if count and self._seconds >= self._policy.timeout:
            if self._received < self._policy.min_speed * self._seconds:
                raise _TooSlowError(
                    f"{self._received} bytes in {self._seconds:.0f} s, less than --min_speed "
                    f"{self._policy.min_speed:g}"
                )
            self._received, self._seconds = 0, 0.0
        return count

    def close(self) -> None:
        self._reader.close()
        super().close()

"""Downloads from a failing server, and file locks."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from albert_tf.downloads import fetching
from albert_tf.downloads.settings import DownloadSettings
from albert_tf.io.errors import InputError
from albert_tf.io.locks import file_lock
from file_server import Fault, FileServer

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = DownloadSettings(timeout=0.5, retries=2, retry_seconds=0.01, min_speed=0)


@pytest.fixture
def server():
    """Server with one file."""
    with FileServer({"/a.bin": CONTENT}) as server:
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    """Function that downloads a file to a new directory and returns its content."""

    def fetch_it(name="a.bin", **checks):
        path = tmp_path / "new" / name
        fetching.fetch(f"{server.url}/{name}", path, QUICK, **checks)
        assert [p.name for p in path.parent.iterdir()] == [name]
        return path.read_bytes()

    return fetch_it


def leftovers(tmp_path):
    """Names of the files left behind by a failed download."""
    return sorted(path.name for path in (tmp_path / "new").iterdir())


def test_a_complete_download(server, fetch):
    assert fetch(sha256=SHA256.upper(), size=len(CONTENT)) == CONTENT
    assert server.requests == [("/a.bin", None)]


def test_an_interrupted_download_resumes(server, fetch):
    server.faults = [Fault(cut_after=300_000), Fault(cut_after=100_000)]
    assert fetch(sha256=SHA256) == CONTENT
    assert server.requests == [
        ("/a.bin", None),
        ("/a.bin", "bytes=300000-"),
        ("/a.bin", "bytes=400000-"),
    ]


def test_a_later_call_resumes(server, fetch, tmp_path):
    server.faults = [Fault(cut_after=300_000), *[Fault(status=503)] * 3]
    with pytest.raises(InputError, match=r"503 .*resume after the 300000 bytes received"):
        fetch()
    assert leftovers(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    assert fetch() == CONTENT
    assert server.requests[-1] == ("/a.bin", "bytes=300000-")


def test_a_changed_file_is_downloaded_from_the_start(server, fetch):
    server.faults = [Fault(cut_after=300_000), *[Fault(status=500)] * 3]
    with pytest.raises(InputError):
        fetch()
    server.files["/a.bin"] = CONTENT[::-1]
    assert fetch() == CONTENT[::-1]


def test_another_part_than_the_requested_one_is_not_appended(server, fetch):
    server.faults = [Fault(cut_after=300_000)]
    server.headers = {"Content-Range": "bytes 5-9/10"}
    assert fetch() == CONTENT
    assert [part for _, part in server.requests] == [None, "bytes=300000-", None]


def test_a_server_without_ranges(server, fetch):
    server.knows_ranges = False
    server.faults = [Fault(cut_after=300_000)]
    assert fetch(sha256=SHA256) == CONTENT


def test_retries_without_progress_are_limited(server, fetch):
    server.knows_ranges = False
    server.faults = [Fault(cut_after=300_000)] * 10
    with pytest.raises(InputError, match="ended after 300000 of 1024000 bytes"):
        fetch()
    assert len(server.requests) == 4


def test_a_partial_file_longer_than_the_server_file(server, fetch, tmp_path):
    server.faults = [Fault(cut_after=300_000), *[Fault(status=500)] * 3]
    with pytest.raises(InputError):
        fetch()
    with (tmp_path / "new/a.bin.part").open("ab") as file:
        file.write(CONTENT)
    assert fetch(sha256=SHA256) == CONTENT


def test_a_slow_server_does_not_time_out(server, fetch):
    """The whole file takes longer than the timeout, but each block arrives in time."""
    server.block, server.pause = 300_000, 0.2
    assert fetch(sha256=SHA256) == CONTENT
    assert len(server.requests) == 1


def test_a_silent_server_times_out_and_is_retried(server, fetch):
    server.faults = [Fault(stall=1.5)]
    assert fetch(sha256=SHA256) == CONTENT
    assert len(server.requests) == 2


def test_a_busy_server_sets_the_wait(server, fetch, monkeypatch):
    waits = []
    monkeypatch.setattr(fetching.time, "sleep", waits.append)
    server.faults = [
        Fault(status=429, headers={"Retry-After": "7"}),
        Fault(status=503),
    ]
    # The server, too, sleeps between blocks, for 0 seconds.
    assert fetch() == CONTENT
    assert [wait for wait in waits if wait] == [7.0, 0.02]


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("x", 0.01),
        ("²", 0.01),
        ("-3", 0.01),
        ("1e9", 0.01),
        ("9" * 5000, 0.01),
        ("99999", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.01),
        ("Fri, 99 Foo 9999 25:61:61 GMT", 0.01),
        ("in an hour", 60.0),
    ],
)
def test_the_wait_is_seconds_or_a_date(server, fetch, monkeypatch, value, wait):
    waits = []
    monkeypatch.setattr(fetching.time, "sleep", waits.append)
    if value == "in an hour":
        value = email.utils.formatdate(time.time() + 3600, usegmt=True)
    server.faults = [Fault(status=503, headers={"Retry-After": value})]
    assert fetch() == CONTENT
    assert [wait for wait in waits if wait] == [wait]


@pytest.mark.parametrize("in_headers", [False, True])
def test_a_server_that_sends_a_byte_at_a_time_is_given_up(tmp_path, in_headers):
    """Each byte comes within the timeout, and each try makes progress."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    connections = []

    def serve(listener):
        while True:
            try:
                connection = listener.accept()[0]
                connections.append(connection)
                connection.recv(1 << 16)
                connection.sendall(b"" if in_headers else head)
                for byte in (head if in_headers else b"x") * 1000:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)
            except ConnectionError:
                pass
            except OSError:
                return  # closed at the end of the test

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.bin"
        settings = DownloadSettings(timeout=0.5, retries=1, retry_seconds=0.01, min_speed=1000)
        with pytest.raises(InputError, match=r"keeps failing \(\d+ bytes in \d s, less than --min"):
            fetching.fetch(url, tmp_path / "a.bin", settings)
        listener.shutdown(socket.SHUT_RDWR)
    assert len(connections) == 2


@pytest.mark.parametrize("has_size", [True, False])
def test_a_file_larger_than_the_limit_is_refused(server, tmp_path, has_size):
    server.tells_size = has_size
    settings = DownloadSettings(timeout=5, retries=0, max_size=len(CONTENT) - 1)
    with pytest.raises(InputError, match=r"larger than 1023999 bytes \(--max_size\)"):
        fetching.fetch(f"{server.url}/a.bin", tmp_path / "a.bin", settings)
    assert list(tmp_path.iterdir()) == []
    fetching.fetch(f"{server.url}/a.bin", tmp_path / "a.bin", settings, size=len(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a", "file:///etc/passwd", "data:,x"])
def test_redirects_lead_to_http_and_https_only(server, fetch, tmp_path, target):
    server.faults = [Fault(status=302, headers={"Location": target})]
    with pytest.raises(InputError, match=r"/a\.bin: the server (redirects|answers 302)"):
        fetch()
    assert leftovers(tmp_path) == []


def test_a_redirect_is_followed(server, fetch):
    server.files["/b.bin"] = b"moved"
    server.faults = [Fault(status=302, headers={"Location": "/b.bin"})]
    assert fetch() == b"moved"


def test_endless_redirects(server, fetch, tmp_path):
    server.faults = [Fault(status=302, headers={"Location": "/a.bin"})] * 100
    with pytest.raises(InputError, match=r"/a\.bin: the server redirects .*check the URL"):
        fetch()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "state", ["", "[]", "null", '{"url": 1}', '{"url": "%s", "validator": 5}', "[" * 10000]
)
def test_a_broken_state_starts_again(server, fetch, tmp_path, state):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a.bin.part").write_bytes(b"old")
    (tmp_path / "new/a.bin.part.json").write_text(state.replace("%s", f"{server.url}/a.bin"))
    assert fetch(sha256=SHA256) == CONTENT
    assert server.requests == [("/a.bin", None)]


def test_a_missing_file(server, fetch, tmp_path):
    with pytest.raises(InputError, match=r"/b\.bin: the server answers 404 .*check the URL"):
        fetch("b.bin")
    assert leftovers(tmp_path) == []
    assert len(server.requests) == 1


@contextlib.contextmanager
def server_of(answer):
    """Server that gives an answer, byte for byte, to its first client; its URL."""

    def serve(listener):
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.recv(1 << 16)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a.bin"
    thread.join(10)


def test_a_cut_connection_is_noticed_without_a_size(tmp_path):
    """The server sends chunks, of which the last is missing."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    settings = DownloadSettings(timeout=5, retries=0)
    for end, is_whole in ((b"0\r\n\r\n", True), (b"", False)):
        with server_of(head + b"3\r\nabc\r\n" + end) as url:
            if is_whole:
                fetching.fetch(url, tmp_path / "whole", settings)
                assert (tmp_path / "whole").read_bytes() == b"abc"
            else:
                with pytest.raises(InputError, match=r"keeps failing .*after the 3 bytes received"):
                    fetching.fetch(url, tmp_path / "cut", settings)
                assert not (tmp_path / "cut").exists()


def test_a_server_that_never_answers_times_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.bin"
        with pytest.raises(InputError, match=r"failing \(no data received within --timeout\)"):
            fetching.fetch(url, tmp_path / "a.bin", QUICK)


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_certificates_of_the_system_are_trusted(tmp_path, monkeypatch):
    """The system's certificates are where Python looks for them, such as in SSL_CERT_FILE."""
    certificate = str(tmp_path / "certificate.pem")
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    files = ["-keyout", certificate, "-out", f"{certificate}.crt"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    with Path(certificate).open("a") as file:
        file.write(Path(f"{certificate}.crt").read_text())
    with FileServer({"/a.bin": CONTENT}, certificate) as server:
        url = f"{server.url}/a.bin"
        with pytest.raises(InputError, match="CERTIFICATE_VERIFY_FAILED"):
            fetching.fetch(url, tmp_path / "a.bin", QUICK)
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        fetching.fetch(url, tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_local_file(tmp_path):
    source, path = tmp_path / "source.bin", tmp_path / "a.bin"
    source.write_bytes(CONTENT)
    url = source.as_uri()
    fetching.fetch(url, path, QUICK, sha256=SHA256, size=len(CONTENT))
    assert path.read_bytes() == CONTENT
    with pytest.raises(InputError, match="has 1024000 bytes, expected 7"):
        fetching.fetch(url, path, QUICK, size=7)
    source.unlink()
    with pytest.raises(InputError, match=r"source\.bin: .*No such file .*check the URL"):
        fetching.fetch(url, tmp_path / "b.bin", QUICK)


def test_only_a_download_loads_requests():
    """Runs, flags and help do without it: it takes a tenth of a second."""
    root = str(Path(fetching.__file__).parents[2])
    code = f"import sys; sys.path[:0] = [{root!r}, {root + '/download'!r}]\n"
    code += "import download_dataset, download_pretrained_model, run_squad_v1, run_pretraining\n"
    code += "before = 'requests' in sys.modules; import albert_tf.downloads.fetching\n"
    code += "print(before, 'requests' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "True"]


def test_no_server(tmp_path):
    with FileServer({}) as server:
        url = f"{server.url}/a.bin"
    with pytest.raises(InputError, match=r"keeps failing .*refused"):
        fetching.fetch(url, tmp_path / "a.bin", QUICK)


@pytest.mark.parametrize("url", ["storage/a.bin", "ftp2://host/a.bin"])
def test_invalid_urls(url, tmp_path):
    with pytest.raises(InputError):
        fetching.fetch(url, tmp_path / "a.bin", DownloadSettings(timeout=1, retries=0))


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"sha256": "0" * 64}, f"SHA-256 digest is {SHA256}, expected 0000"),
        ({"sha256": f"{SHA256[:63]}g"}, f"SHA-256 digest is {SHA256}, expected {SHA256[:63]}g"),
        ({"size": 7}, "the server's file has 1024000 bytes, expected 7"),
    ],
)
def test_an_unexpected_file_is_refused(fetch, tmp_path, checks, message):
    with pytest.raises(InputError, match=message):
        fetch(**checks)
    assert leftovers(tmp_path) == []


def test_the_md5_digest_of_google_storage(server, fetch, tmp_path):
    def header(content):
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        return {"x-goog-hash": f"crc32c=AAAAAA==,md5={digest}"}

    server.headers = header(b"another")
    with pytest.raises(InputError, match="MD5 digest"):
        fetch()
    assert leftovers(tmp_path) == []
    server.headers = header(CONTENT)
    assert fetch() == CONTENT


def test_an_existing_file_is_reused_if_it_is_intact(server, fetch, tmp_path):
    fetch()
    assert fetch(sha256=SHA256) == CONTENT
    assert len(server.requests) == 1
    (tmp_path / "new/a.bin").write_bytes(b"damaged")
    assert fetch(sha256=SHA256) == CONTENT
    assert len(server.requests) == 2


def test_a_folder_is_made_once(tmp_path):
    folder = tmp_path / "new/folder"

    def fail():
        raise InputError("failed")

    with pytest.raises(InputError, match="failed"):
        fetching.make_once(folder, fail)
    assert leftovers(tmp_path) == []
    fetching.make_once(folder, folder.mkdir)
    fetching.make_once(folder, fail)  # not called
    assert leftovers(tmp_path) == ["folder"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^--output_dir .*/file: not a directory"):
        fetching.make_once(tmp_path / "file/folder", fail)


def test_file_locks_exclude_each_other(tmp_path):
    """Threads with separate locks increment a count without losing an update."""
    path = tmp_path / "count"
    path.write_text("0")

    def count():
        for _ in range(20):
            with file_lock(path):
                value = int(path.read_text())
                path.write_text(str(value + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "80"
    assert not (tmp_path / "count.lock-holder").exists()

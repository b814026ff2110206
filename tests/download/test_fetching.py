"""Downloads from a failing server, file locks, and unsafe archives."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile

import pytest

from albert_tf.downloads import archives, fetching
from albert_tf.errors import InputError
from albert_tf.locks import file_lock
from file_server import Fault, FileServer

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RETRY_POLICY = fetching.RetryPolicy(timeout=0.5, retries=2, first_wait=0.01)


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
        fetching.fetch(f"{server.url}/{name}", path, RETRY_POLICY, **checks)
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


def test_a_missing_file(server, fetch, tmp_path):
    with pytest.raises(InputError, match=r"/b\.bin: the server answers 404 .*check the URL"):
        fetch("b.bin")
    assert leftovers(tmp_path) == []
    assert len(server.requests) == 1


def test_no_server(tmp_path):
    with FileServer({}) as server:
        url = f"{server.url}/a.bin"
    with pytest.raises(InputError, match=r"keeps failing .*refused"):
        fetching.fetch(url, tmp_path / "a.bin", RETRY_POLICY)


@pytest.mark.parametrize("url", ["storage/a.bin", "ftp2://host/a.bin"])
def test_invalid_urls(url, tmp_path):
    with pytest.raises(InputError):
        fetching.fetch(url, tmp_path / "a.bin", fetching.RetryPolicy(1, 0, 0))


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"sha256": "0" * 64}, f"SHA-256 digest is {SHA256}, expected 0000"),
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
    assert [p.name for p in tmp_path.iterdir()] == ["count"]


def tar_of(path, *members):
    """Write a tar archive of pairs of a name, or `TarInfo`, and a content."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_of(path, *members):
    """Write a zip archive of pairs of a name and a content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_unpack(tmp_path, make, suffix):
    archive = make(tmp_path / f"a.{suffix}", ("top/top", b"1"), ("top/sub/b", b"2"))
    (tmp_path / "out").mkdir()
    archives.unpack(archive, tmp_path / "out")
    files = {p.relative_to(tmp_path / "out"): p for p in (tmp_path / "out").rglob("*")}
    assert sorted(map(str, files)) == ["sub", "sub/b", "top"]
    assert (tmp_path / "out/sub/b").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "top/../../evil"])
@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_members_outside_of_the_folder_are_refused(tmp_path, make, suffix, name):
    archive = make(tmp_path / f"a.{suffix}", ("top/a", b"1"), (name, b"2"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="evil' would be written outside"):
        archives.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    link = tarfile.TarInfo("top/link")
    link.type, link.linkname = kind, "/etc/passwd"
    archive = tar_of(tmp_path / "a.tar.gz", (link, b""))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="'top/link' is a link or a device"):
        archives.unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_damaged_archives(tmp_path, make, suffix):
    archive = make(tmp_path / f"a.{suffix}", ("top/a", CONTENT[:100_000]))
    content = archive.read_bytes()
    (tmp_path / "out").mkdir()
    for damaged in (content[: len(content) // 2], b"<html>no archive</html>", b""):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match="the archive is damaged"):
            archives.unpack(archive, tmp_path / "out")

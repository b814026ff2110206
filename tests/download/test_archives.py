"""Extraction of archives: damaged, unsafe and oversized ones."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from albert_tf.downloads import archives
from albert_tf.io.errors import InputError

CONTENT = bytes(range(256)) * 4000
MAX_SIZE = 10_000_000


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
    archives.unpack(archive, tmp_path / "out", MAX_SIZE)
    files = {p.relative_to(tmp_path / "out"): p for p in (tmp_path / "out").rglob("*")}
    assert sorted(map(str, files)) == ["sub", "sub/b", "top"]
    assert (tmp_path / "out/sub/b").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "top/../../evil"])
@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_members_outside_of_the_folder_are_refused(tmp_path, make, suffix, name):
    archive = make(tmp_path / f"a.{suffix}", ("top/a", b"1"), (name, b"2"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="evil' would be written outside"):
        archives.unpack(archive, tmp_path / "out", MAX_SIZE)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    link = tarfile.TarInfo("top/link")
    link.type, link.linkname = kind, "/etc/passwd"
    archive = tar_of(tmp_path / "a.tar.gz", (link, b""))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="'top/link' is a link or a device"):
        archives.unpack(archive, tmp_path / "out", MAX_SIZE)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_damaged_archives(tmp_path, make, suffix):
    archive = make(tmp_path / f"a.{suffix}", ("top/a", CONTENT[:100_000]))
    content = archive.read_bytes()
    for number, damaged in enumerate((content[: len(content) // 2], b"<html>none</html>", b"")):
        archive.write_bytes(damaged)
        (tmp_path / str(number)).mkdir()
        with pytest.raises(InputError, match="the archive is damaged"):
            archives.unpack(archive, tmp_path / str(number), MAX_SIZE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/" * 2000 + "b", "has too long a path"),
        ("a" * 300, "has too long a path"),
        (".", "has no name"),
        ("./", "has no name"),
        ("top/a/b", "is in the archive twice, or also a directory"),
        ("top/a", "is in the archive twice, or also a directory"),
    ],
)
@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_odd_names_are_refused(tmp_path, make, suffix, name, reason):
    if suffix == "zip" and name.endswith("/"):
        pytest.skip("a directory")
    archive = make(tmp_path / f"a.{suffix}", ("top/a", b"1"), (name, b"2"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=rf"^a\.{suffix}: member '.*' {reason}"):
        archives.unpack(archive, tmp_path / "out", MAX_SIZE)


def test_an_encrypted_zip(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("a", b"1"))
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"^a\.zip: member 'a' is encrypted"):
        archives.unpack(archive, tmp_path / "out", MAX_SIZE)


def test_a_zip_with_backslashes(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("top\\a.tsv", b"1"), ("top\\sub\\b.tsv", b"2"))
    (tmp_path / "out").mkdir()
    archives.unpack(archive, tmp_path / "out", MAX_SIZE)
    assert (tmp_path / "out/sub/b.tsv").read_bytes() == b"2"


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_the_unpacked_size_is_limited(tmp_path, make, suffix):
    """A megabyte of zeros in an archive of a few kilobytes."""
    archive = make(tmp_path / f"a.{suffix}", ("a", bytes(600_000)), ("b", bytes(600_000)))
    assert archive.stat().st_size < 5000
    for name, max_size in (("enough", 1_200_000), ("too_few", 1_199_999)):
        (tmp_path / name).mkdir()
        if name == "enough":
            archives.unpack(archive, tmp_path / name, max_size)
            assert (tmp_path / "enough/b").read_bytes() == bytes(600_000)
        else:
            with pytest.raises(InputError, match="larger than 1199999 bytes; raise --max_unpacked"):
                archives.unpack(archive, tmp_path / name, max_size)


@pytest.mark.parametrize(("make", "suffix"), [(tar_of, "tar.gz"), (zip_of, "zip")])
def test_the_number_of_members_is_limited(tmp_path, monkeypatch, make, suffix):
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 2)
    for count in (2, 3):
        archive = make(tmp_path / f"a.{suffix}", *[(f"top/{n}", b"") for n in range(count)])
        (tmp_path / str(count)).mkdir()
        if count == 2:
            archives.unpack(archive, tmp_path / "2", MAX_SIZE)
            assert sorted(path.name for path in (tmp_path / "2").iterdir()) == ["0", "1"]
        else:
            with pytest.raises(InputError, match=rf"^a\.{suffix}: it has more than 2 members"):
                archives.unpack(archive, tmp_path / "3", MAX_SIZE)


def test_a_huge_header_is_not_read_into_memory(tmp_path):
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type = tarfile.GNUTYPE_LONGNAME
    archive = tar_of(tmp_path / "a.tar.gz", (long_name, bytes(20_000_000)), ("a", b"1"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="the archive is damaged"):
        archives.unpack(archive, tmp_path / "out", MAX_SIZE)

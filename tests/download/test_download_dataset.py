"""download_dataset.py with a real server and small files in the published layouts."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile

import pytest

from file_server import Fault, FileServer
from scripts import (
    SAMPLE_GLUE,
    SAMPLE_PREDICT,
    SAMPLE_RACE,
    SAMPLE_TRAIN,
    SAMPLE_V2_PREDICT,
    SAMPLE_V2_TRAIN,
    command,
    fail,
    succeed,
)

BOM = b"\xef\xbb\xbf"
TRAIN_HEADER = BOM + b"Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
PAIRS = [
    b'1\t702876\t702977\tHe said so .\tSo he " said .',
    b"0\t2108705\t2108831\tIt rose 2 % .\tIt fell\xc2\xa0.",
    b"1\t1330381\t1330521\tThey came .\tThey did come .",
]


def zip_of(folder, files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(f"{folder}/{name}", content)
        file.writestr(f"__MACOSX/{folder}/._dev.tsv", b"x")
    return buffer.getvalue()


def sample_task(folder):
    return {path.name: path.read_bytes() for path in (SAMPLE_GLUE / folder).iterdir()}


SST = {
    "train.tsv": b"sentence\tlabel\nfine\t1\n",
    "dev.tsv": b"sentence\tlabel\nbad\t0\n",
    "test.tsv": b"index\tsentence\n0\twell\n",
}
QNLI_ROW = b"0\tWho ?\tHe .\tentailment\n"
QNLI = {
    "train.tsv": b"index\tquestion\tsentence\tlabel\n" + QNLI_ROW,
    "dev.tsv": b"index\tquestion\tsentence\tlabel\n" + QNLI_ROW,
    "test.tsv": b"index\tquestion\tsentence\n0\tWho ?\tHe .\n",
}
SPLITS = ("train", "dev", "test")
RACE = {
    f"{split}/{level}/1.txt": (SAMPLE_RACE / split / level / "all.txt").read_bytes().split(b"\n")[0]
    for split in SPLITS
    for level in ("middle", "high")
}


def tar_of(folder, files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FILES = {
    "/data/RACE.tar.gz": tar_of("RACE", RACE),
    "/squad/train-v1.1.json": SAMPLE_TRAIN.read_bytes(),
    "/squad/dev-v1.1.json": SAMPLE_PREDICT.read_bytes(),
    "/squad/train-v2.0.json": SAMPLE_V2_TRAIN.read_bytes(),
    "/squad/dev-v2.0.json": SAMPLE_V2_PREDICT.read_bytes(),
    "/evaluate/blob/": b"print('evaluation')\n",
    "/glue/CoLA.zip": zip_of("CoLA", sample_task("CoLA")),
    "/glue/STS-B.zip": zip_of("STS-B", sample_task("STS-B")),
    "/glue/SST-2.zip": zip_of("SST-2", SST),
    "/glue/QNLIv2.zip": zip_of("QNLI", QNLI),
    "/glue/AX.tsv": b"index\tsentence1\tsentence2\n0\tA .\tB .\n",
    "/glue/mrpc_dev_ids.tsv": b"2108705\t2108831\n",
    "/mrpc/msr_paraphrase_train.txt": b"\r\n".join([TRAIN_HEADER, *PAIRS, b""]),
    "/mrpc/msr_paraphrase_test.txt": b"\r\n".join([TRAIN_HEADER, *PAIRS[:2], b""]),
}


@pytest.fixture
def server():
    with FileServer(FILES) as server:
        yield server


def download(server, directory, *names, **flags):
    flags = {
        "output_dir": directory,
        "squad_url": f"{server.url}/squad/",
        "squad_evaluation_url": f"{server.url}/evaluate/blob/",
        "glue_url": f"{server.url}/glue",
        "mrpc_url": f"{server.url}/mrpc",
        "race_url": f"{server.url}/data/RACE.tar.gz",
        "timeout": 5,
        "retries": 1,
        "retry_seconds": 0.01,
        "verify_checksums": False,
        **flags,
    }
    arguments = [*command("download/download_dataset.py", flags), *names]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_data_sets(server, tmp_path):
    server.faults = [Fault(cut_after=1000)]
    names = [
        "squad",
        "squad-v2",
        "squad-evaluation",
        "mrpc",
        "STS_B",
        "cola",
        "sst-2",
        "qnli",
        "ax",
    ]
    result = download(server, tmp_path, *names)
    succeed(result)
    folders = ["SQuAD", "SQuAD-v2", "SQuAD-evaluation"]
    folders += ["MRPC", "STS-B", "CoLA", "SST-2", "QNLI", "AX"]
    assert result.stdout.splitlines() == [str(tmp_path / folder) for folder in folders]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(folders)

    assert contents(tmp_path / "SQuAD") == {
        "train-v1.1.json": FILES["/squad/train-v1.1.json"],
        "dev-v1.1.json": FILES["/squad/dev-v1.1.json"],
    }
    assert contents(tmp_path / "SQuAD-v2") == {
        name: FILES[f"/squad/{name}"] for name in ("train-v2.0.json", "dev-v2.0.json")
    }
    evaluation = contents(tmp_path / "SQuAD-evaluation")
    assert evaluation == {"evaluate-v1.1.py": FILES["/evaluate/blob/"]}
    assert contents(tmp_path / "STS-B") == sample_task("STS-B")
    assert contents(tmp_path / "CoLA") == sample_task("CoLA")
    assert contents(tmp_path / "SST-2") == SST
    assert contents(tmp_path / "QNLI") == QNLI
    assert contents(tmp_path / "AX") == {"diagnostic.tsv": FILES["/glue/AX.tsv"]}
    assert contents(tmp_path / "MRPC") == {
        "train.tsv": b"\n".join([TRAIN_HEADER, PAIRS[0], PAIRS[2], b""]),
        "dev.tsv": b"\n".join([TRAIN_HEADER, PAIRS[1], b""]),
        "test.tsv": b"index\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        b'0\t702876\t702977\tHe said so .\tSo he " said .\n'
        b"1\t2108705\t2108831\tIt rose 2 % .\tIt fell\xc2\xa0.\n",
    }

    requests = len(server.requests)
    succeed(download(server, tmp_path, *names))
    assert len(server.requests) == requests


def test_race_is_downloaded_after_a_notice_of_its_license(server, tmp_path):
    result = download(server, tmp_path, "race")
    log = succeed(result)
    assert result.stdout == f"{tmp_path}/RACE\n"
    notice = "RACE may be used for non-commercial research only"
    assert f"{notice}; its passages belong to others: see {server.url}/data\n" in log
    files = [path for path in (tmp_path / "RACE").rglob("*") if path.is_file()]
    assert {str(f.relative_to(tmp_path / "RACE")): f.read_bytes() for f in files} == RACE


def test_published_digests_are_checked(server, tmp_path):
    result = download(server, tmp_path, "squad", verify_checksums=True)
    (line,) = fail(result)
    digest = hashlib.sha256(FILES["/squad/train-v1.1.json"]).hexdigest()
    assert f"its SHA-256 digest is {digest}, expected 3527663986b8295a" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "path", "content", "message"),
    [
        (
            "mrpc",
            "/glue/mrpc_dev_ids.tsv",
            b"1\t2\n",
            "mrpc_dev_ids.tsv lists 1 pairs, but msr_paraphrase_train.txt has 0 of them",
        ),
        ("mrpc", "/mrpc/msr_paraphrase_test.txt", b"\n", "the file is empty"),
        ("cola", "/glue/CoLA.zip", b"<html>", "the archive is damaged"),
        ("sst-2", "/glue/SST-2.zip", FILES["/glue/CoLA.zip"], "the header has no column"),
        ("squad", "/squad/dev-v1.1.json", b"{}", "data is missing"),
        (
            "squad-v2",
            "/squad/dev-v2.0.json",
            FILES["/squad/dev-v1.1.json"],
            "dev-v2.0.json: the questions are of SQuAD v1.1",
        ),
        (
            "race",
            "/data/RACE.tar.gz",
            tar_of("RACE", dict(list(RACE.items())[1:])),
            "train/middle: no articles",
        ),
        ("race", "/data/RACE.tar.gz", b"<html>", "the archive is damaged"),
        ("rte", "/none", b"", "RTE.zip: the server answers 404"),
        ("wsc", "/none", b"", "unknown task"),
    ],
)
def test_unusable_sources_are_refused(server, tmp_path, name, path, content, message):
    server.files[path] = content
    (line,) = fail(download(server, tmp_path, name))
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_names_are_needed(server, tmp_path):
    (line,) = fail(download(server, tmp_path))
    assert "name the datasets to download: squad, squad-v2, squad-evaluation, race, cola, " in line

"""download_pretrained_model.py with a real server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import threading
import time

import pytest

from albert_tf.downloads.models import download_model
from albert_tf.downloads.settings import ModelDownloadSettings
from albert_tf.io.errors import InputError
from file_server import Fault, FileServer
from golden import GOLDEN
from scripts import SAMPLE_MODEL, TINY_CONFIG, command, fail, run_script, succeed

SCRIPT = "download/download_pretrained_model.py"
CHECKPOINT = GOLDEN / "tiny_model/pretraining"
NAME = "albert_tiny_v1"
MEMBERS = {
    "albert_config.json": TINY_CONFIG.read_bytes(),
    "30k-clean.model": SAMPLE_MODEL.read_bytes(),
    "30k-clean.vocab": SAMPLE_MODEL.with_suffix(".vocab").read_bytes(),
    **{path.name: path.read_bytes() for path in CHECKPOINT.iterdir()},
}
DATA_FILE = "model.ckpt-best.data-00000-of-00001"
QUICK = {"timeout": 5, "retries": 2, "retry_seconds": 0.01}


def archive_of(members):
    """Make a `.tar.gz` archive like the published ones, with all files in one folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"albert_tiny/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive_of(MEMBERS)


@pytest.fixture
def server():
    with FileServer({f"/models/{NAME}.tar.gz": ARCHIVE}) as server:
        yield server


def download_command(server, directory, name=NAME, **flags):
    flags = {"output_dir": directory, **QUICK, **flags}
    return [*command(SCRIPT, flags), f"{server.url}/models/", name]


def download(server, directory, name=NAME, **flags):
    flags = {"output_dir": directory, **QUICK, **flags}
    return run_script(SCRIPT, flags, [f"{server.url}/models/", name])


def assert_downloaded(directory):
    """Assert that the model's folder has the archive's files, and that nothing else remains."""
    assert [path.name for path in directory.iterdir()] == [NAME]
    files = {path.name: path.read_bytes() for path in (directory / NAME).iterdir()}
    assert json.loads(files.pop("download.json"))["sha256"] == hashlib.sha256(ARCHIVE).hexdigest()
    assert files == MEMBERS


def test_without_tensorflow_all_but_the_checkpoint_is_checked(server, tmp_path):
    module = tmp_path / "modules/tensorflow/__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("raise ModuleNotFoundError('none', name='tensorflow')")
    result = subprocess.run(
        download_command(server, tmp_path / "models"),
        env={**os.environ, "PYTHONPATH": str(module.parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TensorFlow is not installed, so the checkpoint has not been read" in succeed(result)
    assert_downloaded(tmp_path / "models")
    prefix = f"{tmp_path}/models/{NAME}"
    assert f"--init_checkpoint={prefix}/model.ckpt-best" in result.stdout.splitlines()


def test_download_prints_the_flags_to_pass_on(server, tmp_path):
    result = download(server, tmp_path, sha256=hashlib.sha256(ARCHIVE).hexdigest())
    succeed(result)
    assert_downloaded(tmp_path)
    folder = tmp_path / NAME
    assert result.stdout.splitlines() == [
        f"--albert_config_file={folder}/albert_config.json",
        f"--vocab_file={folder}/30k-clean.vocab",
        f"--spm_model_file={folder}/30k-clean.model",
        f"--init_checkpoint={folder}/model.ckpt-best",
    ]

    again = download(server, tmp_path, sha256=hashlib.sha256(ARCHIVE).hexdigest())
    succeed(again)
    assert again.stdout == result.stdout
    assert len(server.requests) == 1
    (line,) = fail(download(server, tmp_path, sha256="0" * 64))
    assert line.endswith("remove it to download the model again")
    assert_downloaded(tmp_path)


def test_the_current_directory_is_the_default(server, tmp_path):
    arguments = download_command(server, None)
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    succeed(result)
    assert result.stdout.startswith(f"--albert_config_file={NAME}/albert_config.json\n")
    assert_downloaded(tmp_path)


def test_an_interrupted_download(server, tmp_path):
    half = len(ARCHIVE) // 2
    server.faults = [Fault(cut_after=half)]
    log = succeed(download(server, tmp_path))
    assert f"the connection ended after {half} of {len(ARCHIVE)} bytes" in log
    assert server.requests[-1][1] == f"bytes={half}-"
    assert_downloaded(tmp_path)


def test_a_disk_without_space_is_named_and_the_download_resumes(server, tmp_path):
    """A limit to the size of files stands for the disk."""
    limited = ["bash", "-c", 'ulimit -f 48; exec "$@"', "bash", *download_command(server, tmp_path)]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    line = fail(result)[-1]
    assert line.endswith(
        f"{tmp_path}/{NAME}.tar.gz.part: File too large; raise the limit with `ulimit -f "
        "unlimited` and run the same command again"
    )
    succeed(download(server, tmp_path))
    assert server.requests[-1][1] == f"bytes={48 << 10}-"
    assert_downloaded(tmp_path)


def start(server, directory, **flags):
    return subprocess.Popen(
        download_command(server, directory, **flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition):
    deadline = time.time() + 60
    while not condition():
        assert time.time() < deadline
        time.sleep(0.01)


def test_a_killed_download_resumes(server, tmp_path):
    server.block, server.pause = 4096, 0.2
    process = start(server, tmp_path)
    part = tmp_path / f"{NAME}.tar.gz.part"
    wait_for(lambda: part.exists() and part.stat().st_size)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / NAME).exists()

    server.pause = 0
    succeed(download(server, tmp_path))
    first, second = server.requests
    assert first[1] is None
    assert int(re.fullmatch(r"bytes=(\d+)-", second[1]).group(1)) > 0
    assert_downloaded(tmp_path)


def wait_until_one_is_blocked(*processes):
    """Wait until one of the processes logs that it is waiting for another."""
    found = threading.Event()

    def read(process):
        for line in process.stderr:
            if "waiting for process " in line:
                found.set()

    for process in processes:
        threading.Thread(target=read, args=[process], daemon=True).start()
    assert found.wait(120)


def test_two_processes_download_once(server, tmp_path):
    server.faults = [Fault(until=threading.Event())]
    until = server.faults[0].until
    processes = [start(server, tmp_path, timeout=300) for _ in range(2)]
    wait_until_one_is_blocked(*processes)
    until.set()
    outputs = [process.stdout.read() for process in processes]
    assert [process.wait() for process in processes] == [0, 0]
    assert outputs[0] == outputs[1] != ""
    assert server.requests == [(f"/models/{NAME}.tar.gz", None)]
    assert_downloaded(tmp_path)


def test_a_waiting_process_continues_when_the_first_is_killed(server, tmp_path):
    server.faults = [Fault(until=threading.Event())]
    first = start(server, tmp_path, timeout=300)
    wait_for(lambda: server.requests)
    second = start(server, tmp_path)
    wait_until_one_is_blocked(second)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.wait() == 0
    assert_downloaded(tmp_path)


def without(name):
    return {member: content for member, content in MEMBERS.items() if member != name}


def config_with(**sizes):
    return {"albert_config.json": json.dumps({**json.loads(TINY_CONFIG.read_text()), **sizes})}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (without("30k-clean.model"), "30k-clean.model is missing"),
        (without("30k-clean.vocab"), "30k-clean.vocab is missing"),
        (without("albert_config.json"), "albert_config.json is missing"),
        (without("model.ckpt-best.index"), "model.ckpt-best.index is missing"),
        (without(DATA_FILE), "model.ckpt-best.data-* is missing"),
        ({**MEMBERS, DATA_FILE: MEMBERS[DATA_FILE][:-100]}, "model.ckpt-best.data-* has been cut"),
        ({**MEMBERS, **config_with(vocab_size=421)}, "has 420 pieces, but albert_config.json"),
        ({**MEMBERS, **config_with(hidden_size=64)}, "the checkpoint does not fit"),
        ({**MEMBERS, "30k-clean.vocab": b"<pad>\t0\n"}, "the pieces differ from those of"),
        ({**MEMBERS, "../../evil": b"x"}, "would be written outside"),
    ],
)
def test_archives_without_a_complete_model(tmp_path, members, message):
    members = {n: c.encode() if isinstance(c, str) else c for n, c in members.items()}
    folder = tmp_path / "models" / NAME
    with FileServer({"/x.tar.gz": archive_of(members)}) as server:
        with pytest.raises(InputError) as raised:
            download_model(f"{server.url}/x.tar.gz", folder, ModelDownloadSettings())
    assert str(raised.value).startswith(f"{server.url}/x.tar.gz: ")
    assert message in str(raised.value)
    assert str(raised.value).endswith("; the download was removed")
    assert list(folder.parent.iterdir()) == []
    assert list(tmp_path.iterdir()) == [folder.parent]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("albert_huge_v9", {}, "404"),
        (NAME, {"sha256": "0" * 64}, "its SHA-256 digest is"),
        (NAME, {"size": 5}, "expected 5"),
        ("../x", {}, "'../x' is not the name of a model"),
    ],
)
def test_failed_downloads(server, tmp_path, name, flags, message):
    (line,) = fail(download(server, tmp_path, name, **flags))
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_arguments_are_needed():
    (line,) = fail(run_script(SCRIPT, {}))
    assert "give two arguments" in line

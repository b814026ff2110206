"""The docs' tour from a CSV file to a served answer, as printed, and the server's requests."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import tensorflow as tf

from albert_tf.inference import question_answering
from albert_tf.tasks.squad.data import read_squad
from readme_commands import readme_block
from scripts import ROOT, SAMPLE_PREDICT, load, make_quickstart_inputs

pytestmark = pytest.mark.examples


def tour_commands():
    """The commands of the tour in docs/classification.md."""
    return readme_block("make_csv.py quickstart").replace("\\\n", "").splitlines()


@contextmanager
def started(command, folder):
    """A server that a command starts in the background, and the line it prints when ready."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command.rstrip('& ')}"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def piped_errors():
    """Standard error as a file to read while other threads write it."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as errors, os.fdopen(writer, "w") as stream, redirect_stderr(stream):
        yield errors


def loaded(name):
    """Module of a file in examples/serving."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/serving/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment():
    """Environment in which `python` is this one."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Folder after the tour, and what its last command printed."""
    folder = tmp_path_factory.mktemp("tour")
    for path in ROOT.iterdir():
        if path.suffix == ".py" or path.name in ("albert_tf", "examples"):
            (folder / path.name).symlink_to(path)
    make_quickstart_inputs(folder / "quickstart")
    *first, serve, ask = tour_commands()
    assert len(first) == 3
    for command in first:
        subprocess.run(command, shell=True, cwd=folder, env=environment(), check=True)
    # At any free port: another program may use the printed one.
    assert "--port=8501" in serve
    with started(serve.replace("--port=8501", "--port=0"), folder) as ready:
        address = re.fullmatch(r"serving quickstart/exported on (localhost:\d+)\n", ready)[1]
        asked = subprocess.run(
            ask.replace("localhost:8501", address),
            **{"shell": True, "cwd": folder, "env": environment()},
            **{"check": True, "stdout": subprocess.PIPE},
        )
    return folder, json.loads(asked.stdout)


def test_the_tour_ends_with_an_answer(tour):
    folder, answer = tour
    assert len((folder / "quickstart/facts.csv").read_text().splitlines()) == 201
    assert load(folder / "quickstart/facts/eval_results.json")["accuracy"] >= 0.9
    assert answer["label"] == "ship"
    assert answer["probabilities"]["ship"] > 0.5
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_requests_fit_the_exported_signature(tour):
    """The client's request, read as TensorFlow Serving does, gives the predictions of the run."""
    folder, _ = tour
    client = loaded("client")
    asked = client.TextClient(str(folder / "quickstart/exported"), "http://unused")
    lines = (folder / "quickstart/facts/predictions.csv").read_text().splitlines()[1:]
    rows = [line.rsplit(",", 2) for line in lines]
    request = asked.request([[text.strip('"')] for text, _, _ in rows])
    assert list(request) == ["instances"]
    (exported,) = (folder / "quickstart/exported").iterdir()
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    assert list(signature.structured_input_signature[1]) == ["input"]
    records = [client.base64.b64decode(instance["b64"]) for instance in request["instances"]]
    outputs = signature(input=tf.constant(records))
    labels = load(exported / "assets.extra/labels.json")["labels"]
    assert [labels[number] for number in outputs["predictions"].numpy()] == [
        label for _, label, _ in rows
    ]
    np.testing.assert_allclose(
        outputs["probabilities"].numpy().max(axis=1),
        [float(probability) for _, _, probability in rows],
        atol=1e-5,
    )


def test_questions_to_a_server_that_starts(exported):
    """The client waits for it, and has the answers of the exported model without its weights."""
    server = loaded("server")
    handler = server.make_handler(server.ServedModel(str(exported)))
    question = read_squad(str(SAMPLE_PREDICT), False)[0]
    listening = ThreadingHTTPServer(("localhost", 0), handler, bind_and_activate=False)
    with listening, ThreadPoolExecutor(1) as pool, piped_errors() as errors:
        listening.server_bind()  # connections are refused until it is active
        url = f"http://localhost:{listening.server_port}/v1/models/squad"
        client = loaded("client").QuestionClient(str(exported), url)
        answers = pool.submit(client.answer, question.text, question.paragraph)
        assert errors.readline() == f"waiting for the server at {url}:predict\n"
        listening.server_activate()
        Thread(target=listening.serve_forever, daemon=True).start()
        found = answers.result()
        listening.shutdown()
    expected = question_answering.load_model(str(exported)).answer(
        question.text, question.paragraph
    )
    assert [(x.text, x.start) for x in found] == [(x.text, x.start) for x in expected]
    assert [x.probability for x in found] == pytest.approx(
        [x.probability for x in expected], abs=1e-5
    )


def test_a_port_in_use_is_told(exported, monkeypatch):
    with socket.create_server(("localhost", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["server.py", f"--model={exported}", f"--port={port}"])
        with pytest.raises(SystemExit, match=f"^error: --host=localhost --port={port}: Address"):
            loaded("server").main()


def test_wrong_requests_are_answered(tour):
    folder, _ = tour
    command = "python examples/serving/server.py --model=quickstart/exported --port=0"
    with started(command, folder) as ready:
        address = f"http://{ready.split()[-1]}/v1/models/x"
        with urllib.request.urlopen(address) as response:
            (status,) = json.load(response)["model_version_status"]
        assert status["state"] == "AVAILABLE"
        for data in (b"{", b"{}", b'{"instances": [{"b64": "?"}]}', b'{"instances": ["x"]}'):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(urllib.request.Request(f"{address}:predict", data))
            assert error.value.code == 400
            assert json.load(error.value)["error"]

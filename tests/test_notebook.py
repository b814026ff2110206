"""The notebook in `examples/`, run on the tiny model."""

from __future__ import annotations

import json
import re
import shutil

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from albert_tf.inference.question_answering import load_model
from albert_tf.run_dir import model_folder
from golden import checkpoint_of, tiny_config
from scripts import ROOT, SAMPLE_MODEL, TINY_CONFIG

pytestmark = pytest.mark.examples

EXAMPLES = ROOT / "examples"
SETTINGS = {"max_seq_length": 96, "doc_stride": 32, "max_query_length": 24, "do_lower_case": True}
REPORT = """import json
print(json.dumps({
    "question": QUESTION,
    "text": TEXT,
    "answers": [[answer.text, answer.probability] for answer in answers],
    "pieces": pieces,
    "shapes": [layer.shape for layer in attention],
    "sums": [layer.sum(axis=-1).ravel().tolist() for layer in attention],
    "looked_at": looked_at,
    "architecture": architecture,
}))"""


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, sample_tokenizer):
    """Folder of the tiny model for questions, like the output directory of a run."""
    folder = tmp_path_factory.mktemp("tuned")
    for suffix in ("index", "data-00000-of-00001"):
        path = f"{checkpoint_of('squad')}.{suffix}"
        shutil.copyfile(path, folder / f"model.ckpt-best.{suffix}")
    files = model_folder.named_files(str(TINY_CONFIG), str(SAMPLE_MODEL), None)
    model_folder.write(folder, files, sample_tokenizer, SETTINGS, {})
    return folder


@pytest.fixture(scope="module")
def executed(tuned):
    """Cells of the executed notebook, and values of its variables."""
    notebook = nbformat.read(EXAMPLES / "albert.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for name, path in (("MODEL", tuned), ("CONVERTED", tuned / "converted")):
        given = re.search(rf'^{name} = "([^"]*)"', first.source, re.MULTILINE)[1]
        first.source = first.source.replace(f'"{given}"', f'"{path}"')
    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return cells, json.loads(text_of(cells[-1]))


def text_of(cell):
    """Text that a cell has printed."""
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


def test_the_committed_notebook_has_no_outputs():
    notebook = nbformat.read(EXAMPLES / "albert.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_answers_are_those_of_the_model(executed, tuned):
    _, values = executed
    expected = load_model(str(tuned)).answer(values["question"], values["text"])
    assert [text for text, _ in values["answers"]] == [answer.text for answer in expected]
    np.testing.assert_allclose(
        [probability for _, probability in values["answers"]],
        [answer.probability for answer in expected],
        rtol=1e-4,
    )


def test_attention_is_shown(executed, sample_tokenizer):
    cells, values = executed
    config, pieces = tiny_config(), values["pieces"]
    question, text = (
        sample_tokenizer.tokenize(values[part].lower()) for part in ("question", "text")
    )
    assert pieces == ["[CLS]", *question, "[SEP]", *text, "[SEP]"][:96]
    shape = [config.num_attention_heads, len(pieces), len(pieces)]
    assert values["shapes"] == [shape] * config.num_hidden_layers
    np.testing.assert_allclose(values["sums"], 1, rtol=1e-5)
    assert list(values["looked_at"]) == list(dict.fromkeys(question))
    images = [o for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(images) == 1


def test_the_model_is_converted(executed, tuned):
    _, values = executed
    assert values["architecture"] == "AlbertForQuestionAnswering"
    assert {path.name for path in (tuned / "converted").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
    }

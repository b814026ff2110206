"""Converted models in Hugging Face's transformers: equal logits and pieces."""

from __future__ import annotations

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers loads

import numpy as np
import pytest

from golden import GOLDEN, INPUTS, golden_json, golden_numbers
from test_convert_checkpoint import to_huggingface
from tokenization import encode_ids, preprocess_text

transformers = pytest.importorskip("transformers")  # requirements-dev.txt: not on every Python

# The pinned PyTorch is a CPU build on this version of Python alone: see requirements-dev.txt.
WITH_TORCH = sys.version_info[:2] == (3, 11)
TRANSFORMERS = int(transformers.__version__.partition(".")[0])
FEATURES = {
    "input_ids": INPUTS["input_ids"].astype(np.int64),
    "attention_mask": INPUTS["input_mask"].astype(np.int64),
    "token_type_ids": INPUTS["segment_ids"].astype(np.int64),
}


@pytest.fixture
def outputs(tmp_path):
    """Function that runs a converted head in transformers and returns its outputs by name."""

    def outputs_of(head, features=FEATURES):
        folder = tmp_path / "theirs"
        architecture = to_huggingface(folder, head)
        if not WITH_TORCH:
            model = getattr(transformers, f"TF{architecture}").from_pretrained(folder)
            return {name: value.numpy() for name, value in model(**features).items()}
        import torch

        model, loading = getattr(transformers, architecture).from_pretrained(
            folder, output_loading_info=True
        )
        assert not loading["missing_keys"]
        assert set(loading["unexpected_keys"]) <= {"albert.pooler.weight", "albert.pooler.bias"}
        with torch.no_grad():
            result = model.eval()(**{name: torch.tensor(v) for name, v in features.items()})
        return {name: value.numpy() for name, value in result.items()}

    return outputs_of


def assert_close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_question_answering(outputs):
    found, expected = outputs("squad"), golden_numbers("forward_squad")
    assert_close(found["start_logits"], expected["start_logits"])
    assert_close(found["end_logits"], expected["end_logits"])


def test_sequence_classification(outputs):
    assert_close(outputs("classifier")["logits"], golden_numbers("forward_classifier")["logits"])


def test_regression(outputs):
    expected = golden_numbers("forward_regression")["logits"]
    assert_close(outputs("regression")["logits"], expected[:, np.newaxis])


def test_multiple_choice(outputs):
    """The rows are the options of one question."""
    features = {name: value[np.newaxis] for name, value in FEATURES.items()}
    assert_close(outputs("race", features)["logits"], golden_numbers("forward_race")["logits"])


def log_softmax(logits):
    """Log-softmax in float64."""
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_pretraining(outputs):
    found, expected = outputs("pretraining"), golden_numbers("forward_pretraining")
    assert_close(log_softmax(found["sop_logits"]), expected["sentence_order_log_probs"])
    positions = INPUTS["masked_lm_positions"][:, :, np.newaxis]
    at_positions = np.take_along_axis(found["prediction_logits"], positions, axis=1)
    found_log_probs = log_softmax(at_positions.reshape([-1, at_positions.shape[-1]]))
    assert_close(found_log_probs, expected["masked_lm_log_probs"])


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_pieces(tmp_path, do_lower_case, sample_model):
    to_huggingface(tmp_path / "theirs", do_lower_case=do_lower_case)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    assert tokenizer.is_fast  # from `tokenizer.json`
    golden = [entry for entry in golden_json("encode") if entry["lower"] == do_lower_case]
    expected = {entry["text"]: entry["ids"] for entry in golden}
    for line in (GOLDEN / "sample/sample_corpus.txt").read_text(encoding="utf-8").splitlines():
        expected[line] = encode_ids(sample_model, preprocess_text(line, lower=do_lower_case))
    assert len(expected) > 80
    for text, ids in expected.items():
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
    inputs = tokenizer("a", "b")
    assert inputs["token_type_ids"] == [0, 0, 0, 1, 1]
    assert tokenizer.convert_ids_to_tokens(inputs["input_ids"]) == [
        "[CLS]",
        "▁a",
        "[SEP]",
        "▁b",
        "[SEP]",
    ]
    assert tokenizer.model_max_length == 128
    assert len(tokenizer) == 420  # no token is added


@pytest.mark.skipif(TRANSFORMERS >= 5, reason="its AlbertTokenizer splits words differently")
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_pieces_of_the_sentencepiece_model(tmp_path, do_lower_case):
    to_huggingface(tmp_path / "theirs", do_lower_case=do_lower_case)
    tokenizer = transformers.AlbertTokenizer.from_pretrained(tmp_path / "theirs")
    for entry in golden_json("encode"):
        if entry["lower"] == do_lower_case:
            assert tokenizer.encode(entry["text"], add_special_tokens=False) == entry["ids"]

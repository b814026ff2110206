"""Mutations of a model's files: config, vocabulary, checkpoint, exports, transformers."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import tensorflow.compat.v1 as tf

import tokenization
from albert_tf.devices import bfloat16
from albert_tf.graph.model import encoder_shapes
from albert_tf.huggingface import folders
from albert_tf.huggingface.weights import read_tensors
from albert_tf.inference.trained_model import check_model, find_model
from albert_tf.nn.config import AlbertConfig
from albert_tf.run_dir import checkpoints, model_folder, run_dir
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT
from albert_tf.run_dir.run_dir import RunDir
from albert_tf.tasks.squad.settings import AnswerSettings
from golden import checkpoint_of, tiny_config
from mutations import COUNT, MANY, check_reader, mutated_bytes, mutated_json
from scripts import ROOT, SAMPLE_MODEL, TINY_CONFIG

FEW = COUNT // 3  # for readers that take a tenth of a second
TEXT = "A lamp of 1874, “é” 東京."
DATA_SUFFIX = ".data-00000-of-00001"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Files of a small model; each test leaves them as they were."""
    directory = tmp_path_factory.mktemp("model")
    shutil.copyfile(TINY_CONFIG, directory / model_folder.CONFIG_FILE)
    shutil.copyfile(SAMPLE_MODEL, directory / model_folder.SPM_MODEL_FILE)
    sp_model = tokenization.load_sentencepiece_model(str(SAMPLE_MODEL))
    vocabulary = model_folder.vocabulary_text(sp_model)
    (directory / model_folder.VOCAB_FILE).write_text(vocabulary, encoding="utf-8")
    for suffix in (".index", DATA_SUFFIX):
        source = f"{checkpoint_of('squad')}{suffix}"
        shutil.copyfile(source, directory / f"{BEST_CHECKPOINT}{suffix}")
    return directory


def test_configs(model):
    path = model / model_folder.CONFIG_FILE

    def check(config):
        assert config.hidden_size % config.num_attention_heads == 0
        assert AlbertConfig.from_dict(json.loads(config.to_json_string())).to_dict() == (
            config.to_dict()
        )

    results, errors = check_reader(
        path, lambda: AlbertConfig.from_json_file(str(path)), check, mutated_json, MANY
    )
    assert results
    assert errors


def test_configs_make_models(model):
    path = model / model_folder.CONFIG_FILE

    def check(shapes):
        assert all(size >= 1 for shape in shapes.values() for size in shape)

    def read():
        return encoder_shapes(AlbertConfig.from_json_file(str(path)))

    results, errors = check_reader(path, read, check, mutated_json, FEW)
    assert results
    assert errors


def check_tokenizer(tokenizer):
    ids = tokenizer.ids_of_text(TEXT, True)
    assert tokenizer.convert_ids_to_tokens(ids)


def test_vocabularies(tmp_path):
    path = tmp_path / "vocab.txt"
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "lamp", "a", "##é", "東", ".", "18", "##74")
    path.write_text("\n".join(pieces), encoding="utf-8")
    results, errors = check_reader(
        path,
        lambda: model_folder.load_tokenizer(str(path), None, do_lower_case=True),
        check_tokenizer,
        count=MANY,
    )
    assert results
    assert errors


def test_sentencepiece_models(model):
    path = model / model_folder.SPM_MODEL_FILE
    config = tiny_config()

    def read():
        tokenizer = tokenization.FullTokenizer(None, spm_model_file=str(path))
        model_folder.check_vocabulary(str(path), tokenizer, "albert_config.json", config)
        return tokenizer

    results, errors = check_reader(path, read, check_tokenizer, count=MANY)
    assert results
    assert errors


@pytest.mark.parametrize("suffix", [".index", DATA_SUFFIX])
def test_checkpoints(model, suffix):
    path = model / f"{BEST_CHECKPOINT}{suffix}"

    def read():
        files = find_model(model)
        check_model(files)
        return checkpoints.shapes_in(files.checkpoint)

    def check(shapes):
        assert "bert/pooler/dense/kernel" in shapes

    _, errors = check_reader(path, read, check, count=COUNT, name=BEST_CHECKPOINT)
    assert errors


def test_checkpoint_states(tmp_path):
    for suffix in (".index", DATA_SUFFIX):
        shutil.copyfile(f"{checkpoint_of('squad')}{suffix}", tmp_path / f"model.ckpt-8{suffix}")
    prefix = str(tmp_path / "model.ckpt-8")
    directory = RunDir(tmp_path)
    directory.write_state([prefix])

    def read():
        assert run_dir.find_checkpoint(str(tmp_path)) == prefix
        directory.write_state(directory.saved())
        return tf.train.latest_checkpoint(str(tmp_path))

    def check(latest):
        assert latest == prefix

    results, _ = check_reader(tmp_path / "checkpoint", read, check)
    assert results == COUNT


def test_checkpoint_states_of_other_programs(tmp_path):
    """Only the file `checkpoint` tells the name of the checkpoint."""
    for suffix in (".index", DATA_SUFFIX):
        shutil.copyfile(f"{checkpoint_of('squad')}{suffix}", tmp_path / f"bert.ckpt{suffix}")
    prefix = str(tmp_path / "bert.ckpt")
    RunDir(tmp_path).write_state([prefix])

    def check(found):
        assert found == prefix

    results, errors = check_reader(
        tmp_path / "checkpoint",
        lambda: run_dir.find_checkpoint(str(tmp_path)),
        check,
        name=str(tmp_path),
    )
    assert results
    assert errors


def test_bfloat16_files(tmp_path):
    path = tmp_path / "conversion.json"
    shutil.copyfile(ROOT / "bf16_config/albert.json", path)

    def check(config):
        assert isinstance(config.allowlist, (list, tuple))

    results, errors = check_reader(
        path, lambda: bfloat16.read_config(str(path)), check, mutated_json, MANY
    )
    assert results
    assert errors


def test_settings_of_models(tmp_path):
    path = tmp_path / model_folder.SETTINGS_FILE
    settings = {
        "format": 1,
        "max_seq_length": 96,
        "do_lower_case": True,
        "doc_stride": 32,
        "n_best_size": 20,
    }
    path.write_text(json.dumps(settings))

    def check(settings):
        for name, value in settings.items():
            assert type(value) is (bool if name == "do_lower_case" else int)

    results, errors = check_reader(
        path,
        lambda: model_folder.read_settings(tmp_path, AnswerSettings),
        check,
        mutated_json,
        MANY,
    )
    assert results
    assert errors


@pytest.fixture(scope="module")
def transformers_model(tmp_path_factory):
    """Folder of a small model for transformers; each test leaves it as it was."""
    folder = tmp_path_factory.mktemp("theirs") / "model"
    folders.write_huggingface(
        str(folder), str(TINY_CONFIG), str(SAMPLE_MODEL), checkpoint_of("classifier")
    )
    return folder


def mutated_safetensors(rng, data):
    """Change the header of a safetensors file, and often keep its length right."""
    if rng.randrange(3) == 0:
        return mutated_bytes(rng, data)
    (length,) = struct.unpack("<Q", data[:8])
    header = mutated_json(rng, data[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        (folders.CONFIG_FILE, mutated_json),
        (folders.WEIGHTS_FILE, mutated_safetensors),
        (folders.SPM_MODEL_FILE, mutated_bytes),
    ],
)
def test_models_of_transformers(transformers_model, tmp_path, name, mutate):
    path, folder = transformers_model / name, tmp_path / "ours"

    def read():
        try:
            return folders.read_huggingface(str(transformers_model), str(folder))
        finally:
            is_made = (folder / model_folder.CONFIG_FILE).exists()
            assert is_made == folder.exists()

    def check(model):
        check_model(model)
        shutil.rmtree(folder)

    results, errors = check_reader(path, read, check, mutate, FEW, name=str(transformers_model))
    assert results
    assert errors
    assert list(tmp_path.iterdir()) == []


def test_tensors_of_transformers(transformers_model):
    path = transformers_model / folders.WEIGHTS_FILE

    def check(tensors):
        assert all(value.dtype.kind in "fi" for value in tensors.values())

    results, errors = check_reader(
        path, lambda: read_tensors(path), check, mutated_safetensors, MANY
    )
    assert results
    assert errors

"""convert_checkpoint.py: exact round trips, and models that cannot be converted."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow.compat.v1 as tf

import convert_checkpoint
from albert_tf.graph.model import encoder_shapes
from albert_tf.huggingface import folders
from albert_tf.huggingface.weights import HEADS, encoder_weights, read_tensors
from albert_tf.inference import trained_model
from albert_tf.io.errors import InputError
from albert_tf.run_dir import checkpoints
from golden import checkpoint_of, golden_json, tiny_config
from modeling import AlbertConfig
from scripts import SAMPLE_MODEL, TINY_CONFIG, assert_same_variables, fail, run_script, succeed

SCRIPT = "convert_checkpoint.py"
ARCHITECTURES = {
    "squad": "AlbertForQuestionAnswering",
    "classifier": "AlbertForSequenceClassification",
    "regression": "AlbertForSequenceClassification",
    "pretraining": "AlbertForPreTraining",
    "race": "AlbertForMultipleChoice",
}


def to_huggingface(folder, head="squad", checkpoint=None, config_file=TINY_CONFIG, **options):
    return folders.write_huggingface(
        str(folder),
        str(config_file),
        str(SAMPLE_MODEL),
        checkpoint or checkpoint_of(head),
        is_multiple_choice=head == "race",
        **options,
    )


@pytest.fixture
def change(tmp_path):
    """Function that converts the tiny model with a head and changes its tensors or config."""

    def change_it(head="squad", tensors=None, config=None):
        folder = tmp_path / "theirs"
        to_huggingface(folder, head)
        weights = safetensors.numpy.load_file(folder / "model.safetensors")
        for name, value in (tensors or {}).items():
            if value is None:
                del weights[name]
            else:
                weights[name] = value
        safetensors.numpy.save_file(weights, folder / "model.safetensors")
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**values, **(config or {})}))
        return str(folder)

    return change_it


def test_labels_of_own_data_are_kept(tmp_path):
    for path in Path(checkpoint_of("classifier")).parent.glob("model.ckpt-best.*"):
        shutil.copy(path, tmp_path)
    labels = {
        "format": 1,
        "regression": False,
        "labels": ["off", "on"],
        "counts": [3, 4],
        "text_columns": ["x"],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    settings = convert_checkpoint.Settings(
        albert_config_file=str(TINY_CONFIG),
        spm_model_file=str(SAMPLE_MODEL),
        init_checkpoint=str(tmp_path),
        output_dir=str(tmp_path / "theirs"),
    )
    convert_checkpoint.main(settings)
    config = json.loads((tmp_path / "theirs/config.json").read_text())
    assert config["id2label"] == {"0": "off", "1": "on"}
    assert config["label2id"] == {"off": 0, "on": 1}


@pytest.mark.tensorflow
def test_both_ways_by_command(tmp_path):
    """Convert to transformers, back, and to transformers again, with the flags of a user."""
    theirs, ours, again = (str(tmp_path / name) for name in ("theirs", "ours", "again"))
    flags = {
        "albert_config_file": TINY_CONFIG,
        "spm_model_file": SAMPLE_MODEL,
        "init_checkpoint": f"{checkpoint_of('classifier')}.index",
        "task_name": "RTE",
        "output_dir": theirs,
    }
    result = run_script(SCRIPT, flags)
    succeed(result)
    expected = f'transformers.AlbertForSequenceClassification.from_pretrained("{theirs}")\n'
    assert result.stdout == expected
    config = json.loads((tmp_path / "theirs/config.json").read_text())
    assert config["id2label"] == {"0": "entailment", "1": "not_entailment"}

    result = run_script(SCRIPT, {"huggingface_dir": theirs, "output_dir": ours})
    succeed(result)
    assert result.stdout.splitlines() == trained_model.find_model(ours).as_flags()
    trained_model.check_model(trained_model.find_model(ours))
    assert_same_variables(tmp_path / "ours/model.ckpt-best", checkpoint_of("classifier"))
    assert AlbertConfig.from_json_file(f"{ours}/albert_config.json").to_dict() == {
        **tiny_config().to_dict()
    }

    succeed(run_script(SCRIPT, {"init_checkpoint": ours, "output_dir": again}))
    weights = (tmp_path / "theirs/model.safetensors").read_bytes()
    assert (tmp_path / "again/model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("head", ARCHITECTURES)
def test_round_trip_is_exact(tmp_path, head):
    assert to_huggingface(tmp_path / "theirs", head) == ARCHITECTURES[head]
    model = folders.read_huggingface(str(tmp_path / "theirs"), str(tmp_path / "ours"))
    assert_same_variables(model.checkpoint, checkpoint_of(head))
    files = sorted((tmp_path / "theirs").iterdir())
    assert [path.name for path in files] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    (tmp_path / "any").touch()
    assert {path.stat().st_mode for path in files} == {(tmp_path / "any").stat().st_mode}


def test_without_the_package_tokenizers(tmp_path):
    """All else is converted, with a warning, as in an environment without the package."""
    theirs, packages = tmp_path / "theirs", tmp_path / "packages"
    packages.mkdir()
    (packages / "tokenizers.py").write_text("raise ModuleNotFoundError(\"No module 'tokenizers'\")")
    flags = {
        "albert_config_file": TINY_CONFIG,
        "spm_model_file": SAMPLE_MODEL,
        "init_checkpoint": checkpoint_of("squad"),
        "output_dir": theirs,
    }
    result = run_script(SCRIPT, flags, env={"PYTHONPATH": str(packages)}, fresh=True)
    succeed(result)
    (warning,) = [line for line in result.stderr.splitlines() if line.startswith("W ")]
    assert "tokenizer.json is left out: No module 'tokenizers'" in warning
    assert "pip install -r requirements-convert.txt and convert again" in warning
    assert sorted(path.name for path in theirs.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer_config.json",
    ]
    config = json.loads((theirs / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "AlbertTokenizer"  # which reads spiece.model
    model = folders.read_huggingface(str(theirs), str(tmp_path / "ours"))
    assert_same_variables(model.checkpoint, checkpoint_of("squad"))


def test_a_sentencepiece_model_of_characters(tmp_path, caplog):
    """`tokenizers` has no such model: `tokenizer.json` is left out, with a warning."""
    model_type = b"\x12\x02\x18\x04"  # in protobuf's format, where the last value of a field counts
    model = tmp_path / "characters.model"
    model.write_bytes(SAMPLE_MODEL.read_bytes() + model_type)
    folder = tmp_path / "theirs"
    folders.write_huggingface(str(folder), str(TINY_CONFIG), str(model), checkpoint_of("squad"))
    reason = f"tokenizer.json is left out: {model} is neither a unigram nor a BPE model"
    assert reason in caplog.text
    assert not (folder / "tokenizer.json").exists()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "AlbertTokenizer"


def test_the_head_of_squad_v2_has_no_class(tmp_path, caplog):
    assert to_huggingface(tmp_path / "theirs", "squad_v2") == "AlbertModel"
    assert "transformers has no class for the head of SQuAD v2.0: only the encoder" in caplog.text
    assert "without answer_class/dense_0/bias, answer_class/dense_0/kernel" in caplog.text
    model = folders.read_huggingface(str(tmp_path / "theirs"), str(tmp_path / "ours"))
    shapes = checkpoints.shapes_in(model.checkpoint)
    assert shapes == {
        name: shape
        for name, shape in checkpoints.shapes_in(checkpoint_of("squad_v2")).items()
        if name.startswith("bert/")
    }


@pytest.mark.parametrize(
    ("size", "head"),
    [(size, head) for size, heads in golden_json("variable_names").items() for head in heads],
)
def test_every_variable_of_the_published_sizes_has_a_counterpart(size, head):
    """Compare names only, as weights of these sizes are too large for a test."""
    shapes = golden_json("variable_names")[size][head]
    groups = 2 if size == "tiny_2groups_2inner" else 1
    config = AlbertConfig(1, num_hidden_groups=groups, inner_group_num=groups)
    heads = [weight for head in HEADS for weight in head]
    weights = [*encoder_weights(config), *heads]
    ours = [weight.ours for weight in weights]
    assert set(shapes) <= set(ours)
    assert len(set(ours)) == len({weight.theirs for weight in weights}) == len(weights)


def random_checkpoint(tmp_path, **sizes):
    """Write a config file and a checkpoint of an encoder with random weights."""
    config = AlbertConfig.from_dict({**tiny_config().to_dict(), **sizes})
    config_file = tmp_path / "albert_config.json"
    config_file.write_text(config.to_json_string())
    random = np.random.RandomState(0)
    values = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in encoder_shapes(config).items()
    }
    values["global_step"] = np.array(7, np.int64)
    values["bert/pooler/dense/bias/adam_m"] = values["bert/pooler/dense/bias"]
    checkpoints.write_values(str(tmp_path / "model.ckpt-7"), values)
    return config_file, str(tmp_path / "model.ckpt-7")


@pytest.mark.parametrize(
    "sizes",
    [{"num_hidden_groups": 2, "inner_group_num": 2, "num_hidden_layers": 4}, {"hidden_size": 16}],
    ids=["groups", "equal widths"],
)
def test_encoders_of_other_sizes(tmp_path, sizes):
    config_file, checkpoint = random_checkpoint(tmp_path, **sizes)
    architecture = to_huggingface(
        tmp_path / "theirs", checkpoint=checkpoint, config_file=config_file
    )
    assert architecture == "AlbertModel"
    model = folders.read_huggingface(str(tmp_path / "theirs"), str(tmp_path / "ours"))
    shapes = checkpoints.shapes_in(model.checkpoint)
    assert shapes == checkpoints.model_shapes_in(checkpoint)
    for name in shapes:
        np.testing.assert_array_equal(
            *(tf.train.load_variable(prefix, name) for prefix in (checkpoint, model.checkpoint))
        )


def test_sizes_grouped_differently_by_transformers(tmp_path):
    sizes = {"num_hidden_layers": 18, "num_hidden_groups": 14}
    config_file = tmp_path / "albert_config.json"
    config_file.write_text(
        AlbertConfig.from_dict({**tiny_config().to_dict(), **sizes}).to_json_string()
    )
    with pytest.raises(InputError, match="assigns layer 9 to another group"):
        to_huggingface(tmp_path / "theirs", config_file=config_file)


def test_files_written_by_other_programs(tmp_path, change):
    """Half precision, no prefix, no pooler, copies of tied weights, and buffers."""
    folder = change("pretraining")
    weights = safetensors.numpy.load_file(f"{folder}/model.safetensors")
    words = weights["albert.embeddings.word_embeddings.weight"]
    theirs = {
        name.replace("albert.", ""): value.astype(np.float16)
        for name, value in weights.items()
        if not name.startswith(("albert.pooler", "sop", "predictions.bias", "predictions.decoder"))
    }
    theirs["predictions.decoder.weight"] = words.astype(np.float16)
    theirs["predictions.decoder.bias"] = weights["predictions.bias"].astype(np.float16)
    theirs["embeddings.position_ids"] = np.arange(128, dtype=np.int64)[np.newaxis]
    safetensors.numpy.save_file(theirs, f"{folder}/model.safetensors")
    model = folders.read_huggingface(folder, str(tmp_path / "ours"))
    shapes = checkpoints.shapes_in(model.checkpoint)
    assert "cls/seq_relationship/output_bias" not in shapes
    for name in shapes:
        found, expected = (
            tf.train.load_variable(prefix, name)
            for prefix in (model.checkpoint, checkpoint_of("pretraining"))
        )
        if name == "bert/pooler/dense/kernel":
            assert 0.1 < found.std() < 0.3  # initializer_range is 0.2
        elif name != "bert/pooler/dense/bias":
            np.testing.assert_array_equal(found, expected.astype(np.float16), err_msg=name)
    trained_model.check_model(model)


def test_bfloat16(tmp_path):
    value = np.array([[1.0, -2.5, 3.140625]], np.float32)
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1, 3], "data_offsets": [0, 6]}}).encode()
    data = (value.view(np.uint32) >> 16).astype("<u2").tobytes()
    content = struct.pack("<Q", len(header)) + header + data
    (tmp_path / "x.safetensors").write_bytes(content)
    np.testing.assert_array_equal(read_tensors(tmp_path / "x.safetensors")["x"], value)


@pytest.mark.parametrize(
    ("activation", "ours"),
    [("gelu_new", "gelu"), ("gelu", "gelu"), ("gelu_pytorch_tanh", "gelu"), ("relu", "relu")],
)
def test_activations(tmp_path, change, activation, ours):
    folder = change(config={"hidden_act": activation})
    model = folders.read_huggingface(folder, str(tmp_path / "ours"))
    assert AlbertConfig.from_json_file(model.albert_config_file).hidden_act == ours


_WORDS = np.zeros([420, 16], np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"model_type": "bert"}}, 'model_type is "bert", not "albert"'),
        ({"config": {"hidden_act": "silu"}}, "hidden_act 'silu' is not one of"),
        ({"config": {"architectures": ["AlbertForTokenClassification"]}}, "cannot be converted"),
        ({"config": {"position_embedding_type": "relative_key"}}, "must be absolute"),
        ({"config": {"hidden_size": 30}}, "hidden_size 30 is not a multiple of"),
        ({"config": {"hidden_size": 64}}, "the weights do not match config.json"),
        ({"config": {"vocab_size": 421}}, "has 420 pieces, but"),
        (
            {"tensors": {"qa_outputs.bias": None}},
            "has qa_outputs.weight, but lacks qa_outputs.bias",
        ),
        ({"tensors": {"lora.weight": _WORDS}}, "unknown weights: lora.weight"),
        (
            {"tensors": {"albert.embeddings.LayerNorm.bias": None}},
            "missing weights: albert.embeddings.LayerNorm.bias",
        ),
        ({"tensors": {"predictions.decoder.weight": _WORDS}}, "differs from albert."),
    ],
)
def test_unsupported_models_are_refused(tmp_path, change, changes, message):
    with pytest.raises(InputError) as raised:
        folders.read_huggingface(change(**changes), str(tmp_path / "ours"))
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path}/theirs/")
    assert not (tmp_path / "ours").exists()


def test_missing_or_damaged_files_are_refused(tmp_path, change):
    folder = change()
    for name, message in (
        ("model.safetensors", "not a safetensors file"),
        ("spiece.model", "not a SentencePiece model"),
        ("config.json", "not valid JSON"),
    ):
        for content in (b"{", None):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            if content is None:
                (copy / name).unlink()
                message = str(copy / name)
            else:
                (copy / name).write_bytes(content)
            with pytest.raises(InputError) as raised:
                folders.read_huggingface(str(copy), str(tmp_path / "ours"))
            assert message in str(raised.value)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give either --huggingface_dir"),
        ({"init_checkpoint": checkpoint_of("squad")}, "--output_dir is missing"),
        ({"init_checkpoint": checkpoint_of("squad"), "output_dir": "x"}, "--albert_config_file"),
    ],
)
def test_flags(flags, message):
    (line,) = fail(run_script(SCRIPT, flags))
    assert message in line


def test_an_existing_folder_is_kept(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/mine").touch()
    with pytest.raises(InputError, match="already exists"):
        to_huggingface(tmp_path / "theirs")
    assert [path.name for path in tmp_path.rglob("*")] == ["theirs", "mine"]

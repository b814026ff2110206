"""Mixed precision: the conversion file, and the graphs rewritten by it."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from albert_tf.devices import bfloat16
from albert_tf.io.errors import InputError
from golden import golden_numbers
from heads import ALL_HEADS, HEADS
from scripts import ROOT, assert_same_variables, fail, run_script, run_squad, succeed

CONFIG = ROOT / "bf16_config/albert.json"
computable = pytest.mark.skipif(
    not bfloat16.is_computable(),
    reason="TensorFlow 2.8 computes no bfloat16 on a processor without AVX-512",
)


@functools.lru_cache(maxsize=None)
def trained(head, config, optimizer="adamw"):
    """Losses of 12 steps, and the op and dtype of each node in the rewritten graph."""
    environment = {"TF_BF16_CONVERSION": str(config)}
    result = run_script("tests/bfloat16_training.py", {}, [head, optimizer], env=environment)
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    return values["losses"], values["nodes"]


def write_config(tmp_path, **changes):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(CONFIG.read_text()), **changes}))
    return path


def products(nodes):
    """Dtypes of the matrix products, by name."""
    return {name: dtype for name, (op, dtype) in nodes.items() if "MatMul" in op}


@pytest.mark.tensorflow
@computable
@pytest.mark.parametrize("head", HEADS)
def test_losses_are_close_to_float32(head):
    losses, _ = trained(head, CONFIG)
    golden = golden_numbers(f"training_{head}_adamw")["losses"]
    np.testing.assert_allclose(losses, golden, rtol=0.04)  # 2.7% with native bfloat16
    assert not np.allclose(losses, golden, rtol=1e-5)


@computable
def test_the_first_loss_of_multiple_choice_is_close_to_float32():
    losses, _ = trained("race", CONFIG)
    golden = golden_numbers("forward_race")["loss"]
    assert losses[0] == pytest.approx(golden, rel=0.02)
    assert losses[0] != pytest.approx(golden, rel=1e-5)
    assert losses[-1] < losses[0]


@computable
@pytest.mark.parametrize("head", ALL_HEADS)
def test_products_outside_of_heads_are_in_bfloat16(head):
    _, nodes = trained(head, CONFIG)
    in_float32 = {name for name, dtype in products(nodes).items() if dtype != "bfloat16"}
    # The golden graphs have some heads twice; the copies marked by a number compute the loss.
    products_of_heads = {
        "squad": ["cls/squad/MatMul"],
        "squad_v2": [
            "start_logits/MatMul",
            "end_logits_1/dense_1/MatMul",
            *(f"answer_class/MatMul{number}" for number in ("", "_1", "_2")),
        ],
        "pretraining": ["cls/seq_relationship_1/MatMul", "bert/pooler/MatMul"],
    }.get(head, ["MatMul", "bert/pooler/MatMul"])
    assert in_float32 == {
        name
        for product in products_of_heads
        for name in (
            product,
            f"gradients/{product}_grad/MatMul",
            f"gradients/{product}_grad/MatMul_1",
        )
    }
    layers = [name for name in products(nodes) if "/inner_group_0/" in name]
    assert len(layers) == 3 * 6 * 3  # layers, products per layer, product and its two gradients


@computable
@pytest.mark.parametrize(("head", "optimizer"), [("squad", "adamw"), ("pretraining", "lamb")])
def test_losses_and_optimizer_are_in_float32(head, optimizer):
    _, nodes = trained(head, CONFIG, optimizer)
    converted = {op for op, dtype in nodes.values() if dtype == "bfloat16"}
    # oneDNN renames ops to "_Mkl…".
    assert {op.replace("_Mkl", "").replace("NativeFused", "") for op in converted} <= {
        "MatMul",
        "_FusedMatMul",
        "BatchMatMulV2",
        "BiasAdd",
        "Cast",
        "Pack",
        "Reshape",
        "Squeeze",
        "ExpandDims",
        "Transpose",
        "Unpack",
        "ConjugateTranspose",
        "ConcatV2",
        "GatherV2",
        "IdentityN",
        "Pad",
    }
    for op in ("SparseSoftmaxCrossEntropyWithLogits", "Mean", "L2Loss", "Sqrt", "RealDiv", "AddV2"):
        dtypes = [dtype for name, dtype in nodes.values() if name == op]
        assert dtypes, op
        assert set(dtypes) == {"float32"}, op


def test_no_cast_without_a_config():
    losses, nodes = trained("squad", "0")
    assert not any(dtype == "bfloat16" for _, dtype in nodes.values())
    assert not any("AutoMixedPrecision" in name for name in nodes)
    np.testing.assert_allclose(losses, golden_numbers("training_squad_adamw")["losses"], rtol=1e-4)


@computable
def test_exceptions_by_name(tmp_path):
    """Keep one op in float32 by name, and convert an op of an unlisted type by name."""
    config = write_config(
        tmp_path,
        non_convertible_exceptions=[["layer_1/.*/ffn_1/intermediate/MatMul$", "MatMul"]],
        convertible_exceptions=[["layer_2/inner_group_0/attention_1/self/Softmax", "Softmax"]],
    )
    _, nodes = trained("squad", config)
    in_float32 = [name for name, dtype in products(nodes).items() if dtype != "bfloat16"]
    assert len(in_float32) == 1
    assert in_float32[0].endswith("layer_1/inner_group_0/ffn_1/intermediate/MatMul")
    softmax = {name: dtype for name, (op, dtype) in nodes.items() if op.endswith("Softmax")}
    assert len(softmax) == 3
    assert [name for name, dtype in softmax.items() if dtype == "bfloat16"] == [
        name for name in softmax if "layer_2/" in name
    ]


@computable
def test_conditional_and_strict_conditional_ops(tmp_path):
    """Sum at the end of a layer norm, before a product; softmax, after a sum of scores."""
    path = write_config(
        tmp_path,
        conditional_list=["AddV2", "BiasAdd", "Pack", "Reshape", "Transpose", "Unpack"],
        strict_conditional_list=["Softmax", "Mul"],
    )
    _, nodes = trained("squad", path)
    scope = "bert/encoder/transformer/group_0_1/layer_1/inner_group_0/"
    dtypes = {
        name: nodes[scope + name][1]
        for name in ("LayerNorm/add_1", "LayerNorm/mul_1", "attention_1/self/Softmax")
    }
    assert dtypes == {
        "LayerNorm/add_1": "bfloat16",  # next to a converted op
        "LayerNorm/mul_1": "float32",  # input of a converted op
        "attention_1/self/Softmax": "bfloat16",  # all inputs from converted ops
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", r"not valid JSON: .* line 1 column \d+"),
        ([1], "a JSON object was expected, not a list"),
        ({"allowList": []}, "'allowList' is not one of allowlist"),
        ({"allowlist": ["MatMul", "MatMull"]}, 'allowlist, entry 2: unknown op type "MatMull"'),
        ({"allowlist": [3]}, "allowlist, entry 1: unknown op type 3"),
        ({"allowlist": "MatMul"}, "allowlist should be a list"),
        (
            {"allowlist": ["MatMul"], "conditional_list": ["MatMul"]},
            "conditional_list, entry 1: 'MatMul' is also in allowlist",
        ),
        (
            {"non_convertible_exceptions": [["(", "MatMul"]]},
            r'non_convertible_exceptions, entry 1: "\(" is not a regular expression',
        ),
        (
            {"convertible_exceptions": ["MatMul"]},
            'convertible_exceptions, entry 1: "MatMul" is not a pair',
        ),
    ],
)
def test_malformed_configs(tmp_path, value, message):
    path = tmp_path / "config.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(InputError, match=f"config.json.*: {message}"):
        bfloat16.read_config(str(path))


def test_habana_types_are_known():
    assert "HabanaLayerNorm" in bfloat16.read_config(str(CONFIG)).allowlist


def test_a_run_with_a_missing_config(tmp_path):
    env = {"TF_BF16_CONVERSION": str(tmp_path / "none.json")}
    (line,) = fail(run_squad(tmp_path / "run", env=env))
    assert line == (
        f"error: {tmp_path}/none.json: cannot read the file of TF_BF16_CONVERSION: No such file or "
        "directory; correct the path"
    )
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]


def test_a_run_with_a_broken_config(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text(CONFIG.read_text()[:100])
    (line,) = fail(run_squad(tmp_path / "run", env={"TF_BF16_CONVERSION": str(path)}))
    assert line.startswith(f"error: {path}: not valid JSON: ")


@pytest.mark.tensorflow
@computable
def test_a_run_uses_the_config(tmp_path):
    """With the file, the script trains in bfloat16 and logs the lists; with 0, in float32."""

    def run(name, value, **options):
        return run_squad(
            tmp_path / name,
            deterministic_run=True,
            train_steps=4,
            env={"TF_BF16_CONVERSION": str(value), "TF_ENABLE_ONEDNN_OPTS": "1"},
            **options,
        )

    log = succeed(run("bfloat16", CONFIG))
    assert f'bfloat16 by {CONFIG}: conditional_list: ["BiasAdd", "ConcatV2"' in log
    assert "bfloat16" not in succeed(run("float32", 0, do_predict=False))
    checkpoints = [tmp_path / name / "model.ckpt-4" for name in ("bfloat16", "float32")]
    assert_same_variables(*checkpoints, atol=1e-3)
    with pytest.raises(AssertionError):
        assert_same_variables(*checkpoints, rtol=1e-6, atol=1e-8)


def test_a_run_without_onednn(tmp_path):
    env = {"TF_BF16_CONVERSION": str(CONFIG), "TF_ENABLE_ONEDNN_OPTS": "0"}
    (line,) = fail(run_squad(tmp_path / "run", env=env))
    assert line.startswith("error: TF_ENABLE_ONEDNN_OPTS=0 disables TensorFlow's bfloat16 rewrite")


@pytest.mark.tensorflow
def test_a_processor_without_bfloat16(tmp_path):
    """The run says so; it does not end in oneDNN, without a word."""
    result = run_squad(
        tmp_path, do_predict=False, train_steps=2, env={"TF_BF16_CONVERSION": str(CONFIG)}
    )
    if bfloat16.is_computable():
        succeed(result)
    else:
        (line,) = fail(result)
        assert "computes bfloat16 only on processors with AVX-512" in line

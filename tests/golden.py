"""The golden numbers, and the model that gave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from heads import HEADS

GOLDEN = Path(__file__).parent / "golden"
INPUTS = dict(np.load(GOLDEN / "tiny_model_inputs.npz"))


def golden_numbers(name: str) -> dict[str, np.ndarray]:
    """The arrays of one golden file; "|" in their names stands for "/"."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key.replace("|", "/"): file[key] for key in file.files}


def golden_lines(name: str) -> list[dict]:
    """The values of a golden file of JSON lines."""
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").open(encoding="utf-8")]


def golden_json(name: str):
    """The value of a golden JSON file."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def tiny_config() -> modeling.AlbertConfig:
    """The config of the golden checkpoints."""
    return modeling.AlbertConfig.from_json_file(str(GOLDEN / "tiny_model/albert_config.json"))


def checkpoint_of(head: str) -> str:
    """The golden checkpoint with one of the heads."""
    return str(GOLDEN / "tiny_model" / head / "model.ckpt-best")


def build(
    head: str, use_einsum: bool = False, is_training: bool = True, inputs: dict | None = None
) -> dict[str, tf.Tensor]:
    """Builds the tiny model with one of the heads on the golden inputs, or others, in the default
    graph.

    Returns the tensors that the golden forward file has, by name. The variables start from the
    golden checkpoint.
    """
    inputs = inputs or INPUTS
    model = modeling.AlbertModel(
        tiny_config(),
        is_training=is_training,
        input_ids=tf.convert_to_tensor(inputs["input_ids"]),
        input_mask=tf.convert_to_tensor(inputs["input_mask"]),
        token_type_ids=tf.convert_to_tensor(inputs["segment_ids"]),
        use_einsum=use_einsum,
    )
    tensors = HEADS[head](tiny_config(), model, inputs)
    checkpoint = checkpoint_of(head)
    assignment_map, matched = modeling.get_assignment_map_from_checkpoint(
        tf.trainable_variables(), checkpoint
    )
    assert {f"{v.op.name}" for v in tf.trainable_variables()} <= set(matched)
    tf.train.init_from_checkpoint(checkpoint, assignment_map)
    return tensors


def assert_golden(tensors: dict[str, tf.Tensor], file: str) -> None:
    """Asserts that tensors, by name, have the values of a golden file within 1e-5."""
    expected = golden_numbers(file)
    assert set(tensors) == set(expected)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run(tensors)
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=0, atol=1e-5, err_msg=name)

"""The golden numbers, and the model that they come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
import optimization
from albert_tf.devices import reductions
from albert_tf.records.record_files import serialize_example
from heads import ALL_HEADS

GOLDEN = Path(__file__).parent / "golden"
INPUTS = dict(np.load(GOLDEN / "tiny_model_inputs.npz"))
SQUAD_V2_INPUTS = dict(np.load(GOLDEN / "squad_v2_inputs.npz"))


def golden_numbers(name: str) -> dict[str, np.ndarray]:
    """Read the arrays of a golden file, by name; the file has "|" for "/" in names."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key.replace("|", "/"): file[key] for key in file.files}


def golden_lines(name: str) -> list[dict]:
    """Read the values of a golden JSON-lines file."""
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").open(encoding="utf-8")]


def golden_json(name: str):
    """Read the value of a golden JSON file."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def golden_records(split: str) -> list[bytes]:
    """Make the original's records of the sample for a split: "train" or "predict"."""
    lines = golden_lines(f"squad_{split}_s96")
    return [_golden_record(feature, split == "train") for feature in lines]


def _golden_record(feature, for_training):
    length, padding = len(feature["input_ids"]), 96 - len(feature["input_ids"])
    values = {
        "unique_ids": [feature["unique_id"]],
        "input_ids": feature["input_ids"] + [0] * padding,
        "input_mask": [1] * length + [0] * padding,
        "segment_ids": feature["segment_ids"] + [0] * padding,
        "p_mask": feature["p_mask"] + [1] * padding,
    }
    if for_training:
        values["start_positions"] = [feature["start_position"]]
        values["end_positions"] = [feature["end_position"]]
        values["is_impossible"] = [int(feature["is_impossible"])]
    return serialize_example(values)


def tiny_config() -> modeling.AlbertConfig:
    """Config of the golden checkpoints."""
    return modeling.AlbertConfig.from_json_file(str(GOLDEN / "tiny_model/albert_config.json"))


def checkpoint_of(head: str) -> str:
    """Prefix of the golden checkpoint with a head."""
    return str(GOLDEN / "tiny_model" / head / "model.ckpt-best")


def build(
    head: str,
    use_einsum: bool = False,
    is_training: bool = True,
    inputs: dict | None = None,
    compute_padding: bool = True,
) -> dict[str, tf.Tensor]:
    """Build the tiny model with a head in the default graph.

    The variables are initialized from the golden checkpoint.

    Args:
      head: name of the head.
      use_einsum: whether to compute projections with einsum.
      is_training: whether to apply dropout.
      inputs: inputs by name; by default the golden inputs.
      compute_padding: whether to compute padding, as published.

    Returns:
      The tensors in the golden forward file, by name.
    """
    inputs = inputs or (SQUAD_V2_INPUTS if head == "squad_v2" else INPUTS)
    model = modeling.AlbertModel(
        tiny_config(),
        is_training=is_training,
        input_ids=tf.convert_to_tensor(inputs["input_ids"]),
        input_mask=tf.convert_to_tensor(inputs["input_mask"]),
        token_type_ids=tf.convert_to_tensor(inputs["segment_ids"]),
        use_einsum=use_einsum,
        compute_padding=compute_padding,
    )
    tensors = ALL_HEADS[head](tiny_config(), model, inputs)
    checkpoint = checkpoint_of(head)
    assignment_map, matched = modeling.get_assignment_map_from_checkpoint(
        tf.trainable_variables(), checkpoint
    )
    assert {f"{v.op.name}" for v in tf.trainable_variables()} <= set(matched)
    tf.train.init_from_checkpoint(checkpoint, assignment_map)
    return tensors


def train_on_golden_rows(
    head: str, optimizer: str, rows: range, micro_batches: int, compression: str = "none"
) -> dict[str, np.ndarray]:
    """Train the tiny model for three steps on rows of the golden inputs.

    Args:
      head: name of the head.
      optimizer: "adamw" or "lamb".
      rows: rows for this process.
      micro_batches: number of micro-batches in a step.
      compression: Horovod's compression of gradients: "none" or "fp16".

    Returns:
      Values of the variables, by name.
    """
    own = {name: value[rows.start : rows.stop] for name, value in INPUTS.items()}
    size = len(rows) // micro_batches
    denominator = np.float32((own["masked_lm_weights"].sum() + 1e-5) / micro_batches)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = {
            name: tf.placeholder(value.dtype, [size, *value.shape[1:]], name)
            for name, value in own.items()
        }
        (of_all,) = reductions.average([tf.constant(denominator)], "denominator")
        inputs["masked_lm_denominator"] = of_all
        train_op = optimization.create_optimizer(
            build(head, inputs=inputs)["loss"],
            3e-4,
            10,
            3,
            False,
            optimizer,
            gradient_accumulation_steps=micro_batches,
            horovod_compression=compression,
        )
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for run in range(3 * micro_batches):
            start = run % micro_batches * size
            micro_batch = {f"{name}:0": value[start : start + size] for name, value in own.items()}
            session.run(train_op, micro_batch)
        return session.run({v.op.name: v for v in tf.global_variables()})


def assert_golden(tensors: dict[str, tf.Tensor], file: str) -> None:
    """Assert that tensors, by name, have the values of a golden file within 1e-5."""
    expected = golden_numbers(file)
    assert set(tensors) == set(expected)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run(tensors)
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=0, atol=1e-5, err_msg=name)

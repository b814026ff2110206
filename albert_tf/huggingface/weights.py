"""Weights of a model under the names of both formats, and their files.

The weights are the same numbers; the kernels of dense layers are transposed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow.compat.v1 as tf
from absl import logging

from albert_tf.graph.model import encoder_shapes
from albert_tf.io.errors import InputError, listed
from modeling import AlbertConfig

_NOT_WEIGHTS = ("albert.embeddings.position_ids", "albert.embeddings.token_type_ids")
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": tf.bfloat16.as_numpy_dtype,
    "I64": np.int64,
}

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Weight:
    """Weight with its name in both formats.

    Attributes:
      ours: name of the TensorFlow variable.
      theirs: name in `model.safetensors`.
      is_kernel: whether the weight is a dense kernel, [inputs, outputs] in TensorFlow and
        [outputs, inputs] in transformers.
    """

    ours: str
    theirs: str
    is_kernel: bool = False

    def converted(self, value: np.ndarray) -> np.ndarray:
        """The value in the layout of the other format."""
        return np.ascontiguousarray(value.T) if self.is_kernel else value


def _dense(ours: str, theirs: str) -> list[Weight]:
    return [
        Weight(f"{ours}/kernel", f"{theirs}.weight", is_kernel=True),
        Weight(f"{ours}/bias", f"{theirs}.bias"),
    ]


def _norm(ours: str, theirs: str) -> list[Weight]:
    return [Weight(f"{ours}/gamma", f"{theirs}.weight"), Weight(f"{ours}/beta", f"{theirs}.bias")]


def _output(ours: str, theirs: str) -> list[Weight]:
    return [
        Weight(f"{ours}output_weights", f"{theirs}.weight"),
        Weight(f"{ours}output_bias", f"{theirs}.bias"),
    ]


_WORDS = Weight("bert/embeddings/word_embeddings", "albert.embeddings.word_embeddings.weight")
_MAPPING_IN = _dense(
    "bert/encoder/embedding_hidden_mapping_in", "albert.encoder.embedding_hidden_mapping_in"
)
_POOLER = _dense("bert/pooler/dense", "albert.pooler")
MASKED_LM = [
    *_dense("cls/predictions/transform/dense", "predictions.dense"),
    *_norm("cls/predictions/transform/LayerNorm", "predictions.LayerNorm"),
    Weight("cls/predictions/output_bias", "predictions.bias"),
]
SENTENCE_ORDER = _output("cls/seq_relationship/", "sop_classifier.classifier")
SPAN = _output("cls/squad/", "qa_outputs")
CLASSIFIER = _output("", "classifier")
HEADS = (SPAN, CLASSIFIER, MASKED_LM, SENTENCE_ORDER)
_SQUAD_V2_SCOPES = ("start_logits/", "end_logits/", "answer_class/")  # has no class there
_TIED_WORDS = "predictions.decoder.weight"
_TIED_BIAS = "predictions.decoder.bias"


def encoder_weights(config: AlbertConfig) -> list[Weight]:
    """Weights of the encoder, always including `embedding_hidden_mapping_in`."""
    weights = [_WORDS, *_MAPPING_IN, *_POOLER]
    for name in ("position_embeddings", "token_type_embeddings"):
        weights.append(Weight(f"bert/embeddings/{name}", f"albert.embeddings.{name}.weight"))
    weights += _norm("bert/embeddings/LayerNorm", "albert.embeddings.LayerNorm")
    for group in range(config.num_hidden_groups):
        for inner in range(config.inner_group_num):
            weights += _block_weights(
                f"bert/encoder/transformer/group_{group}/inner_group_{inner}",
                f"albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}",
            )
    return weights


def _block_weights(ours: str, theirs: str) -> list[Weight]:
    """Weights of one attention and feed-forward block."""
    weights = []
    for name in ("query", "key", "value"):
        weights += _dense(f"{ours}/attention_1/self/{name}", f"{theirs}.attention.{name}")
    return [
        *weights,
        *_dense(f"{ours}/attention_1/output/dense", f"{theirs}.attention.dense"),
        *_norm(f"{ours}/LayerNorm", f"{theirs}.attention.LayerNorm"),
        *_dense(f"{ours}/ffn_1/intermediate/dense", f"{theirs}.ffn"),
        *_dense(f"{ours}/ffn_1/intermediate/output/dense", f"{theirs}.ffn_output"),
        *_norm(f"{ours}/LayerNorm_1", f"{theirs}.full_layer_layer_norm"),
    ]


def to_tensors(values: Arrays, config: AlbertConfig, place: str) -> dict[str, np.ndarray]:
    """Convert variables to tensors with the names and layout of transformers.

    Args:
      values: values of the variables, by name.
      config: config of the model.
      place: checkpoint, named in errors.

    Returns:
      Arrays by name in `model.safetensors`.

    Raises:
      InputError: if a head is incomplete.
    """
    values = dict(values)
    if config.embedding_size == config.hidden_size:  # transformers always has this layer
        kernel, bias = _MAPPING_IN
        values[kernel.ours] = np.eye(config.hidden_size, dtype=np.float32)
        values[bias.ours] = np.zeros(config.hidden_size, np.float32)
    tensors = {}
    for weights in (encoder_weights(config), *_present(HEADS, values, "ours", place)):
        for weight in weights:
            tensors[weight.theirs] = weight.converted(values.pop(weight.ours))
    if MASKED_LM[-1].theirs in tensors:  # read by transformers' TensorFlow models
        tensors[_TIED_BIAS] = tensors[MASKED_LM[-1].theirs]
    of_squad_v2 = [name for name in sorted(values) if name.startswith(_SQUAD_V2_SCOPES)]
    if of_squad_v2:
        logging.warning(
            "%s: transformers has no class for the head of SQuAD v2.0: only the encoder is "
            "converted, without %s",
            place,
            listed(of_squad_v2),
        )
        values = {name: value for name, value in values.items() if name not in of_squad_v2}
    if values:
        logging.warning(
            "%s: variables left out of the conversion: %s", place, listed(sorted(values))
        )
    return tensors


def _present(
    heads: Sequence[list[Weight]], arrays: Arrays, side: str, place: str
) -> list[list[Weight]]:
    """Heads whose weights are present; `InputError` for an incomplete head."""
    present = []
    for head in heads:
        names = [getattr(weight, side) for weight in head]
        missing = [name for name in names if name not in arrays]
        if len(missing) < len(names):
            if missing:
                raise InputError(
                    f"{place}: incomplete head: it has "
                    f"{listed([name for name in names if name in arrays])}, but lacks "
                    f"{listed(missing)}"
                )
            present.append(head)
    return present


def to_values(tensors: Arrays, config: AlbertConfig, place: str) -> dict[str, np.ndarray]:
    """Convert tensors of transformers to float32 variables.

    Args:
      tensors: arrays by name in `model.safetensors`.
      config: config of the model.
      place: file of the tensors, named in errors.

    Returns:
      Values of the variables, by name.

    Raises:
      InputError: if weights are missing, unknown or of another shape, or differ from those that
        ALBERT ties them to.
    """
    tensors = {_full_name(name): value for name, value in tensors.items()}
    for name in _NOT_WEIGHTS:
        tensors.pop(name, None)
    _untie(tensors, place)
    heads = _present(HEADS, tensors, "theirs", place)
    if not any(head in (CLASSIFIER, SENTENCE_ORDER) for head in heads):
        _add_pooler(tensors, config, place)
    weights = [*encoder_weights(config), *(weight for head in heads for weight in head)]
    missing = [weight.theirs for weight in weights if weight.theirs not in tensors]
    if missing:
        raise InputError(f"{place}: missing weights: {listed(missing)}")
    values = {
        weight.ours: weight.converted(tensors.pop(weight.theirs).astype(np.float32))
        for weight in weights
    }
    if tensors:
        raise InputError(f"{place}: unknown weights: {listed(sorted(tensors))}")
    if config.embedding_size == config.hidden_size:
        _remove_mapping(values, place)
    _check_shapes(values, config, place)
    return values


def _full_name(name: str) -> str:
    """Weight name with the encoder's prefix, which files of a bare `AlbertModel` leave out."""
    return f"albert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _untie(tensors: dict[str, np.ndarray], place: str) -> None:
    """Remove copies of tied weights, after checking that they are equal to the originals."""
    if _TIED_BIAS in tensors:
        tensors.setdefault(MASKED_LM[-1].theirs, tensors[_TIED_BIAS])
    for copy, original in ((_TIED_WORDS, _WORDS.theirs), (_TIED_BIAS, MASKED_LM[-1].theirs)):
        value = tensors.pop(copy, None)
        if value is None:
            continue
        if original not in tensors or not np.array_equal(value, tensors[original]):
            raise InputError(
                f"{place}: {copy} differs from {original}, but ALBERT ties these weights"
            )


def _add_pooler(tensors: dict[str, np.ndarray], config: AlbertConfig, place: str) -> None:
    """Add a newly initialized pooler to a model that was saved without one."""
    kernel, bias = _POOLER
    if kernel.theirs not in tensors and bias.theirs not in tensors:
        logging.info("%s has no pooler: initializing it with random weights", place)
        size = [config.hidden_size] * 2
        values = np.random.RandomState(0).normal(0.0, config.initializer_range, size)
        tensors[kernel.theirs] = values.astype(np.float32)
        tensors[bias.theirs] = np.zeros(config.hidden_size, np.float32)


def _remove_mapping(values: dict[str, np.ndarray], place: str) -> None:
    """Remove the mapping of embeddings to hidden states of equal width; it must be the identity."""
    kernel, bias = (values.pop(weight.ours) for weight in _MAPPING_IN)
    if not np.array_equal(kernel, np.eye(*kernel.shape)) or bias.any():
        raise InputError(
            f"{place}: embedding_hidden_mapping_in is not the identity, although embedding_size "
            "and hidden_size are equal; this model cannot be converted"
        )


def _check_shapes(values: Arrays, config: AlbertConfig, place: str) -> None:
    """Check the shapes of the weights against the config."""
    shapes = encoder_shapes(config)
    width, vocab_size, embedding_size = config.hidden_size, config.vocab_size, config.embedding_size
    kernel, *vectors, bias = (weight.ours for weight in MASKED_LM)
    shapes.update({kernel: [width, embedding_size], bias: [vocab_size]})
    shapes.update({vector: [embedding_size] for vector in vectors})
    for weights, output_bias in (SPAN, SENTENCE_ORDER):
        shapes.update({weights.ours: [2, width], output_bias.ours: [2]})
    if CLASSIFIER[0].ours in values:
        outputs = len(values[CLASSIFIER[0].ours])
        shapes.update({CLASSIFIER[0].ours: [outputs, width], CLASSIFIER[1].ours: [outputs]})
    differing = [
        f"{name} has shape {list(value.shape)}, not {shapes[name]}"
        for name, value in values.items()
        if list(value.shape) != shapes[name]
    ]
    if differing:
        raise InputError(f"{place}: the weights do not match config.json: {listed(differing)}")


def write_tensors(path: Path, tensors: Arrays) -> None:
    """Write a `.safetensors` file; safetensors itself would let only the user read it."""
    path.write_bytes(safetensors.numpy.save(dict(tensors), metadata={"format": "pt"}))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a `.safetensors` file.

    Args:
      path: path of the file.

    Returns:
      Arrays by name.

    Raises:
      InputError: if the file is missing or damaged, or has an unsupported dtype.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; a pytorch_model.bin (a pickle) cannot be read: save the model "
            "again with transformers' save_pretrained"
        )
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file, or damaged: {error}") from error
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise InputError(f"{path}: {name} has the unsupported dtype {entry['dtype']}")
        value = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
        tensors[name] = value.reshape(entry["shape"])
    return tensors

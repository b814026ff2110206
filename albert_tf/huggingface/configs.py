"""The config of a model, as `albert_config.json` and as transformers' `config.json`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Sequence

from absl import logging

import tokenization
from albert_tf.huggingface.model_card import PURPOSES
from albert_tf.huggingface.weights import CLASSIFIER, MASKED_LM, SENTENCE_ORDER, SPAN, Arrays
from albert_tf.io import json_files
from albert_tf.io.bounds import Bounds
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import shown
from modeling import AlbertConfig

_LAYER_NORM_EPSILON = 1e-12
_EPSILON = Bounds(is_whole=False, lower=0)
_CLASSIFIER_DROPOUT = 0.1
# "gelu" is the tanh approximation here, but the exact function in transformers.
_THEIR_ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "tanh": "tanh", "linear": "linear"}
_OUR_ACTIVATIONS = {
    **{theirs: ours for ours, theirs in _THEIR_ACTIVATIONS.items()},
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu": "gelu",
}
_SPECIAL_TOKENS = {
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "[MASK]",
}
_TOKEN_IDS = {"pad_token_id": "<pad>", "bos_token_id": "[CLS]", "eos_token_id": "[SEP]"}
_CONFIG_KEYS = (
    *(name for name in inspect.signature(AlbertConfig).parameters if name != "hidden_act"),
    # Unused keys of published configs:
    "gap_size",
    "net_structure_type",
    "num_memory_blocks",
)


def check_groups(config: AlbertConfig) -> None:
    """Check that transformers assigns the same groups to layers; its rounding can differ.

    Raises:
      InputError: if it does not.
    """
    layers, groups = config.num_hidden_layers, config.num_hidden_groups
    for layer in range(layers):
        if layer * groups // layers != int(layer / (layers / groups)):
            raise InputError(
                f"num_hidden_groups {groups} with num_hidden_layers {layers}: transformers assigns "
                f"layer {layer} to another group; this model cannot be converted"
            )


def their_config(
    config: AlbertConfig,
    tensors: Arrays,
    tokenizer: tokenization.FullTokenizer,
    labels: Sequence[str],
    is_multiple_choice: bool,
) -> dict[str, Any]:
    """Contents of a `config.json`.

    Args:
      config: config of the model, read from a file.
      tensors: its weights, by name in `model.safetensors`.
      tokenizer: tokenizer of the model.
      labels: names of a classifier's labels; empty for numbers.
      is_multiple_choice: whether the head scores options.

    Raises:
      InputError: if labels and outputs differ in number.
    """
    values: dict[str, Any] = {
        "model_type": "albert",
        **config.to_dict(),
        "hidden_act": _THEIR_ACTIVATIONS[str(config.hidden_act or "linear").lower()],
        "layer_norm_eps": _LAYER_NORM_EPSILON,
        "classifier_dropout_prob": _CLASSIFIER_DROPOUT,
        "position_embedding_type": "absolute",
    }
    for name, piece in _TOKEN_IDS.items():
        if piece in tokenizer.vocab:
            values[name] = tokenizer.vocab[piece]
    if SPAN[0].theirs in tensors:
        architecture = "AlbertForQuestionAnswering"
    elif is_multiple_choice:
        architecture = "AlbertForMultipleChoice"
    elif CLASSIFIER[0].theirs in tensors:
        architecture = "AlbertForSequenceClassification"
        outputs = len(tensors[CLASSIFIER[0].theirs])
        labels = labels or [f"LABEL_{number}" for number in range(outputs)]
        if len(labels) != outputs:
            raise InputError(f"got {len(labels)} labels, but the classifier has {outputs} outputs")
        values["id2label"] = dict(enumerate(labels))
        values["label2id"] = {label: number for number, label in enumerate(labels)}
        regression, classification = "regression", "single_label_classification"
        values["problem_type"] = regression if outputs == 1 else classification
    elif SENTENCE_ORDER[0].theirs in tensors:
        architecture = "AlbertForPreTraining"
    else:
        architecture = "AlbertForMaskedLM" if MASKED_LM[0].theirs in tensors else "AlbertModel"
    values["architectures"] = [architecture]
    return values


def tokenizer_config(
    tokenizer: tokenization.FullTokenizer, do_lower_case: bool, max_length: int, is_fast: bool
) -> dict[str, Any]:
    """Contents of a `tokenizer_config.json`.

    Args:
      tokenizer: tokenizer of the model.
      do_lower_case: whether to lower-case text.
      max_length: maximum length of the model's input, in pieces.
      is_fast: whether there is a `tokenizer.json`.
    """
    return {
        # The AlbertTokenizer of transformers 5 takes nothing but the pieces from tokenizer.json.
        "tokenizer_class": "PreTrainedTokenizerFast" if is_fast else "AlbertTokenizer",
        "do_lower_case": do_lower_case,
        "keep_accents": False,
        "remove_space": True,
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{name: piece for name, piece in _SPECIAL_TOKENS.items() if piece in tokenizer.vocab},
    }


def read_their_config(path: Path) -> AlbertConfig:
    """Read a `config.json`.

    Raises:
      InputError: if the file cannot be read, or the model is not a supported ALBERT.
    """
    root = json_files.read(path, "the config", "save the model again with transformers")
    values = root.values
    if values.get("model_type") != "albert":
        raise InputError(f'{path}: model_type is {shown(values.get("model_type"))}, not "albert"')
    architectures = root.texts("architectures") if values.get("architectures") else []
    for architecture in architectures:
        if architecture not in PURPOSES:
            raise InputError(
                f"{path}: {architecture} cannot be converted, only {', '.join(PURPOSES)}"
            )
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type must be absolute in an ALBERT")
    if "layer_norm_eps" in root and root.number("layer_norm_eps", _EPSILON) != _LAYER_NORM_EPSILON:
        logging.warning(
            "%s: layer_norm_eps is %g, but this project uses %g: scores will differ slightly",
            path,
            values["layer_norm_eps"],
            _LAYER_NORM_EPSILON,
        )
    activation = root.text("hidden_act") if "hidden_act" in root else "gelu_new"
    if activation not in _OUR_ACTIVATIONS:
        raise InputError(
            f"{path}: hidden_act {activation!r} is not one of {', '.join(_OUR_ACTIVATIONS)}"
        )
    if activation == "gelu":
        logging.warning(
            "%s: hidden_act is the exact GELU, but this project uses the tanh approximation, "
            "like the training of the published models: scores will differ slightly",
            path,
        )
    sizes = {key: values[key] for key in _CONFIG_KEYS if key in values}
    return AlbertConfig.checked({**sizes, "hidden_act": _OUR_ACTIVATIONS[activation]}, str(path))

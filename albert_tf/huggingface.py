"""Lossless conversion of checkpoints to and from Hugging Face's transformers.

A folder in the format of transformers holds `config.json`, `model.safetensors`, `tokenizer.json`
and `spiece.model`. Its weights are the same numbers under other names, with the kernels of dense
layers transposed.
"""

from __future__ import annotations

import inspect
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import safetensors
import safetensors.numpy
from absl import logging

import tokenization
from albert_tf import fast_tokenizer, files, json_files, model_card
from albert_tf.bounds import Bounds
from albert_tf.errors import InputError, listed
from albert_tf.json_files import shown
from albert_tf.runs import checkpoints, model_files
from albert_tf.runs.checkpoint_files import BEST_CHECKPOINT
from modeling import AlbertConfig

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
SPM_MODEL_FILE = "spiece.model"
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
_CONFIG_KEYS = (
    *(name for name in inspect.signature(AlbertConfig).parameters if name != "hidden_act"),
    # Unused keys of published configs:
    "gap_size",
    "net_structure_type",
    "num_memory_blocks",
)
_NOT_WEIGHTS = ("albert.embeddings.position_ids", "albert.embeddings.token_type_ids")
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64}

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


def _dense(ours, theirs):
    return [
        Weight(f"{ours}/kernel", f"{theirs}.weight", is_kernel=True),
        Weight(f"{ours}/bias", f"{theirs}.bias"),
    ]


def _norm(ours, theirs):
    return [Weight(f"{ours}/gamma", f"{theirs}.weight"), Weight(f"{ours}/beta", f"{theirs}.bias")]


def _output(ours, theirs):
    return [
        Weight(f"{ours}output_weights", f"{theirs}.weight"),
        Weight(f"{ours}output_bias", f"{theirs}.bias"),
    ]


_WORDS = Weight("bert/embeddings/word_embeddings", "albert.embeddings.word_embeddings.weight")
_MAPPING_IN = _dense(
    "bert/encoder/embedding_hidden_mapping_in", "albert.encoder.embedding_hidden_mapping_in"
)
_POOLER = _dense("bert/pooler/dense", "albert.pooler")
_MASKED_LM = [
    *_dense("cls/predictions/transform/dense", "predictions.dense"),
    *_norm("cls/predictions/transform/LayerNorm", "predictions.LayerNorm"),
    Weight("cls/predictions/output_bias", "predictions.bias"),
]
_SENTENCE_ORDER = _output("cls/seq_relationship/", "sop_classifier.classifier")
_SPAN = _output("cls/squad/", "qa_outputs")
_CLASSIFIER = _output("", "classifier")
HEADS = (_SPAN, _CLASSIFIER, _MASKED_LM, _SENTENCE_ORDER)
_SQUAD_V2_SCOPES = ("start_logits/", "end_logits/", "answer_class/")  # has no class there
_TIED_WORDS = "predictions.decoder.weight"
_TIED_BIAS = "predictions.decoder.bias"
_ARCHITECTURES = (
    "AlbertForQuestionAnswering",
    "AlbertForSequenceClassification",
    "AlbertForMultipleChoice",
    "AlbertForPreTraining",
    "AlbertForMaskedLM",
    "AlbertModel",
)


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


def _block_weights(ours, theirs):
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


def write_huggingface(
    folder: str,
    config_file: str,
    spm_model_file: str,
    checkpoint: str,
    do_lower_case: bool = True,
    labels: Sequence[str] = (),
    is_multiple_choice: bool = False,
) -> str:
    """Convert a checkpoint to a folder for transformers.

    Example:

      model = "albert_base_v2"
      write_huggingface(
          "albert_base_v2_hf",
          config_file=f"{model}/albert_config.json",
          spm_model_file=f"{model}/30k-clean.model",
          checkpoint=f"{model}/model.ckpt-best",
      )  # "AlbertForPreTraining"

    Args:
      folder: path of the new folder.
      config_file: path of the model's config.
      spm_model_file: path of the SentencePiece model.
      checkpoint: prefix of the checkpoint, with any head.
      do_lower_case: whether the tokenizer lower-cases its text.
      labels: names of a classifier's labels, in the order of its outputs.
      is_multiple_choice: whether the head scores options, as in RACE. Its variables are those of a
        regression.

    Returns:
      Name of the matching class of transformers, such as "AlbertForQuestionAnswering".

    Raises:
      InputError: if the files do not match each other, or `folder` already exists.
    """
    config = AlbertConfig.from_json_file(config_file)
    _check_groups(config)
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=spm_model_file)
    model_files.check_vocabulary(spm_model_file, tokenizer, config_file, config)
    checkpoints.check_fits(checkpoint, model_files.encoder_shapes(config), all_needed=True)
    values = checkpoints.read_values(checkpoint, checkpoints.model_shapes_in(checkpoint))
    tensors = _to_tensors(values, config, checkpoint)
    if is_multiple_choice and len(tensors.get(_CLASSIFIER[0].theirs, ())) != 1:
        raise InputError(
            f"{checkpoint}: no head of multiple choice: output_weights must have one row; give a "
            "checkpoint of run_race.py, or another --task_name"
        )
    their_config = _their_config(config, tensors, tokenizer, labels, is_multiple_choice)
    (architecture,) = their_config["architectures"]
    card = model_card.model_card(
        Path(folder).name,
        architecture,
        checkpoint,
        sum(value.size for value in values.values()),
        labels,
    )
    with files.atomic_directory(folder) as temporary:
        files.write_json(temporary / CONFIG_FILE, their_config, indent=2)
        _write_weights(temporary / WEIGHTS_FILE, tensors)
        shutil.copyfile(spm_model_file, temporary / SPM_MODEL_FILE)
        fast_tokenizer.write(
            temporary, temporary / SPM_MODEL_FILE, do_lower_case, config.max_position_embeddings
        )
        files.write_text(temporary / model_card.NAME, card)
    return architecture


def _write_weights(path, tensors):
    """Write the weights, for the readers that other files have: safetensors admits its own user."""
    path.touch()
    mode = path.stat().st_mode
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(mode)


def _check_groups(config):
    """Check that transformers assigns the same groups to layers; its rounding can differ."""
    layers, groups = config.num_hidden_layers, config.num_hidden_groups
    for layer in range(layers):
        if layer * groups // layers != int(layer / (layers / groups)):
            raise InputError(
                f"num_hidden_groups {groups} with num_hidden_layers {layers}: transformers assigns "
                f"layer {layer} to another group; this model cannot be converted"
            )


def _to_tensors(values: Arrays, config: AlbertConfig, place: str) -> dict[str, np.ndarray]:
    """Convert variables to tensors with the names and layout of transformers."""
    values = dict(values)
    if config.embedding_size == config.hidden_size:  # transformers always has this layer
        kernel, bias = _MAPPING_IN
        values[kernel.ours] = np.eye(config.hidden_size, dtype=np.float32)
        values[bias.ours] = np.zeros(config.hidden_size, np.float32)
    tensors = {}
    for weights in (encoder_weights(config), *_present(HEADS, values, "ours", place)):
        for weight in weights:
            tensors[weight.theirs] = weight.converted(values.pop(weight.ours))
    if _MASKED_LM[-1].theirs in tensors:  # read by transformers' TensorFlow models
        tensors[_TIED_BIAS] = tensors[_MASKED_LM[-1].theirs]
    of_squad_v2 = [name for name in sorted(values) if name.startswith(_SQUAD_V2_SCOPES)]
    if of_squad_v2:
        logging.warning(
            "%s: transformers has no class for the head of SQuAD v2.0: only the encoder is "
            "converted, without %s",
            *(place, listed(of_squad_v2)),
        )
        values = {name: value for name, value in values.items() if name not in of_squad_v2}
    if values:
        logging.warning(
            "%s: variables left out of the conversion: %s", place, listed(sorted(values))
        )
    return tensors


def _present(heads, arrays, side, place):
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


def _their_config(config, tensors, tokenizer, labels, is_multiple_choice):
    """Contents of `config.json`."""
    if not isinstance(config.hidden_act, str):
        raise InputError(
            "hidden_act is a function; only a named activation can be written to a file"
        )
    their_config: dict[str, Any] = {
        "model_type": "albert",
        **config.to_dict(),
        "hidden_act": _THEIR_ACTIVATIONS[config.hidden_act.lower() or "linear"],
        "layer_norm_eps": _LAYER_NORM_EPSILON,
        "classifier_dropout_prob": _CLASSIFIER_DROPOUT,
        "position_embedding_type": "absolute",
    }
    for name, piece in (
        ("pad_token_id", "<pad>"),
        ("bos_token_id", "[CLS]"),
        ("eos_token_id", "[SEP]"),
    ):
        if piece in tokenizer.vocab:
            their_config[name] = tokenizer.vocab[piece]
    if _SPAN[0].theirs in tensors:
        architecture = "AlbertForQuestionAnswering"
    elif is_multiple_choice:
        architecture = "AlbertForMultipleChoice"
    elif _CLASSIFIER[0].theirs in tensors:
        architecture = "AlbertForSequenceClassification"
        outputs = len(tensors[_CLASSIFIER[0].theirs])
        labels = labels or [f"LABEL_{number}" for number in range(outputs)]
        if len(labels) != outputs:
            raise InputError(f"got {len(labels)} labels, but the classifier has {outputs} outputs")
        their_config["id2label"] = dict(enumerate(labels))
        their_config["label2id"] = {label: number for number, label in enumerate(labels)}
        regression, classification = "regression", "single_label_classification"
        their_config["problem_type"] = regression if outputs == 1 else classification
    elif _SENTENCE_ORDER[0].theirs in tensors:
        architecture = "AlbertForPreTraining"
    else:
        architecture = "AlbertForMaskedLM" if _MASKED_LM[0].theirs in tensors else "AlbertModel"
    their_config["architectures"] = [architecture]
    return their_config


def read_huggingface(huggingface_dir: str, folder: str) -> model_files.ModelFiles:
    """Convert a folder of transformers to a model folder, laid out like the published models.

    Example:

      model = read_huggingface("albert_base_v2_hf", "albert_base_v2_copy")
      print(model.checkpoint)  # albert_base_v2_copy/model.ckpt-best

    Args:
      huggingface_dir: path of the folder with `config.json`, `model.safetensors` and
        `spiece.model`.
      folder: path of the new folder.

    Returns:
      Paths of the model's files.

    Raises:
      InputError: if a file is missing, the model is not a supported ALBERT, or `folder` already
        exists.
    """
    source = Path(huggingface_dir)
    config = _our_config(source / CONFIG_FILE)
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=str(source / SPM_MODEL_FILE))
    model_files.check_vocabulary(
        str(source / SPM_MODEL_FILE), tokenizer, str(source / CONFIG_FILE), config
    )
    values = _to_values(read_tensors(source / WEIGHTS_FILE), config, str(source / WEIGHTS_FILE))
    with files.atomic_directory(folder) as temporary:
        checkpoints.write_values(str(temporary / BEST_CHECKPOINT), values)
        text = config.to_json_string()
        (temporary / model_files.CONFIG_FILE).write_text(text, encoding="utf-8")
        shutil.copyfile(source / SPM_MODEL_FILE, temporary / model_files.SPM_MODEL_FILE)
        vocabulary = model_files.vocabulary_text(tokenizer.sp_model)
        (temporary / model_files.VOCAB_FILE).write_text(vocabulary, encoding="utf-8")
    return model_files.find_model(folder)


def _our_config(path: Path) -> AlbertConfig:
    """Read a `config.json`."""
    root = json_files.read(path, "the config", "save the model again with transformers")
    their_config = root.values
    if their_config.get("model_type") != "albert":
        raise InputError(
            f'{path}: model_type is {shown(their_config.get("model_type"))}, not "albert"'
        )
    for architecture in root.texts("architectures") if their_config.get("architectures") else ():
        if architecture not in _ARCHITECTURES:
            raise InputError(
                f"{path}: {architecture} cannot be converted, only {', '.join(_ARCHITECTURES)}"
            )
    if their_config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type must be absolute in an ALBERT")
    if "layer_norm_eps" in root and root.number("layer_norm_eps", _EPSILON) != _LAYER_NORM_EPSILON:
        logging.warning(
            "%s: layer_norm_eps is %g, but this project uses %g: scores will differ slightly",
            *(path, their_config["layer_norm_eps"], _LAYER_NORM_EPSILON),
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
    sizes = {key: their_config[key] for key in _CONFIG_KEYS if key in their_config}
    return AlbertConfig.checked({**sizes, "hidden_act": _OUR_ACTIVATIONS[activation]}, str(path))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a `.safetensors` file, with bfloat16 widened to float32, as NumPy lacks bfloat16.

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
        if entry["dtype"] == "BF16":  # the upper 16 bits of a float32
            value = (np.frombuffer(entry["data"], np.uint16).astype(np.uint32) << 16).view("f4")
        elif entry["dtype"] in _DTYPES:
            value = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
        else:
            raise InputError(f"{path}: {name} has the unsupported dtype {entry['dtype']}")
        tensors[name] = value.reshape(entry["shape"])
    return tensors


def _to_values(tensors: Arrays, config: AlbertConfig, place: str) -> dict[str, np.ndarray]:
    """Convert tensors of transformers to float32 variables by name."""
    tensors = {_full_name(name): value for name, value in tensors.items()}
    for name in _NOT_WEIGHTS:
        tensors.pop(name, None)
    _untie(tensors, place)
    heads = _present(HEADS, tensors, "theirs", place)
    if not any(head in (_CLASSIFIER, _SENTENCE_ORDER) for head in heads):
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


def _full_name(name):
    """Weight name with the encoder's prefix, which files of a bare `AlbertModel` leave out."""
    return f"albert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _untie(tensors, place):
    """Remove copies of tied weights, after checking that they are equal to the originals."""
    if _TIED_BIAS in tensors:
        tensors.setdefault(_MASKED_LM[-1].theirs, tensors[_TIED_BIAS])
    for copy, original in ((_TIED_WORDS, _WORDS.theirs), (_TIED_BIAS, _MASKED_LM[-1].theirs)):
        value = tensors.pop(copy, None)
        if value is not None and not np.array_equal(value, tensors.get(original)):
            raise InputError(
                f"{place}: {copy} differs from {original}, but ALBERT ties these weights"
            )


def _add_pooler(tensors, config, place):
    """Add a newly initialized pooler to a model that was saved without one."""
    kernel, bias = _POOLER
    if kernel.theirs not in tensors and bias.theirs not in tensors:
        logging.info("%s has no pooler: initializing it with random weights", place)
        size = [config.hidden_size] * 2
        values = np.random.RandomState(0).normal(0.0, config.initializer_range, size)
        tensors[kernel.theirs] = values.astype(np.float32)
        tensors[bias.theirs] = np.zeros(config.hidden_size, np.float32)


def _remove_mapping(values, place):
    """Remove the mapping of embeddings to hidden states of equal width; it must be the identity."""
    kernel, bias = (values.pop(weight.ours) for weight in _MAPPING_IN)
    if not np.array_equal(kernel, np.eye(*kernel.shape)) or bias.any():
        raise InputError(
            f"{place}: embedding_hidden_mapping_in is not the identity, although embedding_size "
            "and hidden_size are equal; this model cannot be converted"
        )


def _check_shapes(values, config, place):
    """Check the shapes of the weights against the config."""
    shapes = model_files.encoder_shapes(config)
    width, vocab_size, embedding_size = config.hidden_size, config.vocab_size, config.embedding_size
    kernel, *vectors, bias = (weight.ours for weight in _MASKED_LM)
    shapes.update({kernel: [width, embedding_size], bias: [vocab_size]})
    shapes.update({vector: [embedding_size] for vector in vectors})
    for weights, output_bias in (_SPAN, _SENTENCE_ORDER):
        shapes.update({weights.ours: [2, width], output_bias.ours: [2]})
    if _CLASSIFIER[0].ours in values:
        outputs = len(values[_CLASSIFIER[0].ours])
        shapes.update({_CLASSIFIER[0].ours: [outputs, width], _CLASSIFIER[1].ours: [outputs]})
    differing = [
        f"{name} has shape {list(value.shape)}, not {shapes[name]}"
        for name, value in values.items()
        if list(value.shape) != shapes[name]
    ]
    if differing:
        raise InputError(f"{place}: the weights do not match {CONFIG_FILE}: {listed(differing)}")

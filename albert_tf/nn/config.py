"""Configuration of an ALBERT model and its JSON file."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from albert_tf.io import json_files
from albert_tf.io.bounds import LARGEST_INT, Bounds
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import shown
from albert_tf.nn.activations import Activation, get_activation

_REMEDY = "give the config that comes with the model"
_MOST_LAYERS = 1000  # also of groups, and of blocks in a layer
_SIZE, _DEPTH = (Bounds(True, 1, upper) for upper in (LARGEST_INT, _MOST_LAYERS))
_DROPOUT = Bounds(False, 0, 1, excludes_upper=True)
_BOUNDS = {
    "vocab_size": _SIZE,
    "embedding_size": _SIZE,
    "hidden_size": _SIZE,
    "num_hidden_layers": _DEPTH,
    "num_hidden_groups": _DEPTH,
    "num_attention_heads": _SIZE,
    "intermediate_size": _SIZE,
    "inner_group_num": _DEPTH,
    "max_position_embeddings": _SIZE,
    "type_vocab_size": _SIZE,
    "hidden_dropout_prob": _DROPOUT,
    "attention_probs_dropout_prob": _DROPOUT,
    "initializer_range": Bounds(False, 0, 1000),
}
# Sizes of the largest matrices; TensorFlow's kernels count the numbers of some in 32 bits.
_MATRICES = (
    ("vocab_size", "embedding_size"),
    ("max_position_embeddings", "embedding_size"),
    ("type_vocab_size", "embedding_size"),
    ("embedding_size", "hidden_size"),
    ("hidden_size", "hidden_size"),
    ("hidden_size", "intermediate_size"),
)


@dataclass(eq=False)
class AlbertConfig:
    """Sizes and hyperparameters of a model, as stored in `albert_config.json`.

    The defaults are the sizes of ALBERT xxlarge (Lan et al. 2019, table 1). Unknown keys of a
    config file become attributes too, and `to_dict` writes them back.

    Example:

      config = AlbertConfig(vocab_size=30000, hidden_size=768, num_attention_heads=12,
                            intermediate_size=3072)  # ALBERT base
      same = AlbertConfig.from_dict(config.to_dict())
      print(same.to_json_string())

    Attributes:
      vocab_size: number of pieces in the vocabulary.
      embedding_size: width E of the word, token-type and position embeddings.
      hidden_size: width D of the encoder.
      num_hidden_layers: number of layers.
      num_hidden_groups: number of groups of layers; the layers of a group share weights.
      num_attention_heads: number N of attention heads; must divide `hidden_size`.
      intermediate_size: width F of the feed-forward layer.
      inner_group_num: number of attention and feed-forward blocks in a layer.
      down_scale_factor: unused; kept for published configs.
      hidden_act: activation of the feed-forward layer, a name known to `get_activation` or a
        function.
      hidden_dropout_prob: dropout rate of embeddings and block outputs in training.
      attention_probs_dropout_prob: dropout rate of attention weights in training.
      max_position_embeddings: maximum sequence length, in pieces.
      type_vocab_size: number of token types (segments).
      initializer_range: standard deviation of the initial weights.
    """

    vocab_size: int
    embedding_size: int = 128
    hidden_size: int = 4096
    num_hidden_layers: int = 12
    num_hidden_groups: int = 1
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    inner_group_num: int = 1
    down_scale_factor: int = 1
    hidden_act: str | Activation | None = "gelu"
    hidden_dropout_prob: float = 0
    attention_probs_dropout_prob: float = 0
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02

    @classmethod
    def from_dict(cls, json_object: dict[str, Any]) -> AlbertConfig:
        """Create a config from a dictionary, with defaults for missing keys.

        Raises:
          InputError: if a key hides a method.
        """
        for key in json_object:
            if callable(getattr(cls, key, None)):
                raise InputError(f"the key {key!r} hides a method of a config; remove it")
        config = cls(vocab_size=None)  # type: ignore[arg-type]  # `checked` demands a value
        vars(config).update(json_object)
        return config

    @classmethod
    def from_json_file(cls, json_file: str) -> AlbertConfig:
        """Read a config file.

        Raises:
          InputError: if the file is missing, is not JSON, or has an invalid value.
        """
        try:
            with tf.gfile.GFile(json_file, "rb") as reader:
                data = reader.read()
        except tf.errors.OpError as error:
            raise InputError(
                f"{json_file}: cannot read the model config: {error.message}"
            ) from error
        return cls.checked(json_files.parse(data, json_file, _REMEDY).values, json_file)

    @classmethod
    def checked(cls, values: dict[str, Any], file: str) -> AlbertConfig:
        """Create a config from the values of a file, and check it.

        Args:
          values: values by name.
          file: path of the file, for error messages.

        Raises:
          InputError: if a value is invalid.
        """
        try:
            config = cls.from_dict(values)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        problem = config._problem()
        if problem:
            raise InputError(f"{file}: {problem}; {_REMEDY}")
        return config

    def to_dict(self) -> dict[str, Any]:
        """The config as a dictionary, including unknown keys."""
        return copy.deepcopy(vars(self))

    def to_json_string(self) -> str:
        """The config as indented JSON with sorted keys and a final newline."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def _problem(self) -> str | None:
        """First invalid value of this config, described for an error message, or None."""
        for name, bounds in _BOUNDS.items():
            value = getattr(self, name)
            if not bounds.allow(value):
                return f"{name} is {shown(value)}, not {bounds}"
        if self.hidden_size % self.num_attention_heads:
            return (
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.num_hidden_groups > self.num_hidden_layers:
            return (
                f"num_hidden_groups {self.num_hidden_groups} is more than "
                f"num_hidden_layers {self.num_hidden_layers}"
            )
        for names in _MATRICES:
            rows, columns = (getattr(self, name) for name in names)
            if rows * columns > LARGEST_INT:
                return (
                    f"{names[0]} {rows} and {names[1]} {columns} make a matrix of more than "
                    f"{LARGEST_INT} numbers"
                )
        if self.hidden_act is not None and not isinstance(self.hidden_act, str):
            return f"hidden_act is {shown(self.hidden_act)}, not the name of an activation"
        try:
            get_activation(self.hidden_act)
        except ValueError as error:
            return str(error)
        return None

"""Configuration of an ALBERT model and its JSON file."""

from __future__ import annotations

import copy
import dataclasses
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
# Sizes of the largest matrices; TensorFlow's kernels count the numbers of some in 32 bits.
_MATRICES = (
    ("vocab_size", "embedding_size"),
    ("max_position_embeddings", "embedding_size"),
    ("type_vocab_size", "embedding_size"),
    ("embedding_size", "hidden_size"),
    ("hidden_size", "hidden_size"),
    ("hidden_size", "intermediate_size"),
)


def _bounded(bounds: Bounds, default: Any = dataclasses.MISSING) -> Any:
    """Field of the config that files may set within bounds."""
    return dataclasses.field(default=default, metadata={"bounds": bounds})


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

    vocab_size: int = _bounded(_SIZE)
    embedding_size: int = _bounded(_SIZE, 128)
    hidden_size: int = _bounded(_SIZE, 4096)
    num_hidden_layers: int = _bounded(_DEPTH, 12)
    num_hidden_groups: int = _bounded(_DEPTH, 1)
    num_attention_heads: int = _bounded(_SIZE, 64)
    intermediate_size: int = _bounded(_SIZE, 16384)
    inner_group_num: int = _bounded(_DEPTH, 1)
    down_scale_factor: int = 1
    hidden_act: str | Activation | None = "gelu"
    hidden_dropout_prob: float = _bounded(_DROPOUT, 0)
    attention_probs_dropout_prob: float = _bounded(_DROPOUT, 0)
    max_position_embeddings: int = _bounded(_SIZE, 512)
    type_vocab_size: int = _bounded(_SIZE, 2)
    initializer_range: float = _bounded(Bounds(False, 0, 1000), 0.02)

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
            config._check()
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        except ValueError as error:
            raise InputError(f"{file}: {error}; {_REMEDY}") from error
        return config

    def to_dict(self) -> dict[str, Any]:
        """The config as a dictionary, including unknown keys."""
        return copy.deepcopy(vars(self))

    def to_json_string(self) -> str:
        """The config as indented JSON with sorted keys and a final newline."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def _check(self) -> None:
        """Raise a `ValueError` that describes the first invalid value of this config."""
        for field in dataclasses.fields(self):
            value, bounds = getattr(self, field.name), field.metadata.get("bounds")
            if bounds and not bounds.allow(value):
                raise ValueError(f"{field.name} is {shown(value)}, not {bounds}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.num_hidden_groups > self.num_hidden_layers:
            raise ValueError(
                f"num_hidden_groups {self.num_hidden_groups} is more than "
                f"num_hidden_layers {self.num_hidden_layers}"
            )
        for names in _MATRICES:
            rows, columns = (getattr(self, name) for name in names)
            if rows * columns > LARGEST_INT:
                raise ValueError(
                    f"{names[0]} {rows} and {names[1]} {columns} make a matrix of more than "
                    f"{LARGEST_INT} numbers"
                )
        if self.hidden_act is not None and not isinstance(self.hidden_act, str):
            raise ValueError(
                f"hidden_act is {shown(self.hidden_act)}, not the name of an activation"
            )
        get_activation(self.hidden_act)

"""The ALBERT encoder: embeddings, transformer with shared weights, pooler.

"ALBERT: A Lite BERT for Self-supervised Learning of Language Representations", Lan et al. 2019
(https://arxiv.org/abs/1909.11942). Shapes are written with B batch, S sequence length, N attention
heads, H size of one head, E embedding width, D = N * H hidden width, F width of the feed-forward
layer.
"""

from __future__ import annotations

import copy
import json
import math
import re
from typing import Callable

import tensorflow.compat.v1 as tf

import gradients
from custom_layer_norm import custom_layer_norm
from errors import InputError

_MASKED_SCORE = -10000.0  # added to the attention scores of padding before the softmax
_GELU_LINEAR = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715 * _GELU_LINEAR


class AlbertConfig:
    """The sizes of a model, as stored in `albert_config.json`.

    Attributes have the names of the constructor's arguments. Keys of a config file that are not
    among them are kept as attributes too, and written back by `to_dict`.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int = 128,
        hidden_size: int = 4096,
        num_hidden_layers: int = 12,
        num_hidden_groups: int = 1,
        num_attention_heads: int = 64,
        intermediate_size: int = 16384,
        inner_group_num: int = 1,
        down_scale_factor: int = 1,
        hidden_act: str | Callable | None = "gelu",
        hidden_dropout_prob: float = 0,
        attention_probs_dropout_prob: float = 0,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        initializer_range: float = 0.02,
    ):
        """The defaults are the sizes of ALBERT xxlarge.

        Args:
          vocab_size: number of pieces in the vocabulary.
          embedding_size: width E of the word, token-type and position embeddings.
          hidden_size: width D of the encoder.
          num_hidden_layers: number of layers.
          num_hidden_groups: number of weight sets that the layers share.
          num_attention_heads: number N of attention heads; divides `hidden_size`.
          intermediate_size: width F of the feed-forward layer.
          inner_group_num: number of attention and feed-forward blocks in a group.
          down_scale_factor: kept for published configs; the model does not use it.
          hidden_act: activation of the feed-forward layer: a name that `get_activation` knows, or a
            function.
          hidden_dropout_prob: dropout rate of embeddings and block outputs, in training.
          attention_probs_dropout_prob: dropout rate of the attention weights, in training.
          max_position_embeddings: the longest sequence that the model can read.
          type_vocab_size: number of token types.
          initializer_range: standard deviation of the initial weights.
        """
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_hidden_groups = num_hidden_groups
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.inner_group_num = inner_group_num
        self.down_scale_factor = down_scale_factor
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range

    @classmethod
    def from_dict(cls, json_object: dict) -> AlbertConfig:
        """Makes a config of a dictionary; keys that are missing get their defaults."""
        config = cls(vocab_size=None)
        vars(config).update(json_object)
        return config

    @classmethod
    def from_json_file(cls, json_file: str) -> AlbertConfig:
        """Reads a config file.

        Raises:
          InputError: if the file is missing, is not JSON, or describes no possible model.
        """
        try:
            with tf.gfile.GFile(json_file, "r") as reader:
                values = json.loads(reader.read())
        except tf.errors.OpError as error:
            raise InputError(
                f"{json_file}: cannot read the model config: {error.message}"
            ) from error
        except ValueError as error:
            raise InputError(f"{json_file}: the model config is not valid JSON: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{json_file}: the model config must be a JSON object of sizes")
        config = cls.from_dict(values)
        problem = config._problem()
        if problem:
            raise InputError(f"{json_file}: {problem}")
        return config

    def to_dict(self) -> dict:
        """The config as a dictionary, unknown keys included."""
        return copy.deepcopy(vars(self))

    def to_json_string(self) -> str:
        """The config as indented JSON with sorted keys and a final line break."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def _problem(self) -> str | None:
        """What makes this config impossible, or None."""
        for name in (
            "vocab_size",
            "embedding_size",
            "hidden_size",
            "num_hidden_layers",
            "num_hidden_groups",
            "num_attention_heads",
            "intermediate_size",
            "inner_group_num",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                return f"{name} is {value!r}; it must be a whole number of at least 1"
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
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                return f"{name} is {value!r}; it must be at least 0 and less than 1"
        try:
            get_activation(self.hidden_act)
        except ValueError as error:
            return str(error)
        return None


class AlbertModel:
    """The encoder as a TensorFlow graph.

    Example:

      config = AlbertConfig.from_json_file("albert_base/albert_config.json")
      input_ids = tf.constant([[2, 48, 25, 21, 1289, 3, 0, 0]])  # [CLS] this is a test [SEP]
      input_mask = tf.constant([[1, 1, 1, 1, 1, 1, 0, 0]])
      model = AlbertModel(config, is_training=False, input_ids=input_ids, input_mask=input_mask)
      sequence = model.get_sequence_output()  # [1, 8, D]
    """

    def __init__(
        self,
        config: AlbertConfig,
        is_training: bool,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        use_one_hot_embeddings: bool = False,
        use_einsum: bool = True,
        scope: str | None = None,
    ):
        """Builds the graph.

        Args:
          config: the sizes of the model.
          is_training: whether dropout is applied.
          input_ids: int tensor [B, S], the pieces' ids.
          input_mask: int tensor [B, S], 1 where there is a piece and 0 where there is padding; all
            1 if not given.
          token_type_ids: int tensor [B, S], 0 in the first segment and 1 in the second; all 0 if
            not given.
          use_one_hot_embeddings: whether words and token types are looked up by a product with
            one-hot vectors, and not by gathering rows.
          use_einsum: whether projections are written as `tf.einsum`, and not as matrix products.
          scope: the variable scope, "bert" if not given: the name in published checkpoints.

        Raises:
          ValueError: if an input is not of rank 2, or longer than the model's position embeddings.
        """
        config = copy.deepcopy(config)
        if not is_training:
            config.hidden_dropout_prob = 0.0
            config.attention_probs_dropout_prob = 0.0
        assert_rank(input_ids, 2)
        if input_mask is None:
            input_mask = tf.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = tf.zeros_like(input_ids)

        with tf.variable_scope(scope, default_name="bert"):
            with tf.variable_scope("embeddings"):
                words, self.embedding_table = _word_embeddings(
                    input_ids, config, use_one_hot_embeddings
                )
                self.word_embedding_output = words
                self.embedding_output = _add_token_types_and_positions(
                    words, token_type_ids, config, use_one_hot_embeddings
                )
            with tf.variable_scope("encoder"):
                self.all_encoder_layers = _encode(
                    self.embedding_output, input_mask, config, use_einsum
                )
            self.sequence_output = self.all_encoder_layers[-1]
            with tf.variable_scope("pooler"):
                first_token = self.sequence_output[:, 0]
                self.pooled_output = tf.tanh(
                    _dense(first_token, config.hidden_size, "dense", config, use_einsum)
                )

    def get_pooled_output(self) -> tf.Tensor:
        """The tanh layer on the first token: float [B, D]."""
        return self.pooled_output

    def get_sequence_output(self) -> tf.Tensor:
        """The output of the last layer: float [B, S, D]."""
        return self.sequence_output

    def get_all_encoder_layers(self) -> list[tf.Tensor]:
        """The output of each layer, first to last: floats [B, S, D]."""
        return self.all_encoder_layers

    def get_word_embedding_output(self) -> tf.Tensor:
        """The word embeddings, before token types and positions are added: float [B, S, E]."""
        return self.word_embedding_output

    def get_embedding_output(self) -> tf.Tensor:
        """The input of the encoder: the sum of all embeddings, normalized: float [B, S, E]."""
        return self.embedding_output

    def get_embedding_table(self) -> tf.Variable:
        """The word embedding table: float [vocab_size, E]."""
        return self.embedding_table


def _word_embeddings(input_ids, config, use_one_hot_embeddings):
    """Looks up the pieces: ([B, S, E], the table [vocab_size, E])."""
    table = tf.get_variable(
        "word_embeddings",
        [config.vocab_size, config.embedding_size],
        initializer=create_initializer(config.initializer_range),
    )
    return _look_up(table, input_ids, use_one_hot_embeddings), table


def _look_up(table, ids, use_one_hot_embeddings):
    """Rows of `table` [vocabulary, E] by `ids` [B, S]: [B, S, E]."""
    if not use_one_hot_embeddings:
        return tf.gather(table, ids)
    one_hot = tf.one_hot(ids, depth=table.shape[0], dtype=table.dtype.base_dtype)
    return einsum_via_matmul(one_hot, table, num_inner_dims=1)


def _add_token_types_and_positions(words, token_type_ids, config, use_one_hot_embeddings):
    """Adds the token-type and position embeddings, normalizes, drops out: [B, S, E]."""
    length = words.shape.as_list()[1]
    if length is None:
        length = tf.shape(words)[1]
    elif length > config.max_position_embeddings:
        raise ValueError(
            f"the inputs have {length} positions, the model has position embeddings for "
            f"{config.max_position_embeddings}"
        )
    token_type_table = tf.get_variable(
        "token_type_embeddings",
        [config.type_vocab_size, config.embedding_size],
        initializer=create_initializer(config.initializer_range),
    )
    position_table = tf.get_variable(
        "position_embeddings",
        [config.max_position_embeddings, config.embedding_size],
        initializer=create_initializer(config.initializer_range),
    )
    token_types = _look_up(token_type_table, token_type_ids, use_one_hot_embeddings)
    embeddings = words + token_types + position_table[:length]
    embeddings = custom_layer_norm(embeddings, begin_norm_axis=-1, scope="LayerNorm")
    return dropout(embeddings, config.hidden_dropout_prob)


def _encode(embeddings, input_mask, config, use_einsum):
    """Runs the layers on `embeddings` [B, S, E]: the list of their outputs [B, S, D]."""
    hidden = embeddings
    if config.embedding_size != config.hidden_size:
        hidden = _dense(
            embeddings, config.hidden_size, "embedding_hidden_mapping_in", config, use_einsum
        )
    # [B, 1, 1, S]: the same for every head and every query.
    padding = 1 - tf.cast(input_mask[:, tf.newaxis, tf.newaxis, :], hidden.dtype)
    mask_scores = _MASKED_SCORE * padding

    layers = []
    with tf.variable_scope("transformer", reuse=tf.AUTO_REUSE):
        for layer in range(config.num_hidden_layers):
            group = layer * config.num_hidden_groups // config.num_hidden_layers
            with tf.variable_scope(f"group_{group}"), tf.name_scope(f"layer_{layer}"):
                for inner_group in range(config.inner_group_num):
                    with tf.variable_scope(f"inner_group_{inner_group}"):
                        hidden = _block(hidden, mask_scores, config, use_einsum)
            layers.append(hidden)
    return layers


def _block(hidden, mask_scores, config, use_einsum):
    """Self-attention and feed-forward, each with a residual connection: [B, S, D] to [B, S, D]."""
    width = config.hidden_size
    with tf.variable_scope("attention_1"):
        with tf.variable_scope("self"):
            context = _self_attention(hidden, mask_scores, config, use_einsum)
        with tf.variable_scope("output"):
            attended = _dense(context, width, "dense", config, use_einsum)
            attended = dropout(attended, config.hidden_dropout_prob)
    hidden = layer_norm(attended + hidden, "LayerNorm")

    with tf.variable_scope("ffn_1"), tf.variable_scope("intermediate"):
        inner = _dense(hidden, config.intermediate_size, "dense", config, use_einsum)
        activation = get_activation(config.hidden_act)
        if activation is not None:
            inner = activation(inner)
        with tf.variable_scope("output"):
            output = _dense(inner, width, "dense", config, use_einsum)
            output = dropout(output, config.hidden_dropout_prob)
    return layer_norm(output + hidden, "LayerNorm_1")


def _self_attention(hidden, mask_scores, config, use_einsum):
    """Multi-head attention of `hidden` [B, S, D] on itself: [B, S, D]."""
    batch_size, length, width = get_shape_list(hidden)
    heads = config.num_attention_heads

    def split_heads(name):
        projected = _dense(hidden, width, name, config, use_einsum)
        projected = tf.reshape(projected, [batch_size, length, heads, width // heads])
        return tf.transpose(projected, [0, 2, 1, 3])  # [B, N, S, H]

    query, key, value = split_heads("query"), split_heads("key"), split_heads("value")
    query *= 1.0 / math.sqrt(width // heads)
    scores = tf.matmul(query, key, transpose_b=True) + mask_scores  # [B, N, S, S]
    weights = dropout(tf.nn.softmax(scores), config.attention_probs_dropout_prob)
    context = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])  # [B, S, N, H]
    return tf.reshape(context, [batch_size, length, width])


def _dense(inputs, output_width, name, config, use_einsum):
    """A dense layer over the last axis of `inputs`: [..., output_width]."""
    with tf.variable_scope(name):
        kernel = tf.get_variable(
            "kernel",
            [inputs.shape[-1], output_width],
            initializer=create_initializer(config.initializer_range),
        )
        bias = tf.get_variable("bias", [output_width], initializer=tf.zeros_initializer())
        if use_einsum:
            product = tf.einsum("...i,io->...o", inputs, kernel)
        else:
            product = einsum_via_matmul(inputs, kernel, num_inner_dims=1)
        return tf.nn.bias_add(product, bias)


def einsum_via_matmul(input_tensor: tf.Tensor, w: tf.Tensor, num_inner_dims: int) -> tf.Tensor:
    """Contracts the last axes of a tensor with the first axes of another in one matrix product.

    Args:
      input_tensor: tensor [outer..., inner...] with `num_inner_dims` inner axes.
      w: tensor [inner..., result...] with the same, static, inner axes.
      num_inner_dims: number of axes to contract.

    Returns:
      A tensor [outer..., result...].
    """
    inner, result = w.shape.as_list()[:num_inner_dims], w.shape.as_list()[num_inner_dims:]
    matrix, w_matrix = input_tensor, w
    if input_tensor.shape.ndims != 2 or num_inner_dims != 1:
        matrix = tf.reshape(input_tensor, [-1, math.prod(inner)])
    if w.shape.ndims != 2 or num_inner_dims != 1:
        w_matrix = tf.reshape(w, [math.prod(inner), math.prod(result)])
    product = tf.matmul(matrix, w_matrix)
    if input_tensor.shape.ndims - num_inner_dims == 1 and len(result) == 1:
        return product
    outer = get_shape_list(input_tensor)[:-num_inner_dims]
    return tf.reshape(product, outer + result)


def gelu(x: tf.Tensor) -> tf.Tensor:
    """Gaussian error linear unit in its tanh approximation (Hendrycks & Gimpel 2016, section 2).

    Args:
      x: float tensor of any shape.

    Returns:
      0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), of the shape and dtype of `x`.
    """
    # Products in place of `tf.pow`: a tenth of its time.
    square = tf.square(x)
    tanh = tf.tanh(x * (_GELU_LINEAR + _GELU_CUBIC * square))
    gate = 0.5 + 0.5 * tanh
    return gradients.override("AlbertGelu", x * gate, x, square, tanh, gate)


@gradients.register("AlbertGelu")
def _gelu_gradient(upstream, x, square, tanh, gate):
    slope = 0.5 * _GELU_LINEAR + 1.5 * _GELU_CUBIC * square
    # TanhGrad(y, dy) is dy * (1 - y^2) in one pass over memory.
    return upstream * (gate + tf.raw_ops.TanhGrad(y=tanh, dy=x * slope)), None, None, None


def get_activation(activation: str | Callable | None) -> Callable | None:
    """The function of an activation's name.

    Args:
      activation: "gelu", "relu", "tanh" or "linear" in any case; None or "" mean linear; a function
        is returned as it is.

    Returns:
      A function from tensor to tensor, or None for linear.

    Raises:
      ValueError: if the name is not known.
    """
    if not isinstance(activation, str):
        return activation
    functions = {"": None, "linear": None, "relu": tf.nn.relu, "gelu": gelu, "tanh": tf.tanh}
    name = activation.lower()
    if name not in functions:
        raise ValueError(f"hidden_act {activation!r} is not one of gelu, relu, tanh, linear")
    return functions[name]


def layer_norm(input_tensor: tf.Tensor, name: str | None = None) -> tf.Tensor:
    """Layer normalization over the last axis, with variables `beta` and `gamma` in scope `name`."""
    return custom_layer_norm(input_tensor, begin_norm_axis=-1, begin_params_axis=-1, scope=name)


def dropout(input_tensor: tf.Tensor, dropout_prob: float | None) -> tf.Tensor:
    """Sets a share `dropout_prob` of the values to 0 and scales up the rest; 0 or None: none."""
    if not dropout_prob:
        return input_tensor
    return tf.nn.dropout(input_tensor, rate=dropout_prob)


def create_initializer(initializer_range: float = 0.02) -> tf.Initializer:
    """A normal distribution of that standard deviation, cut off at two of them."""
    return tf.truncated_normal_initializer(stddev=initializer_range)


def get_shape_list(
    tensor: tf.Tensor,
    expected_rank: int | list[int] | None = None,
    name: str | None = None,
) -> list:
    """The shape of a tensor: an int where an axis is static, else a scalar int tensor.

    Args:
      tensor: any tensor.
      expected_rank: the rank, or the ranks, that it may have.
      name: how errors name the tensor, its own name if not given.

    Raises:
      ValueError: if the rank is not among the expected ones.
    """
    if expected_rank is not None:
        assert_rank(tensor, expected_rank, name)
    shape = tensor.shape.as_list()
    if None in shape:
        dynamic_shape = tf.shape(tensor)
        shape = [dynamic_shape[i] if size is None else size for i, size in enumerate(shape)]
    return shape


def assert_rank(tensor: tf.Tensor, expected_rank: int | list[int], name: str | None = None) -> None:
    """Raises `ValueError` if the rank of `tensor` is not `expected_rank` or one of them."""
    expected = [expected_rank] if isinstance(expected_rank, int) else list(expected_rank)
    rank = tensor.shape.ndims
    if rank not in expected:
        allowed = " or ".join(str(rank) for rank in expected)
        raise ValueError(
            f"{name or tensor.name} has rank {rank} (shape {tensor.shape}), not {allowed}"
        )


def get_assignment_map_from_checkpoint(
    tvars: list[tf.Variable], init_checkpoint: str, num_of_group: int = 0
) -> tuple[dict[str, str] | list[dict[str, str]], dict[str, int]]:
    """Matches the variables of a graph with those of a checkpoint by name.

    Args:
      tvars: the variables to initialize.
      init_checkpoint: path of a TensorFlow checkpoint.
      num_of_group: 0 to match equal names only. More than 0 lets a model of that many groups start
        from a checkpoint of one group: weights of a group that the checkpoint lacks come from its
        group 0.

    Returns:
      A map of checkpoint names to variable names, for `tf.train.init_from_checkpoint`; with
      `num_of_group`, a list of such maps, one for each group, to be applied one after the other.
      And the names of all variables that are matched, with and without ":0", each with the value 1.
    """
    in_checkpoint = {name for name, _ in tf.train.list_variables(init_checkpoint)}
    maps = [{} for _ in range(max(1, num_of_group))]
    matched = {}
    for variable in tvars:
        name = re.sub(r":\d+$", "", variable.name)
        group = re.search(r"/group_(\d+)/", name)
        source = name
        if source not in in_checkpoint and group and num_of_group > 0:
            source = name.replace(group.group(), "/group_0/")
        if source not in in_checkpoint:
            continue
        in_group = int(group.group(1)) if group and num_of_group > 0 else 0
        maps[in_group][source] = name
        matched[name] = matched[f"{name}:0"] = 1
    return (maps if num_of_group > 0 else maps[0]), matched

"""The ALBERT encoder: embeddings, transformer with shared weights, pooler.

"ALBERT: A Lite BERT for Self-supervised Learning of Language Representations", Lan et al. 2019
(https://arxiv.org/abs/1909.11942). Notation for shapes: batch size B, sequence length S, number of
attention heads N, head size H, embedding width E, hidden width D = N * H, feed-forward width F.
"""

from __future__ import annotations

import copy
import functools
import re
from typing import NamedTuple, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.devices import device
from albert_tf.nn import attention
from albert_tf.nn.activations import gelu, get_activation
from albert_tf.nn.config import AlbertConfig
from albert_tf.nn.dropout import dropout
from albert_tf.nn.layers import (
    Dense,
    assert_rank,
    create_initializer,
    dense_layer,
    dense_weights,
    einsum_via_matmul,
    get_shape_list,
)
from albert_tf.nn.layout import Layout, PaddedSequences, Tokens
from custom_layer_norm import custom_layer_norm

# The public API, including names defined in `albert_tf.nn`.
__all__ = [
    "AlbertConfig",
    "AlbertModel",
    "assert_rank",
    "create_initializer",
    "dense_layer",
    "dropout",
    "einsum_via_matmul",
    "gelu",
    "get_activation",
    "get_assignment_map_from_checkpoint",
    "get_shape_list",
    "layer_norm",
    "output_layer",
]


class AlbertModel:
    """ALBERT encoder as a TensorFlow graph (Lan et al. 2019, section 3.1).

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
        compute_padding: bool = True,
    ):
        """Build the graph.

        Args:
          config: sizes of the model.
          is_training: whether to apply dropout.
          input_ids: int tensor [B, S], ids of the pieces.
          input_mask: int tensor [B, S], 1 for pieces and 0 for padding; all 1 by default.
          token_type_ids: int tensor [B, S], 0 in the first segment and 1 in the second; all 0 by
            default.
          use_one_hot_embeddings: whether to look up words and token types by multiplying with
            one-hot vectors instead of gathering rows.
          use_einsum: whether to compute projections with `tf.einsum` instead of `tf.matmul`.
          scope: variable scope; by default "bert", as in published checkpoints.
          compute_padding: whether to compute the outputs of padding, as published. If not, they are
            0, and nothing is computed for them, unless the device needs static shapes.

        Raises:
          ValueError: if `input_ids` is not of rank 2, or S exceeds `max_position_embeddings`.
        """
        config = copy.deepcopy(config)
        if not is_training:
            config.hidden_dropout_prob = 0.0
            config.attention_probs_dropout_prob = 0.0
        assert_rank(input_ids, 2)
        _check_length(input_ids, config)
        self._layout = _make_layout(input_ids, input_mask, config, compute_padding)
        if token_type_ids is None:
            token_type_ids = tf.zeros_like(input_ids)

        with tf.variable_scope(scope, default_name="bert"):
            with tf.variable_scope("embeddings"):
                self._words, self.embedding_table = _word_embeddings(
                    self._layout.ids(input_ids), config, use_one_hot_embeddings
                )
                self._embeddings = _add_token_types_and_positions(
                    self._words, token_type_ids, self._layout, config, use_one_hot_embeddings
                )
            with tf.variable_scope("encoder"):
                self._layers, self._attention_probs = _encode(
                    self._embeddings, self._layout, config, use_einsum
                )
            with tf.variable_scope("pooler"):
                first_token = self._layout.first(self._layers[-1])
                self.pooled_output = tf.tanh(
                    dense_layer(first_token, config.hidden_size, "dense", config, use_einsum)
                )

    @property
    def output_mask(self) -> tf.Tensor | None:
        """True where the sequence output is computed, bool [B, S]; it is 0 elsewhere.

        None if it is computed everywhere.
        """
        return self._layout.output_mask

    @functools.cached_property
    def all_encoder_layers(self) -> list[tf.Tensor]:
        """Outputs of all layers; see `get_all_encoder_layers`."""
        return [*map(self._layout.padded, self._layers[:-1]), self.sequence_output]

    @functools.cached_property
    def sequence_output(self) -> tf.Tensor:
        """Output of the last layer; see `get_sequence_output`."""
        return self._layout.padded(self._layers[-1])

    @functools.cached_property
    def word_embedding_output(self) -> tf.Tensor:
        """Word embeddings; see `get_word_embedding_output`."""
        return self._layout.padded(self._words)

    @functools.cached_property
    def embedding_output(self) -> tf.Tensor:
        """Input of the encoder; see `get_embedding_output`."""
        return self._layout.padded(self._embeddings)

    def get_pooled_output(self) -> tf.Tensor:
        """Output of the pooler, a dense tanh layer on the first token: float tensor [B, D]."""
        return self.pooled_output

    def get_sequence_output(self) -> tf.Tensor:
        """Output of the last layer: float tensor [B, S, D]."""
        return self.sequence_output

    def get_all_encoder_layers(self) -> list[tf.Tensor]:
        """Outputs of all layers, from first to last: float tensors [B, S, D]."""
        return self.all_encoder_layers

    def get_attention_probs(self) -> list[tf.Tensor]:
        """Attention of each block, from first to last: float tensors [B, N, S, S].

        Entry [b, n, i, j] is the weight that head n of sequence b gives position j when it computes
        position i, before dropout; over j the weights sum to 1. Without computed padding (see
        `compute_padding`) S may be less than the length of the inputs, and what stands at padded
        positions i has no meaning.
        """
        return [self._layout.whole_attention(groups) for groups in self._attention_probs]

    def get_word_embedding_output(self) -> tf.Tensor:
        """Word embeddings, without token types and positions: float tensor [B, S, E]."""
        return self.word_embedding_output

    def get_embedding_output(self) -> tf.Tensor:
        """Input of the encoder, the normalized sum of all embeddings: float tensor [B, S, E]."""
        return self.embedding_output

    def get_embedding_table(self) -> tf.Variable:
        """Word embedding table: float variable [vocab_size, E]."""
        return self.embedding_table

    @property
    def output_embedding_table(self) -> tf.Variable:
        """The original's name of the word embedding table."""
        return self.embedding_table


def _check_length(input_ids: tf.Tensor, config: AlbertConfig) -> None:
    length = input_ids.shape.as_list()[1]
    if length is not None and length > config.max_position_embeddings:
        raise ValueError(
            f"the inputs have {length} positions, but max_position_embeddings is "
            f"{config.max_position_embeddings}"
        )


def _make_layout(
    input_ids: tf.Tensor,
    input_mask: tf.Tensor | None,
    config: AlbertConfig,
    compute_padding: bool,
) -> Layout:
    """Layout of the hidden vectors; padded sequences where there is no padding to leave out."""
    num_heads, current = config.num_attention_heads, device.current()
    if input_mask is None:
        return PaddedSequences(tf.ones_like(input_ids), num_heads)
    if compute_padding or current.static_shapes:
        return PaddedSequences(input_mask, num_heads)
    is_long = (input_ids.shape.as_list()[1] or 0) >= current.min_grouped_length
    return Tokens(input_mask, num_heads, current.attention_groups if is_long else 1)


def _word_embeddings(
    input_ids: tf.Tensor, config: AlbertConfig, use_one_hot_embeddings: bool
) -> tuple[tf.Tensor, tf.Variable]:
    """Word embeddings [..., E] of ids [...], and their table [vocab_size, E]."""
    table = tf.get_variable(
        "word_embeddings",
        [config.vocab_size, config.embedding_size],
        initializer=create_initializer(config.initializer_range),
    )
    return _look_up(table, input_ids, use_one_hot_embeddings), table


def _look_up(table: tf.Variable, ids: tf.Tensor, use_one_hot_embeddings: bool) -> tf.Tensor:
    """Rows [..., E] of `table` [vocabulary size, E] for `ids` [...]."""
    if not use_one_hot_embeddings:
        return tf.gather(table, ids)
    one_hot = tf.one_hot(ids, depth=table.shape[0], dtype=table.dtype.base_dtype)
    return einsum_via_matmul(one_hot, table, num_inner_dims=1)


def _add_token_types_and_positions(
    words: tf.Tensor,
    token_type_ids: tf.Tensor,
    layout: Layout,
    config: AlbertConfig,
    use_one_hot_embeddings: bool,
) -> tf.Tensor:
    """Add token-type and position embeddings, normalize, apply dropout: [..., E]."""
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
    types = _look_up(token_type_table, layout.ids(token_type_ids), use_one_hot_embeddings)
    embeddings = words + types + layout.position_embeddings(tf.convert_to_tensor(position_table))
    embeddings = custom_layer_norm(embeddings, begin_norm_axis=-1, scope="LayerNorm")
    return dropout(embeddings, config.hidden_dropout_prob)


def _encode(
    embeddings: tf.Tensor, layout: Layout, config: AlbertConfig, use_einsum: bool
) -> tuple[list[tf.Tensor], list[Sequence[tf.Tensor]]]:
    """Apply all layers to `embeddings` [..., E].

    Returns:
      The outputs of the layers, [..., D], and the attention of the blocks, [B, N, S, S].
    """
    hidden = embeddings
    if config.embedding_size != config.hidden_size:
        hidden = dense_layer(
            embeddings, config.hidden_size, "embedding_hidden_mapping_in", config, use_einsum
        )
    mask_scores = layout.mask_scores(hidden.dtype)

    layers: list[tf.Tensor] = []
    attention_probs: list[Sequence[tf.Tensor]] = []
    weights: dict[tuple[int, int], _BlockWeights] = {}  # shared by all layers of a group
    with tf.variable_scope("transformer", reuse=tf.AUTO_REUSE):
        for layer in range(config.num_hidden_layers):
            group = layer * config.num_hidden_groups // config.num_hidden_layers
            with tf.variable_scope(f"group_{group}"), tf.name_scope(f"layer_{layer}"):
                for inner_group in range(config.inner_group_num):
                    block = (group, inner_group)
                    with tf.variable_scope(f"inner_group_{inner_group}"):
                        if block not in weights:
                            weights[block] = _block_weights(config)
                        hidden, probs = _block(
                            hidden, layout, mask_scores, weights[block], config, use_einsum
                        )
                    attention_probs.append(probs)
            layers.append(hidden)
    return layers, attention_probs


class _BlockWeights(NamedTuple):
    """Dense layers of a block: query, key and value in one, attention's output, feed-forward."""

    projection: Dense
    attention: Dense
    intermediate: Dense
    output: Dense


def _block_weights(config: AlbertConfig) -> _BlockWeights:
    width, inner_width = config.hidden_size, config.intermediate_size
    projection = attention.projection_weights(config)
    with tf.variable_scope("attention_1"), tf.variable_scope("output"):
        attention_output = dense_weights(width, width, "dense", config)
    with tf.variable_scope("ffn_1"), tf.variable_scope("intermediate"):
        intermediate = dense_weights(width, inner_width, "dense", config)
        with tf.variable_scope("output"):
            output = dense_weights(inner_width, width, "dense", config)
    return _BlockWeights(projection, attention_output, intermediate, output)


def _block(
    hidden: tf.Tensor,
    layout: Layout,
    mask_scores: Sequence[tf.Tensor],
    weights: _BlockWeights,
    config: AlbertConfig,
    use_einsum: bool,
) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    """Self-attention and feed-forward with residual connections, from [..., D] to [..., D].

    Returns:
      The hidden vectors, and the attention [B, N, S, S].
    """
    with tf.name_scope("attention_1"):
        with tf.name_scope("self"):
            context, probs = attention.self_attention(
                hidden, layout, mask_scores, weights.projection, config, use_einsum
            )
        with tf.name_scope("output"):
            attended = weights.attention(context, use_einsum)
            attended = dropout(attended, config.hidden_dropout_prob)
    # The gradient of `add_n` is a plain copy; the gradient of `+` has ops for broadcasting.
    hidden = layer_norm(tf.add_n([attended, hidden]), "LayerNorm")

    with tf.name_scope("ffn_1"), tf.name_scope("intermediate"):
        inner = weights.intermediate(hidden, use_einsum)
        activation = get_activation(config.hidden_act)
        if activation is not None:
            inner = activation(inner)
        with tf.name_scope("output"):
            output = weights.output(inner, use_einsum)
            output = dropout(output, config.hidden_dropout_prob)
    return layer_norm(tf.add_n([output, hidden]), "LayerNorm_1"), probs


def layer_norm(input_tensor: tf.Tensor, name: str | None = None) -> tf.Tensor:
    """Apply layer normalization to the last axis.

    Args:
      input_tensor: float tensor [..., width].
      name: variable scope of `beta` and `gamma`, "LayerNorm" by default.

    Returns:
      Tensor with the shape and dtype of `input_tensor`.
    """
    return custom_layer_norm(input_tensor, begin_norm_axis=-1, begin_params_axis=-1, scope=name)


def output_layer(inputs: tf.Tensor, num_outputs: int, initializer_range: float = 0.02) -> tf.Tensor:
    """Apply the output layer of a task's head.

    Its variables, `output_weights` [num_outputs, D] and `output_bias` [num_outputs], are in the
    current variable scope.

    Args:
      inputs: float tensor [B, D].
      num_outputs: number of logits.
      initializer_range: standard deviation of the initial weights.

    Returns:
      Logits, float tensor [B, num_outputs].
    """
    weights = tf.get_variable(
        "output_weights",
        [num_outputs, inputs.shape[-1]],
        initializer=create_initializer(initializer_range),
    )
    bias = tf.get_variable("output_bias", [num_outputs], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(inputs, weights, transpose_b=True), bias)


def get_assignment_map_from_checkpoint(
    tvars: list[tf.Variable], init_checkpoint: str, num_of_group: int = 0
) -> tuple[dict[str, str] | list[dict[str, str]], dict[str, int]]:
    """Match the variables of a graph with the variables of a checkpoint by name.

    Args:
      tvars: variables to initialize.
      init_checkpoint: path (prefix) of a TensorFlow checkpoint.
      num_of_group: 0 to match equal names only. A positive value initializes a model with that many
        groups from a checkpoint with one: groups missing in the checkpoint are initialized from
        group 0.

    Returns:
      A map from checkpoint names to variable names for `tf.train.init_from_checkpoint`, or with
      `num_of_group` a list of such maps, one per group, to apply one after the other; and a
      dictionary with the names of all matched variables, with and without ":0", each with value 1.
    """
    in_checkpoint = {name for name, _ in tf.train.list_variables(init_checkpoint)}
    maps: list[dict[str, str]] = [{} for _ in range(max(1, num_of_group))]
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

"""The ALBERT encoder: embeddings, transformer with shared weights, pooler.

"ALBERT: A Lite BERT for Self-supervised Learning of Language Representations", Lan et al. 2019
(https://arxiv.org/abs/1909.11942). Notation for shapes: batch size B, sequence length S, number of
attention heads N, head size H, embedding width E, hidden width D = N * H, feed-forward width F.
"""

from __future__ import annotations

import copy
import math
import re

import tensorflow.compat.v1 as tf

from albert_tf.devices.fusion import fused
from albert_tf.nn import gradients
from albert_tf.nn.activations import gelu, get_activation
from albert_tf.nn.config import AlbertConfig
from albert_tf.nn.dropout import dropout as seeded_dropout
from custom_layer_norm import custom_layer_norm

# The public API, including three names defined in `albert_tf.nn`.
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

_MASKED_SCORE = -10000.0  # added to the attention scores of padding before the softmax


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

        Raises:
          ValueError: if `input_ids` is not of rank 2, or S exceeds `max_position_embeddings`.
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
                    dense_layer(first_token, config.hidden_size, "dense", config, use_einsum)
                )

    def get_pooled_output(self) -> tf.Tensor:
        """Output of the pooler, a dense tanh layer on the first token: float tensor [B, D]."""
        return self.pooled_output

    def get_sequence_output(self) -> tf.Tensor:
        """Output of the last layer: float tensor [B, S, D]."""
        return self.sequence_output

    def get_all_encoder_layers(self) -> list[tf.Tensor]:
        """Outputs of all layers, from first to last: float tensors [B, S, D]."""
        return self.all_encoder_layers

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


def _word_embeddings(input_ids, config, use_one_hot_embeddings):
    """Word embeddings [B, S, E], and their table [vocab_size, E]."""
    table = tf.get_variable(
        "word_embeddings",
        [config.vocab_size, config.embedding_size],
        initializer=create_initializer(config.initializer_range),
    )
    return _look_up(table, input_ids, use_one_hot_embeddings), table


def _look_up(table, ids, use_one_hot_embeddings):
    """Rows [B, S, E] of `table` [vocabulary size, E] for `ids` [B, S]."""
    if not use_one_hot_embeddings:
        return tf.gather(table, ids)
    one_hot = tf.one_hot(ids, depth=table.shape[0], dtype=table.dtype.base_dtype)
    return einsum_via_matmul(one_hot, table, num_inner_dims=1)


def _add_token_types_and_positions(words, token_type_ids, config, use_one_hot_embeddings):
    """Add token-type and position embeddings, normalize, apply dropout: [B, S, E]."""
    length = words.shape.as_list()[1]
    if length is None:
        length = tf.shape(words)[1]
    elif length > config.max_position_embeddings:
        raise ValueError(
            f"the inputs have {length} positions, but max_position_embeddings is "
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
    """Apply all layers to `embeddings` [B, S, E]; return the list of their outputs [B, S, D]."""
    hidden = embeddings
    if config.embedding_size != config.hidden_size:
        hidden = dense_layer(
            embeddings, config.hidden_size, "embedding_hidden_mapping_in", config, use_einsum
        )
    # [B, 1, 1, S], broadcast over heads and queries.
    padding = 1 - tf.cast(input_mask[:, tf.newaxis, tf.newaxis, :], hidden.dtype)
    mask_scores = _MASKED_SCORE * padding

    layers = []
    projections = {}  # shared by all layers of a group
    with tf.variable_scope("transformer", reuse=tf.AUTO_REUSE):
        for layer in range(config.num_hidden_layers):
            group = layer * config.num_hidden_groups // config.num_hidden_layers
            with tf.variable_scope(f"group_{group}"), tf.name_scope(f"layer_{layer}"):
                for inner_group in range(config.inner_group_num):
                    block = (group, inner_group)
                    with tf.variable_scope(f"inner_group_{inner_group}"):
                        if block not in projections:
                            projections[block] = _attention_projection(config)
                        projection = projections[block]
                        hidden = _block(hidden, mask_scores, projection, config, use_einsum)
            layers.append(hidden)
    return layers


def _block(hidden, mask_scores, projection, config, use_einsum):
    """Self-attention and feed-forward with residual connections, from [B, S, D] to [B, S, D]."""
    width = config.hidden_size
    with tf.variable_scope("attention_1"):
        with tf.name_scope("self"):
            context = _self_attention(hidden, mask_scores, projection, config, use_einsum)
        with tf.variable_scope("output"):
            attended = dense_layer(context, width, "dense", config, use_einsum)
            attended = dropout(attended, config.hidden_dropout_prob)
    hidden = layer_norm(attended + hidden, "LayerNorm")

    with tf.variable_scope("ffn_1"), tf.variable_scope("intermediate"):
        inner = dense_layer(hidden, config.intermediate_size, "dense", config, use_einsum)
        activation = get_activation(config.hidden_act)
        if activation is not None:
            inner = activation(inner)
        with tf.variable_scope("output"):
            output = dense_layer(inner, width, "dense", config, use_einsum)
            output = dropout(output, config.hidden_dropout_prob)
    return layer_norm(output + hidden, "LayerNorm_1")


def _attention_projection(config):
    """Combined dense layer for query, key and value: kernel [D, 3 D] and bias [3 D].

    The weights of the query are scaled by 1 / sqrt(H), to save scaling the queries in every layer.
    """
    width = config.hidden_size
    with tf.variable_scope("attention_1"), tf.variable_scope("self"):
        query, key, value = (
            _dense_variables(width, width, name, config) for name in ("query", "key", "value")
        )
        scale = 1.0 / math.sqrt(width // config.num_attention_heads)
        query = [scale * variable for variable in query]
        kernels, biases = zip(query, key, value)
        return tf.concat(kernels, axis=1), tf.concat(biases, axis=0)


def _self_attention(hidden, mask_scores, projection, config, use_einsum):
    """Multi-head self-attention, from [B, S, D] to [B, S, D]."""
    batch_size, length, width = get_shape_list(hidden)
    heads = config.num_attention_heads
    projected = _linear(hidden, *projection, use_einsum)
    projected = tf.reshape(projected, [batch_size, length, 3, heads, width // heads])
    query, key, value = tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]))  # [B, N, S, H]
    context = _attend(query, key, value, mask_scores, config.attention_probs_dropout_prob)
    return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [batch_size, length, width])


def _attend(query, key, value, mask_scores, dropout_prob):
    """Attention output [B, N, S, H] for `query`, `key` and `value`, all [B, N, S, H].

    `query` must be scaled by 1 / sqrt(H). `mask_scores` [B, 1, 1, S] are added to the scores.
    """
    scores = tf.matmul(query, key, transpose_b=True) + mask_scores  # [B, N, S, S]
    weights = tf.nn.softmax(scores)
    if dropout_prob:
        return tf.matmul(dropout(weights, dropout_prob), value)
    context = tf.matmul(weights, value)
    return gradients.override(
        _attention_gradient, context, query, key, value, mask_scores, weights, context
    )


@gradients.ClosedForm
def _attention_gradient(upstream, query, key, value, mask_scores, weights, context):
    # The gradient of the softmax needs the sum of weights * weights_gradient over the S keys. It
    # equals the sum of context * upstream over H (Dao et al. 2022, appendix B.2), which is cheaper.
    weights_gradient = tf.matmul(upstream, value, transpose_b=True)
    mean = tf.reduce_sum(upstream * context, axis=-1, keepdims=True)
    scores_gradient = _softmax_gradient(weights, weights_gradient, mean)
    return (
        tf.matmul(scores_gradient, key),
        tf.matmul(scores_gradient, query, transpose_a=True),
        tf.matmul(weights, upstream, transpose_a=True),
        tf.reduce_sum(scores_gradient, axis=[1, 2], keepdims=True),
        None,
        None,
    )


@fused
def _softmax_gradient(softmax, upstream, mean):
    return softmax * (upstream - mean)


def dense_layer(
    inputs: tf.Tensor, output_width: int, name: str, config: AlbertConfig, use_einsum: bool = False
) -> tf.Tensor:
    """Apply a dense layer, without activation, to the last axis.

    Args:
      inputs: float tensor [..., input width].
      output_width: number of outputs.
      name: variable scope of `kernel` and `bias`.
      config: config with the `initializer_range` of the kernel.
      use_einsum: whether to use `tf.einsum` instead of `tf.matmul`.

    Returns:
      Float tensor [..., output_width].
    """
    kernel, bias = _dense_variables(inputs.shape[-1], output_width, name, config)
    return _linear(inputs, kernel, bias, use_einsum)


def _dense_variables(input_width, output_width, name, config):
    """Kernel [input_width, output_width] and bias [output_width] of a dense layer."""
    with tf.variable_scope(name):
        kernel = tf.get_variable(
            "kernel",
            [input_width, output_width],
            initializer=create_initializer(config.initializer_range),
        )
        bias = tf.get_variable("bias", [output_width], initializer=tf.zeros_initializer())
    return kernel, bias


def _linear(inputs, kernel, bias, use_einsum):
    """Compute inputs [..., I] @ kernel [I, O] + bias [O] as [..., O]."""
    if use_einsum:
        product = tf.einsum("...i,io->...o", inputs, kernel)
    else:
        product = einsum_via_matmul(inputs, kernel, num_inner_dims=1)
    return tf.nn.bias_add(product, bias)


def einsum_via_matmul(input_tensor: tf.Tensor, w: tf.Tensor, num_inner_dims: int) -> tf.Tensor:
    """Contract the last axes of one tensor with the first axes of another by one `tf.matmul`.

    Args:
      input_tensor: tensor [outer..., inner...] with `num_inner_dims` inner axes.
      w: tensor [inner..., result...] with the same inner axes, and a static shape.
      num_inner_dims: number of axes to contract.

    Returns:
      Tensor [outer..., result...].
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


def layer_norm(input_tensor: tf.Tensor, name: str | None = None) -> tf.Tensor:
    """Apply layer normalization to the last axis.

    Args:
      input_tensor: float tensor [..., width].
      name: variable scope of `beta` and `gamma`, "LayerNorm" by default.

    Returns:
      Tensor with the shape and dtype of `input_tensor`.
    """
    return custom_layer_norm(input_tensor, begin_norm_axis=-1, begin_params_axis=-1, scope=name)


def dropout(input_tensor: tf.Tensor, dropout_prob: float | None) -> tf.Tensor:
    """Apply dropout.

    Args:
      input_tensor: float tensor of any shape.
      dropout_prob: probability of setting a value to 0; with None or 0, the input is returned
        unchanged.

    Returns:
      Tensor with the shape and dtype of `input_tensor`, remaining values scaled by
      1 / (1 - dropout_prob).
    """
    if not dropout_prob:
        return input_tensor
    return seeded_dropout(input_tensor, dropout_prob)


def create_initializer(initializer_range: float = 0.02) -> tf.Initializer:
    """Truncated normal initializer.

    Args:
      initializer_range: standard deviation, before truncation at two standard deviations.
    """
    return tf.truncated_normal_initializer(stddev=initializer_range)


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


def get_shape_list(
    tensor: tf.Tensor,
    expected_rank: int | list[int] | None = None,
    name: str | None = None,
) -> list:
    """Shape of a tensor, preferring static sizes.

    Args:
      tensor: any tensor of known rank.
      expected_rank: allowed rank or ranks; any by default.
      name: name of the tensor in errors; its own name by default.

    Returns:
      For each axis an int if its size is static, otherwise a scalar int32 tensor.

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
    """Check the rank of a tensor.

    Args:
      tensor: any tensor.
      expected_rank: allowed rank or ranks.
      name: name of the tensor in errors; its own name by default.

    Raises:
      ValueError: if the rank is not among the expected ones.
    """
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
    """Match the variables of a graph with those of a checkpoint by name.

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

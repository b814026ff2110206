"""The ALBERT encoder: embeddings, transformer with shared weights, pooler.

"ALBERT: A Lite BERT for Self-supervised Learning of Language Representations", Lan et al. 2019
(https://arxiv.org/abs/1909.11942). Shapes are written with B batch, S sequence length, N attention
heads, H size of one head, E embedding width, D = N * H hidden width, F width of the feed-forward
layer.
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
from custom_layer_norm import custom_layer_norm

# What users of `modeling` find here, though three of the names are at home in smaller files.
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
        """Build the graph.

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
                    dense_layer(first_token, config.hidden_size, "dense", config, use_einsum)
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
    """Look up the pieces: ([B, S, E], the table [vocab_size, E])."""
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
    """Add the token-type and position embeddings, normalize, drop out: [B, S, E]."""
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
    """Run the layers on `embeddings` [B, S, E]: the list of their outputs [B, S, D]."""
    hidden = embeddings
    if config.embedding_size != config.hidden_size:
        hidden = dense_layer(
            embeddings, config.hidden_size, "embedding_hidden_mapping_in", config, use_einsum
        )
    # [B, 1, 1, S]: the same for every head and every query.
    padding = 1 - tf.cast(input_mask[:, tf.newaxis, tf.newaxis, :], hidden.dtype)
    mask_scores = _MASKED_SCORE * padding

    layers = []
    projections = {}  # concatenated once for all layers of a group
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
    """Self-attention and feed-forward, each with a residual connection: [B, S, D] to [B, S, D]."""
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
    """The dense layers of query, key and value as one: the kernel [D, 3 D] and the bias [3 D].

    The query's part is scaled by 1 / sqrt(H), which spares scaling the queries of every layer.
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
    """Multi-head attention of `hidden` [B, S, D] on itself: [B, S, D]."""
    batch_size, length, width = get_shape_list(hidden)
    heads = config.num_attention_heads
    projected = _linear(hidden, *projection, use_einsum)
    projected = tf.reshape(projected, [batch_size, length, 3, heads, width // heads])
    query, key, value = tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]))  # [B, N, S, H]
    context = _attend(query, key, value, mask_scores, config.attention_probs_dropout_prob)
    return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [batch_size, length, width])


def _attend(query, key, value, mask_scores, dropout_prob):
    """Attention of `query` on `key` and `value`, all [B, N, S, H], with `mask_scores` [B, 1, 1, S]
    added to the scores: [B, N, S, H]."""
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
    # The softmax's gradient needs the sum of weights * weights_gradient over the keys. It equals
    # that of context * upstream, which is S / H times shorter (Dao et al. 2022, appendix B.2).
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
    """A dense layer over the last axis, without activation.

    Args:
      inputs: float tensor [..., width].
      output_width: number of outputs.
      name: variable scope of its `kernel` and `bias`.
      config: tells how the kernel is initialized.
      use_einsum: whether to write an einsum and not a matrix product.

    Returns:
      Float tensor [..., output_width].
    """
    kernel, bias = _dense_variables(inputs.shape[-1], output_width, name, config)
    return _linear(inputs, kernel, bias, use_einsum)


def _dense_variables(input_width, output_width, name, config):
    """The kernel [input_width, output_width] and the bias [output_width] of a dense layer."""
    with tf.variable_scope(name):
        kernel = tf.get_variable(
            "kernel",
            [input_width, output_width],
            initializer=create_initializer(config.initializer_range),
        )
        bias = tf.get_variable("bias", [output_width], initializer=tf.zeros_initializer())
    return kernel, bias


def _linear(inputs, kernel, bias, use_einsum):
    """inputs [..., I] @ kernel [I, O] + bias [O]: [..., O]."""
    if use_einsum:
        product = tf.einsum("...i,io->...o", inputs, kernel)
    else:
        product = einsum_via_matmul(inputs, kernel, num_inner_dims=1)
    return tf.nn.bias_add(product, bias)


def einsum_via_matmul(input_tensor: tf.Tensor, w: tf.Tensor, num_inner_dims: int) -> tf.Tensor:
    """Contract the last axes of a tensor with the first axes of another in one matrix product.

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


def layer_norm(input_tensor: tf.Tensor, name: str | None = None) -> tf.Tensor:
    """Layer normalization over the last axis, with variables `beta` and `gamma` in scope `name`."""
    return custom_layer_norm(input_tensor, begin_norm_axis=-1, begin_params_axis=-1, scope=name)


def dropout(input_tensor: tf.Tensor, dropout_prob: float | None) -> tf.Tensor:
    """Dropout: set a share `dropout_prob` of the values to 0 and scale up the rest.

    Without `dropout_prob` the result is the input.
    """
    if not dropout_prob:
        return input_tensor
    return tf.nn.dropout(input_tensor, rate=dropout_prob)


def create_initializer(initializer_range: float = 0.02) -> tf.Initializer:
    """A normal distribution of that standard deviation, cut off at two of them."""
    return tf.truncated_normal_initializer(stddev=initializer_range)


def output_layer(inputs: tf.Tensor, num_outputs: int, initializer_range: float = 0.02) -> tf.Tensor:
    """The last layer of a task's head: scores, by `output_weights` [num_outputs, D] and
    `output_bias` [num_outputs] in the current variable scope.

    Args:
      inputs: float tensor [B, D].
      num_outputs: number of scores.
      initializer_range: standard deviation of the weights at the start.

    Returns:
      Float tensor [B, num_outputs], raw logits.
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
    """Raise `ValueError` if the rank of `tensor` is not `expected_rank` or one of them."""
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

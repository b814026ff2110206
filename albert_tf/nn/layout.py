"""Layouts of a batch in the encoder: padded sequences, or the tokens alone.

Dimensions: batch size B, length P of the padded inputs, length S of the sequences in attention,
number of tokens T, number of heads N, head size H, hidden width D = N * H.

Most of a batch may be padding. `Tokens` keeps the hidden vectors of the tokens as one matrix
[T, D], so dense layers and layer norms compute nothing for padding. Attention alone needs
sequences, [B, N, S, H]. Rows are moved between the two by gathering, in both directions of the
graph: laying out and taking back are each other's gradient.
"""

from __future__ import annotations

import abc
import functools
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from albert_tf.nn import gradients
from albert_tf.nn.layers import get_shape_list, get_size

_MASKED_SCORE = -10000.0  # added to the attention scores of padding before the softmax

# A new shape costs time: libraries prepare products, XLA compiles. So S is a multiple of the first,
# and T has at most so many values for one shape of the inputs.
_LENGTH_STEP = 32
_MOST_TOKEN_COUNTS = 64


class Layout(abc.ABC):
    """Arrangement of the hidden vectors of a batch."""

    @property
    @abc.abstractmethod
    def output_mask(self) -> tf.Tensor | None:
        """True where `padded` has hidden vectors, bool [B, P]; None for everywhere."""

    @abc.abstractmethod
    def ids(self, inputs: tf.Tensor) -> tf.Tensor:
        """Arrange int inputs [B, P] like the hidden vectors, without the last axis of these."""

    @abc.abstractmethod
    def position_embeddings(self, table: tf.Tensor) -> tf.Tensor:
        """Rows of a table [positions, E], to be added to embeddings [..., E] in this layout."""

    @abc.abstractmethod
    def mask_scores(self, dtype: tf.DType) -> tf.Tensor:
        """Scores to add in attention, so that padding gets no weight: [B, 1, 1, S]."""

    @abc.abstractmethod
    def split_heads(self, projected: tf.Tensor, num_heads: int) -> list[tf.Tensor]:
        """Lay out projections for attention.

        Args:
          projected: query, key and value, side by side: [..., 3 D].
          num_heads: number of heads N.

        Returns:
          Query, key and value, [B, N, S, H] each.
        """

    @abc.abstractmethod
    def join_heads(self, context: tf.Tensor) -> tf.Tensor:
        """Take back the result of attention: from [B, N, S, H] to [..., D]."""

    @abc.abstractmethod
    def first(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden vectors of the first token of each sequence: [B, D]."""

    @abc.abstractmethod
    def padded(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden vectors as [B, P, D]; those of padding are 0 unless they are computed."""


class PaddedSequences(Layout):
    """Hidden vectors [B, P, D], as published: padding is computed, and masked in attention."""

    def __init__(self, input_mask: tf.Tensor):
        """Create the layout.

        Args:
          input_mask: int tensor [B, P], 1 for pieces and 0 for padding.
        """
        self._mask = input_mask

    @property
    def output_mask(self) -> None:
        return None

    def ids(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs

    def position_embeddings(self, table: tf.Tensor) -> tf.Tensor:
        return table[: get_size(self._mask, 1)]

    def mask_scores(self, dtype: tf.DType) -> tf.Tensor:
        return _MASKED_SCORE * (1 - tf.cast(self._mask[:, tf.newaxis, tf.newaxis, :], dtype))

    def split_heads(self, projected: tf.Tensor, num_heads: int) -> list[tf.Tensor]:
        batch_size, length, width = get_shape_list(projected)
        head_size = width // (3 * num_heads)
        projected = tf.reshape(projected, [batch_size, length, 3, num_heads, head_size])
        return tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]))

    def join_heads(self, context: tf.Tensor) -> tf.Tensor:
        batch_size, num_heads, length, head_size = get_shape_list(context)
        context = tf.transpose(context, [0, 2, 1, 3])
        return tf.reshape(context, [batch_size, length, num_heads * head_size])

    def first(self, hidden: tf.Tensor) -> tf.Tensor:
        return hidden[:, 0]

    def padded(self, hidden: tf.Tensor) -> tf.Tensor:
        return hidden


class Tokens(Layout):
    """Hidden vectors [T, D]: those of the pieces, and few of the padding.

    The first position of a sequence always counts as a piece, as the pooler reads it. In a sequence
    of nothing but padding it is the only one. To keep the number of different T small, some
    positions of padding are computed too, and left out again in the end.
    """

    def __init__(self, input_mask: tf.Tensor):
        """Create the layout.

        Args:
          input_mask: int tensor [B, P], 1 for pieces and 0 for padding.
        """
        batch_size, padded_length = get_shape_list(input_mask)
        is_piece = tf.cast(input_mask, tf.bool)
        is_first = tf.equal(tf.range(padded_length), 0)[tf.newaxis]
        self._is_needed = is_piece | is_first  # [B, P]
        ends = tf.where_v2(self._is_needed, tf.range(1, padded_length + 1), 0)
        length = tf.minimum(_rounded_up(tf.reduce_max(ends), _LENGTH_STEP), padded_length)
        step = -(-batch_size * padded_length // _MOST_TOKEN_COUNTS)

        self._padded_length, self._length = padded_length, length
        is_empty = tf.logical_not(tf.reduce_any(is_piece, axis=1, keepdims=True))
        self._is_attended = (is_piece | (is_empty & is_first))[:, :length]
        self._is_computed = _with_some_padding(self._is_needed[:, :length], step)  # [B, S]
        flat = tf.reshape(self._is_computed, [-1])
        # [T]: the tokens' places among B * S.
        self._slots = tf.cast(tf.where(flat)[:, 0], tf.int32)
        self._rows, self._columns = self._slots // length, self._slots % length
        # [B, S]: the number of each position's token; in padding, that of the token before it.
        self._numbers = tf.reshape(tf.cumsum(tf.cast(flat, tf.int32)) - 1, [batch_size, length])
        self._heads = {}  # places of the heads, by their number

    @property
    def output_mask(self) -> tf.Tensor:
        return self._is_needed

    def ids(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.reshape(inputs[:, : self._length], [-1]), self._slots)

    def position_embeddings(self, table: tf.Tensor) -> tf.Tensor:
        embeddings = tf.gather(table, self._columns)
        return gradients.override(_position_gradient, embeddings, table, self._columns)

    def mask_scores(self, dtype: tf.DType) -> tf.Tensor:
        is_masked = tf.logical_not(self._is_attended)
        return _MASKED_SCORE * tf.cast(is_masked[:, tf.newaxis, tf.newaxis, :], dtype)

    def split_heads(self, projected: tf.Tensor, num_heads: int) -> list[tf.Tensor]:
        places = self._head_places(num_heads)
        rows = tf.reshape(projected, [-1, projected.shape[-1] // (3 * num_heads)])
        # Padding gets the vectors of a token: finite numbers, which have no weight in attention.
        parts = [tf.gather(rows, numbers) for numbers in places.of_parts]
        return gradients.override_all(_split_gradient, parts, projected, places.laid_out)

    def join_heads(self, context: tf.Tensor) -> tf.Tensor:
        num_heads, head_size = context.shape[1], context.shape[3]
        places = self._head_places(num_heads)
        joined = _take(context, places.laid_out, places.taken)
        return tf.reshape(joined, [-1, num_heads * head_size])

    def first(self, hidden: tf.Tensor) -> tf.Tensor:
        batch_size = get_size(self._numbers, 0)
        rows = tf.where_v2(tf.equal(self._columns, 0), self._rows, batch_size)
        return _take(hidden, self._numbers[:, 0], rows)

    def padded(self, hidden: tf.Tensor) -> tf.Tensor:
        numbers, places = self._padded_places
        padded = tf.gather(_with_zeros(hidden), numbers)
        padded.set_shape([*self._is_needed.shape, hidden.shape[-1]])
        return gradients.override(_take_gradient, padded, hidden, places)

    @functools.cached_property
    def _padded_places(self):
        """The token of each position, [B, P], and the position of each token, [T].

        Padding has T, and a computed token of padding B * P.
        """
        num_tokens = tf.size(self._rows)
        missing = self._padded_length - self._length
        numbers = tf.pad(self._numbers, [[0, 0], [0, missing]])
        places = self._rows * self._padded_length + self._columns
        is_needed = tf.gather(tf.reshape(self._is_needed, [-1]), places)
        return (
            tf.where_v2(self._is_needed, numbers, num_tokens),
            tf.where_v2(is_needed, places, tf.size(numbers)),
        )

    def _head_places(self, num_heads):
        if num_heads not in self._heads:
            self._heads[num_heads] = self._make_head_places(num_heads)
        return self._heads[num_heads]

    def _make_head_places(self, num_heads):
        head = tf.range(num_heads)
        numbers = self._numbers[:, tf.newaxis] * num_heads + head[:, tf.newaxis]  # [B, N, S]
        laid_out = (self._rows[:, tf.newaxis] * num_heads + head) * self._length
        none = num_heads * tf.size(self._rows)
        return _HeadPlaces(
            of_parts=[
                (3 * self._numbers[:, tf.newaxis] + part) * num_heads + head[:, tf.newaxis]
                for part in range(3)
            ],
            laid_out=laid_out + self._columns[:, tf.newaxis],
            taken=tf.where_v2(self._is_computed[:, tf.newaxis], numbers, none),
        )


@dataclass(frozen=True)
class _HeadPlaces:
    """Rows of H numbers to move between tokens and sequences.

    Attributes:
      of_parts: for query, key and value, [B, N, S]: rows of the projections [T * 3 * N, H].
      laid_out: [T, N]: rows of sequences [B * N * S, H].
      taken: [B, N, S]: rows of vectors [T * N, H]; T * N in padding.
    """

    of_parts: list[tf.Tensor]
    laid_out: tf.Tensor
    taken: tf.Tensor


def _rounded_up(number, step):
    """The smallest multiple of `step` that is not below `number`."""
    return -(-number // step) * step


def _with_some_padding(is_needed, step):
    """Needed positions, bool [B, S], and some others up to a multiple of `step`."""
    flat = tf.reshape(is_needed, [-1])
    num_needed = tf.reduce_sum(tf.cast(flat, tf.int32))
    num_more = _rounded_up(num_needed, step) - num_needed
    is_other = tf.logical_not(flat)
    is_more = is_other & (tf.cumsum(tf.cast(is_other, tf.int32)) <= num_more)
    return tf.reshape(flat | is_more, tf.shape(is_needed))


def _take(inputs, numbers, back):
    """Gather rows, each the place of at most one output.

    Args:
      inputs: float tensor [..., width].
      numbers: int tensor, the rows to gather.
      back: int tensor, for each row of `inputs` its row in the outputs, or the number of these if
        it is not gathered.

    Returns:
      Float tensor [*numbers.shape, width].
    """
    width = inputs.shape[-1]
    outputs = tf.gather(tf.reshape(inputs, [-1, width]), numbers)
    return gradients.override(_take_gradient, outputs, inputs, back)


@gradients.ClosedForm
def _take_gradient(upstream, inputs, back):
    rows = tf.gather(_with_zeros(tf.reshape(upstream, [-1, upstream.shape[-1]])), back)
    return tf.reshape(rows, tf.shape(inputs)), None


@gradients.ClosedForm
def _position_gradient(upstream, table, positions):
    # Dense, as in the padded layout: slices would count one by one in the global norm.
    return tf.math.unsorted_segment_sum(upstream, positions, tf.shape(table)[0]), None


@functools.partial(gradients.ClosedForm, num_outputs=3)
def _split_gradient(query, key, value, projected, places):
    head_size = query.shape[-1]
    parts = [tf.gather(tf.reshape(x, [-1, head_size]), places) for x in (query, key, value)]
    return tf.reshape(tf.concat(parts, axis=1), tf.shape(projected)), None


def _with_zeros(rows):
    """Rows [N, width], and behind them one of zeros."""
    return tf.pad(rows, [[0, 1], [0, 0]])

"""Layouts of a batch in the encoder: padded sequences, or only the tokens.

Dimensions: batch size B, length P of the padded inputs, length S of the sequences in attention,
number of tokens T, number of heads N, head size H, hidden width D = N * H, number of sequences b
that are in attention together.

Most of a batch may be padding. `Tokens` keeps the hidden vectors of the tokens as one matrix
[T, D], so dense layers and layer norms skip padding. Only attention needs
sequences, [b, N, S, H], of like lengths. Rows are moved between the two by gathering, in both
directions of the graph: laying out and taking back are each other's gradient.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Sequence, Union

import tensorflow.compat.v1 as tf

from albert_tf.nn import gradients
from albert_tf.nn.layers import get_shape_list, get_size

_MASKED_SCORE = -10000.0  # added to the attention scores of padding before the softmax

# A new shape costs time: libraries prepare products, XLA compiles. So S is a multiple of the first,
# and T has at most so many values for one shape of the inputs.
_LENGTH_STEP = 32
_MOST_TOKEN_COUNTS = 64


class PaddedSequences:
    """Hidden vectors [B, P, D], as published: padding is computed, and masked in attention.

    `Tokens` has the same methods.

    Attributes:
      output_mask: True where `padded` has hidden vectors, bool [B, P]; None for everywhere.
    """

    def __init__(self, input_mask: tf.Tensor, num_heads: int):
        """Create the layout.

        Args:
          input_mask: int tensor [B, P], 1 for tokens and 0 for padding.
          num_heads: number of attention heads N.
        """
        self.output_mask = None
        self._mask = input_mask
        self._num_heads = num_heads

    def ids(self, inputs: tf.Tensor) -> tf.Tensor:
        """Arrange int inputs [B, P] like the hidden vectors, without the last axis of these."""
        return inputs

    def position_embeddings(self, table: tf.Tensor) -> tf.Tensor:
        """Rows of a table [positions, E], to be added to embeddings [..., E] in this layout."""
        return table[: get_size(self._mask, 1)]

    def mask_scores(self, dtype: tf.DType) -> list[tf.Tensor]:
        """Scores to add in attention that give padding no weight: [b, 1, 1, S] per group."""
        return [_MASKED_SCORE * (1 - tf.cast(self._mask[:, tf.newaxis, tf.newaxis, :], dtype))]

    def split_heads(self, projected: tf.Tensor) -> list[list[tf.Tensor]]:
        """Lay out projections for attention.

        Args:
          projected: query, key and value, side by side: [..., 3 D].

        Returns:
          For each group of sequences its query, key and value, [b, N, S, H].
        """
        batch_size, length, width = get_shape_list(projected)
        head_size = width // (3 * self._num_heads)
        projected = tf.reshape(projected, [batch_size, length, 3, self._num_heads, head_size])
        return [tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]))]

    def join_heads(self, contexts: Sequence[tf.Tensor]) -> tf.Tensor:
        """Undo the layout of attention's results: from [b, N, S, H] for each group to [..., D]."""
        batch_size, num_heads, length, head_size = get_shape_list(contexts[0])
        context = tf.transpose(contexts[0], [0, 2, 1, 3])
        return tf.reshape(context, [batch_size, length, num_heads * head_size])

    def whole_attention(self, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        """Attention of the whole batch, [B, N, S, S], from each group's, [b, N, S, S]."""
        return weights[0]

    def first(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden vectors of the first token of each sequence: [B, D]."""
        return hidden[:, 0]

    def padded(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden vectors as [B, P, D]; they are 0 for padding unless they are computed."""
        return hidden


class Tokens:
    """Hidden vectors [T, D] of the tokens, and of a little padding; see `PaddedSequences`.

    The first position of a sequence always counts as a token, as the pooler reads it. In a sequence
    of nothing but padding it is the only one. To keep the number of different T small, some
    positions of padding are computed too, and left out again in the end.
    """

    def __init__(self, input_mask: tf.Tensor, num_heads: int, num_groups: int = 1):
        """Create the layout.

        Args:
          input_mask: int tensor [B, P], 1 for tokens and 0 for padding.
          num_heads: number of attention heads N.
          num_groups: number of groups of similar lengths to split the sequences into for attention,
            if B is static.
        """
        batch_size, padded_length = get_shape_list(input_mask)
        is_piece = tf.cast(input_mask, tf.bool)
        is_first = tf.equal(tf.range(padded_length), 0)[tf.newaxis]
        is_needed = is_piece | is_first  # [B, P]
        ends = tf.where_v2(is_needed, tf.range(1, padded_length + 1), 0)
        self._groups = _groups(tf.reduce_max(ends, axis=1), padded_length, num_groups)
        length = self._groups[-1].length  # the longest
        step = -(-batch_size * padded_length // _MOST_TOKEN_COUNTS)

        self.output_mask = is_needed
        self._num_heads = num_heads
        self._padded_length, self._length = padded_length, length
        is_empty = tf.logical_not(tf.reduce_any(is_piece, axis=1, keepdims=True))
        self._is_attended = (is_piece | (is_empty & is_first))[:, :length]
        # Length in attention of each sequence, group by group.
        self._lengths = _joined([tf.fill([group.size], group.length) for group in self._groups])
        has_place = tf.sequence_mask(self._by_row(self._lengths), length)
        self._is_computed = _with_some_padding(is_needed[:, :length], has_place, step)
        flat = tf.reshape(self._is_computed, [-1])
        # [T]: the tokens' places among B * S.
        self._slots = tf.cast(tf.where(flat)[:, 0], tf.int32)
        self._rows, self._columns = self._slots // length, self._slots % length
        # [B, S]: the number of each position's token; in padding, of the token before it.
        self._numbers = tf.reshape(tf.cumsum(tf.cast(flat, tf.int32)) - 1, [batch_size, length])

    def ids(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.reshape(inputs[:, : self._length], [-1]), self._slots)

    def position_embeddings(self, table: tf.Tensor) -> tf.Tensor:
        embeddings = tf.gather(table, self._columns)
        return gradients.override(_position_gradient, embeddings, table, self._columns)

    def mask_scores(self, dtype: tf.DType) -> list[tf.Tensor]:
        is_masked = tf.logical_not(self._is_attended)
        return [
            _MASKED_SCORE * tf.cast(group.of(is_masked)[:, tf.newaxis, tf.newaxis, :], dtype)
            for group in self._groups
        ]

    def split_heads(self, projected: tf.Tensor) -> list[list[tf.Tensor]]:
        of_parts, laid_out, _ = self._head_places
        rows = tf.reshape(projected, [-1, projected.shape[-1] // (3 * self._num_heads)])
        # Padding gets the vectors of a token: finite numbers, which have no weight in attention.
        parts = [tf.gather(rows, numbers) for numbers in of_parts]
        gradient = _split_gradient(len(parts))
        parts = gradients.override_all(gradient, parts, projected, laid_out)
        return [parts[first : first + 3] for first in range(0, len(parts), 3)]

    def join_heads(self, contexts: Sequence[tf.Tensor]) -> tf.Tensor:
        head_size = contexts[0].shape[3]
        _, laid_out, taken = self._head_places
        joined = tf.gather(_as_rows(contexts, head_size), laid_out)
        joined = gradients.override(_join_gradient, joined, *contexts, *taken)
        return tf.reshape(joined, [-1, self._num_heads * head_size])

    def whole_attention(self, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        if len(weights) == 1:
            return weights[0]
        missing = [self._length - group.length for group in self._groups]
        padded = [tf.pad(x, [[0, 0], [0, 0], [0, n], [0, n]]) for x, n in zip(weights, missing)]
        return self._by_row(tf.concat(padded, axis=0))

    def first(self, hidden: tf.Tensor) -> tf.Tensor:
        numbers = self._numbers[:, 0]
        rows = tf.where_v2(tf.equal(self._columns, 0), self._rows, tf.size(numbers))
        return gradients.override(_take_gradient, tf.gather(hidden, numbers), hidden, rows)

    def padded(self, hidden: tf.Tensor) -> tf.Tensor:
        numbers, places = self._padded_places
        padded = tf.gather(_with_zeros(hidden), numbers)
        padded.set_shape([*self.output_mask.shape, hidden.shape[-1]])
        return gradients.override(_take_gradient, padded, hidden, places)

    @functools.cached_property
    def _padded_places(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The token of each position, [B, P], and the position of each token, [T].

        Padding has T, and a computed token of padding B * P.
        """
        num_tokens = tf.size(self._rows)
        missing = self._padded_length - self._length
        numbers = tf.pad(self._numbers, [[0, 0], [0, missing]])
        places = self._rows * self._padded_length + self._columns
        is_needed = tf.gather(tf.reshape(self.output_mask, [-1]), places)
        return (
            tf.where_v2(self.output_mask, numbers, num_tokens),
            tf.where_v2(is_needed, places, tf.size(numbers)),
        )

    @functools.cached_property
    def _head_places(self) -> tuple[list[tf.Tensor], tf.Tensor, list[tf.Tensor]]:
        """Rows of H numbers to move between tokens and sequences.

        Returns:
          For query, key and value of each group, [b, N, S]: rows of the projections [T * 3 * N, H].
          [T, N]: rows of the groups' sequences [b * N * S, H], one group after the other.
          For each group, [b, N, S]: rows of vectors [T * N, H]; T * N in padding.
        """
        head = tf.range(self._num_heads)
        none = self._num_heads * tf.size(self._rows)
        of_parts, taken = [], []
        for group in self._groups:
            numbers = group.of(self._numbers)[:, tf.newaxis]  # [b, 1, S]
            is_computed = group.of(self._is_computed)[:, tf.newaxis]
            for part in range(3):
                rows = (3 * numbers + part) * self._num_heads + head[:, tf.newaxis]
                of_parts.append(rows)
            rows = numbers * self._num_heads + head[:, tf.newaxis]
            taken.append(tf.where_v2(is_computed, rows, none))
        # The rows of a sequence begin at `first`, after the rows of earlier groups and sequences.
        first = self._num_heads * tf.cumsum(self._lengths, exclusive=True)
        first, length = (
            tf.gather(self._by_row(values), self._rows)[:, tf.newaxis]
            for values in (first, self._lengths)
        )
        return of_parts, first + head * length + self._columns[:, tf.newaxis], taken

    def _by_row(self, values: tf.Tensor) -> tf.Tensor:
        """Values of all sequences, [B, ...], group by group, in the order of the batch."""
        if len(self._groups) == 1:
            return values
        rows = tf.concat([group.rows for group in self._groups], axis=0)
        return tf.gather(values, tf.argsort(rows))


Layout = Union[PaddedSequences, Tokens]


@dataclass(frozen=True, eq=False)
class _Group:
    """Sequences of similar lengths, which are in attention together.

    Attributes:
      rows: int [b], rows of the batch; None for all of them, in order.
      size: number of sequences b, an int if it is static.
      length: their length S in attention, scalar int.
    """

    rows: tf.Tensor | None
    size: int | tf.Tensor
    length: tf.Tensor

    def of(self, values: tf.Tensor) -> tf.Tensor:
        """The group's part, [b, S], of values [B, longest S]."""
        if self.rows is None:
            return values
        return tf.gather(values, self.rows)[:, : self.length]


def _groups(lengths: tf.Tensor, padded_length: int | tf.Tensor, num_groups: int) -> list[_Group]:
    """Split sequences of some lengths, int [B], into groups from the shortest to the longest."""

    def length_of(rows: tf.Tensor) -> tf.Tensor:
        return tf.minimum(_rounded_up(tf.reduce_max(rows), _LENGTH_STEP), padded_length)

    batch_size = get_size(lengths, 0)
    if num_groups == 1 or not isinstance(batch_size, int):
        return [_Group(None, batch_size, length_of(lengths))]
    num_groups = min(num_groups, batch_size)
    sizes = [(batch_size + number) // num_groups for number in range(num_groups)]
    parts = tf.split(tf.argsort(lengths, stable=True), sizes)
    return [
        _Group(rows, size, length_of(tf.gather(lengths, rows))) for rows, size in zip(parts, sizes)
    ]


def _rounded_up(number: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
    """The smallest multiple of `step` that is not below `number`."""
    return -(-number // step) * step


def _with_some_padding(
    is_needed: tf.Tensor, has_place: tf.Tensor, step: int | tf.Tensor
) -> tf.Tensor:
    """Needed positions, bool [B, S], and some others up to a multiple of `step`.

    Args:
      is_needed: bool tensor [B, S].
      has_place: bool tensor [B, S], false for positions that cannot be among the others.
      step: divisor of the number of positions, if there are enough.
    """
    flat = tf.reshape(is_needed, [-1])
    num_needed = tf.reduce_sum(tf.cast(flat, tf.int32))
    num_more = _rounded_up(num_needed, step) - num_needed
    is_other = tf.reshape(has_place & ~is_needed, [-1])
    is_more = is_other & (tf.cumsum(tf.cast(is_other, tf.int32)) <= num_more)
    return tf.reshape(flat | is_more, tf.shape(is_needed))


@gradients.ClosedForm
def _take_gradient(
    upstream: tf.Tensor, inputs: tf.Tensor, back: tf.Tensor
) -> tuple[tf.Tensor, None]:
    # Each row of `inputs` has at most one place in the outputs, or `back` is their number.
    rows = tf.reshape(upstream, [-1, upstream.shape[-1]])
    return tf.gather(_with_zeros(rows), back), None


@gradients.ClosedForm
def _position_gradient(
    upstream: tf.Tensor, table: tf.Tensor, positions: tf.Tensor
) -> tuple[tf.Tensor, None]:
    # Dense, as in the padded layout: slices would count one by one in the global norm.
    return tf.math.unsorted_segment_sum(upstream, positions, tf.shape(table)[0]), None


@functools.lru_cache(maxsize=None)
def _split_gradient(num_parts: int) -> gradients.ClosedForm:
    """Closed-form gradient of `split_heads` with this number of outputs."""

    def gradient(*arguments: tf.Tensor) -> tuple[tf.Tensor, None]:
        *parts, projected, places = arguments
        head_size = parts[0].shape[-1]
        taken = [tf.gather(_as_rows(parts[part::3], head_size), places) for part in range(3)]
        return tf.reshape(tf.concat(taken, axis=1), tf.shape(projected)), None

    return gradients.ClosedForm(gradient, num_outputs=num_parts)


@gradients.ClosedForm
def _join_gradient(upstream: tf.Tensor, *contexts_and_places: tf.Tensor) -> list[tf.Tensor | None]:
    num_groups = len(contexts_and_places) // 2
    rows = _with_zeros(tf.reshape(upstream, [-1, upstream.shape[-1]]))
    taken = [tf.gather(rows, places) for places in contexts_and_places[num_groups:]]
    return [*taken, *[None] * num_groups]


def _as_rows(tensors: Sequence[tf.Tensor], width: int) -> tf.Tensor:
    """Rows [..., width] of tensors, one tensor after the other: [n, width]."""
    return _joined([tf.reshape(tensor, [-1, width]) for tensor in tensors])


def _joined(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Tensors, one after the other along the first axis."""
    return tf.concat(tensors, axis=0) if len(tensors) > 1 else tensors[0]


def _with_zeros(rows: tf.Tensor) -> tf.Tensor:
    """Rows [N, width], followed by a row of zeros."""
    return tf.pad(rows, [[0, 1], [0, 0]])

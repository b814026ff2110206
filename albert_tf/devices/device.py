"""The kind of device that a graph is built for.

`modeling` and the heads ask `current()` for what is particular about it. That is the portable kind
unless a run has entered `building_for`, so a model built in a notebook runs everywhere.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Callable, ClassVar, Iterator, Mapping, Sequence

from albert_tf.errors import InputError

if TYPE_CHECKING:  # nothing here makes a tensor
    import tensorflow.compat.v1 as tf

ElementwiseFunction = Callable[..., "tf.Tensor"]


class MissingDeviceError(InputError):
    """A device is not there; the message says what is missing.

    Attributes:
      is_told: whether a run that would have taken the device logs why it does not.
    """

    def __init__(self, message: str, is_told: bool = True):
        """Take the message."""
        super().__init__(message)
        self.is_told = is_told


class Device:
    """The portable kind: graphs of plain TensorFlow ops. Other kinds change what differs.

    Attributes:
      name: value of --device.
      static_shapes: whether graphs are compiled anew for each shape, so that batches must have a
        fixed size and few lengths.
      length_step: pieces from one default length of prediction batches to the next.
      closed_form_gradients: whether gradients are written in closed form to save passes over
        memory; not where a compiler fuses the ops itself.
      has_bfloat16: whether there is mixed precision in bfloat16.
      rewrites_to_bfloat16: whether it is made by TensorFlow's own graph rewrite.
      shares_reduction_buffers: whether Horovod's reductions can use TensorFlow's scoped allocator.
    """

    name: ClassVar[str] = "portable"
    static_shapes = False
    length_step = 32
    closed_form_gradients = True
    has_bfloat16 = False
    rewrites_to_bfloat16 = False
    shares_reduction_buffers = False

    @property
    def description(self) -> str:
        """The device in the words of the log."""
        return self.name

    def start(self) -> None:
        """Prepare this process for training; called once, before the first graph is built."""

    def for_inference(self) -> Device:
        """Kind of the graphs that predict."""
        return self

    def layer_norm(
        self,
        inputs: tf.Tensor,
        beta: tf.Tensor,
        gamma: tf.Tensor,
        axes: Sequence[int],
        epsilon: float,
    ) -> tf.Tensor | None:
        """Layer normalization as one native op; None where there is none.

        Args:
          inputs: float tensor.
          beta: offset, with the shape of the normalized axes.
          gamma: scale, with the same shape.
          axes: normalized axes, the last of `inputs`.
          epsilon: added to the variance.

        Returns:
          A tensor with the shape and dtype of `inputs`, or None.
        """
        return None

    def gelu(self, inputs: tf.Tensor) -> tf.Tensor | None:
        """GELU in its tanh approximation as one native op; None where there is none."""
        return None

    def elementwise(self, function: ElementwiseFunction) -> ElementwiseFunction:
        """Function that computes `function`, elementwise on tensors, in as few passes as possible.

        The result may have no gradient of its own: see `nn.gradients.override`.
        """
        return function

    def configure_session(self, config: tf.ConfigProto, local_rank: int, processes: int) -> None:
        """Change a session's configuration in place.

        Args:
          config: the configuration.
          local_rank: number of this process among those of the run on this server.
          processes: number of processes of the run.
        """

    def training_hooks(self, profile_start: int) -> list[tf.train.SessionRunHook]:
        """Session hooks for training.

        Args:
          profile_start: session run, counted from 0 in this process, at which profiling starts if
            the environment asks for it.
        """
        return []

    def check_shapes(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Check that inputs of a graph, given by name, have static shapes where those are needed.

        Raises:
          ValueError: if one of them has a dimension that is not static.
        """
        open_shapes = [
            f"{name} {tensor.shape}"
            for name, tensor in tensors.items()
            if not tensor.shape.is_fully_defined()
        ]
        if self.static_shapes and open_shapes:
            raise ValueError(
                f"on {self.description} all shapes must be static, but these are not: "
                f"{', '.join(open_shapes)}"
            )


PORTABLE = Device()
_current: contextvars.ContextVar[Device] = contextvars.ContextVar("device", default=PORTABLE)


def current() -> Device:
    """Kind of device that the graph under construction is for."""
    return _current.get()


@contextlib.contextmanager
def building_for(device: Device) -> Iterator[None]:
    """Build the graphs within this context for `device`."""
    token = _current.set(device)
    try:
        yield
    finally:
        _current.reset(token)

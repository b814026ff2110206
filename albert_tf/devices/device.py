"""Interface of the devices that graphs are built for.

`modeling` and the heads get device-specific ops from `current()`. Outside of `building_for` that is
the portable device, so a model built in a notebook runs everywhere.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Callable, ClassVar, Iterator, Mapping

from albert_tf.io.errors import InputError

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


class MissingDeviceError(InputError):
    """Error for a missing device, with the cause as its message.

    Attributes:
      is_logged: whether a run with --device=auto logs the cause.
    """

    def __init__(self, message: str, is_logged: bool = True):
        """Create the error."""
        super().__init__(message)
        self.is_logged = is_logged


class Device:
    """The portable device: plain TensorFlow ops. Subclasses override what differs.

    Attributes:
      name: value of --device.
      static_shapes: whether each new shape is compiled separately, which calls for batches of a
        fixed size and few lengths.
      length_step: step between the default lengths of prediction batches, in pieces; None for
        batches as long as their longest record.
      attention_groups: number of groups of like length to split a batch into for attention.
      min_grouped_length: length of padded sequences, in pieces, from which on the groups save more
        time than their ops take to build and to start.
      closed_form_gradients: whether to use closed-form gradients, which save passes over memory;
        false where a compiler fuses the ops itself.
      compiles_elementwise: whether XLA compiles the elementwise functions of `fusion`, to run in as
        few passes over memory as possible.
      has_bfloat16: whether mixed precision in bfloat16 is supported.
      rewrites_to_bfloat16: whether TensorFlow's own graph rewrite does the conversion.
      has_stateless_random: whether random numbers can be a function of a seed in the graph.
      shares_reduction_buffers: whether Horovod's reductions can use TensorFlow's scoped allocator.
      layer_norm: native layer normalization, as in `Hpu`; None without one.
      gelu: native GELU (tanh approximation), a function from tensor to tensor; None without one.
    """

    name: ClassVar[str] = "portable"
    static_shapes = False
    length_step: int | None = None
    attention_groups = 1
    min_grouped_length = 0
    closed_form_gradients = True
    compiles_elementwise = False
    has_bfloat16 = False
    rewrites_to_bfloat16 = False
    has_stateless_random = True
    shares_reduction_buffers = False
    layer_norm: Callable[..., tf.Tensor] | None = None
    gelu: Callable[[tf.Tensor], tf.Tensor] | None = None

    @property
    def description(self) -> str:
        """Device description for the log."""
        return self.name

    def start(self) -> None:
        """Prepare this process for training. Called once, before the first graph is built."""

    def for_inference(self) -> Device:
        """Device to build prediction graphs for: portable, without closed-form gradients.

        They keep intermediate results, which prevents TensorFlow from fusing ops, and XLA would
        recompile for every shape. A device with static shapes compiles prediction graphs too.
        """
        return self if self.static_shapes else _INFERENCE

    def configure_session(self, config: tf.ConfigProto, local_rank: int, processes: int) -> None:
        """Change a session configuration in place.

        Args:
          config: session configuration.
          local_rank: rank of this process on this host, from 0.
          processes: number of processes in the run.
        """

    def training_hooks(self, profile_start: int) -> list[tf.train.SessionRunHook]:
        """Session hooks for training.

        Args:
          profile_start: first session run to profile, counted from 0 in this process, if the
            environment enables profiling.
        """
        return []

    def check_shapes(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Check that the inputs of a graph have static shapes, if the device needs them.

        Args:
          tensors: inputs by name.

        Raises:
          ValueError: if an input has a dynamic dimension.
        """
        dynamic_shapes = [
            f"{name} {tensor.shape}"
            for name, tensor in tensors.items()
            if not tensor.shape.is_fully_defined()
        ]
        if self.static_shapes and dynamic_shapes:
            raise ValueError(
                f"on {self.description} all shapes must be static, but these are not: "
                f"{', '.join(dynamic_shapes)}"
            )


class _Inference(Device):
    closed_form_gradients = False


PORTABLE = Device()
_INFERENCE = _Inference()
_current: contextvars.ContextVar[Device] = contextvars.ContextVar("device", default=PORTABLE)


def current() -> Device:
    """Device that the current graph is built for."""
    return _current.get()


@contextlib.contextmanager
def building_for(device: Device) -> Iterator[None]:
    """Build all graphs inside this context for `device`."""
    token = _current.set(device)
    try:
        yield
    finally:
        _current.reset(token)

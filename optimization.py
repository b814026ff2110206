"""AdamW and LAMB with ALBERT's learning rate schedule, for TF1 graphs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Iterable, Sequence, Union

import tensorflow.compat.v1 as tf

from albert_tf.devices import distributed, reductions

Gradient = Union[tf.Tensor, tf.IndexedSlices]

SLOTS = ("adam_m", "adam_v")  # suffixes of the moment variables' names

_CLIP_NORM = 1.0
_WEIGHT_DECAY_RATE = 0.01
_EXCLUDED_FROM_DECAY = ("LayerNorm", "layer_norm", "bias")


@dataclass(frozen=True)
class TrainingStep:
    """Training step of a graph.

    Attributes:
      op: operation that runs the step, or with gradient accumulation one micro-batch.
      learning_rate: learning rate of the step, scalar float tensor.
      untrained: trainable variables that the loss does not depend on, which the step leaves
        unchanged.
    """

    op: tf.Operation
    learning_rate: tf.Tensor
    untrained: list[tf.Variable]


def create_optimizer(
    loss: tf.Tensor,
    init_lr: float,
    num_train_steps: int,
    num_warmup_steps: int,
    use_tpu: bool,
    optimizer: str = "adamw",
    poly_power: float = 1.0,
    start_warmup_step: int = 0,
    colocate_gradients_with_ops: bool = False,
    gradient_accumulation_steps: int = 1,
    horovod_compression: str = "none",
) -> tf.Operation:
    """Build one training step for `loss` over all trainable variables.

    Example:

      train_op = create_optimizer(loss, 5e-5, 1000, num_warmup_steps=100, use_tpu=False)

    Args:
      loss: scalar float tensor.
      use_tpu: must be False, as TPUs are not supported.
      init_lr, num_train_steps, num_warmup_steps, optimizer, poly_power, start_warmup_step,
        colocate_gradients_with_ops, gradient_accumulation_steps, horovod_compression: see
        `training_step`.

    Returns:
      Operation that runs the step, or with gradient accumulation one micro-batch.

    Raises:
      ValueError: if the optimizer is unknown, `use_tpu` is set, or the loss depends on no trainable
        variable.
    """
    if use_tpu:
        raise ValueError("TPUs are not supported: train on CPU, GPU or HPU, with use_tpu=False")
    step = training_step(
        loss,
        init_lr,
        num_train_steps,
        num_warmup_steps,
        optimizer,
        poly_power,
        start_warmup_step,
        colocate_gradients_with_ops,
        gradient_accumulation_steps,
        horovod_compression,
    )
    return step.op


def training_step(
    loss: tf.Tensor,
    init_lr: float,
    num_train_steps: int,
    num_warmup_steps: int,
    optimizer: str = "adamw",
    poly_power: float = 1.0,
    start_warmup_step: int = 0,
    colocate_gradients_with_ops: bool = False,
    gradient_accumulation_steps: int = 1,
    horovod_compression: str = "none",
) -> TrainingStep:
    """Build one training step for `loss` over all trainable variables.

    With several processes, the step minimizes the mean of their losses. Gradients are clipped to a
    global norm of 1. Step k, from 0, uses the learning rate `learning_rate_schedule(k)`. The global
    step is incremented after the update of the variables.

    Args:
      loss: scalar float tensor.
      init_lr: peak learning rate, at the end of warm-up.
      num_train_steps: global step at which the learning rate reaches 0.
      num_warmup_steps: number of warm-up steps; 0 for none.
      optimizer: "adamw" or "lamb".
      poly_power: power of the polynomial decay.
      start_warmup_step: global step at which warm-up starts.
      colocate_gradients_with_ops: whether to place gradients on the devices of their ops.
      gradient_accumulation_steps: number of micro-batches in a step. Each run of the operation
        computes one micro-batch; the last one updates the variables with the mean gradient. For a
        loss that is a mean over examples, the step equals the step of one large batch.
      horovod_compression: format of the gradients in the all-reduce, "none" or "fp16".

    Raises:
      ValueError: if the optimizer is unknown, or the loss depends on no trainable variable.
    """
    global_step = tf.train.get_or_create_global_step()
    learning_rate = learning_rate_schedule(
        global_step, init_lr, num_train_steps, num_warmup_steps, poly_power, start_warmup_step
    )
    updater = _make_optimizer(optimizer, learning_rate)
    variables = tf.trainable_variables()
    gradients = tf.gradients(
        loss, variables, colocate_gradients_with_ops=colocate_gradients_with_ops
    )
    untrained = [v for g, v in zip(gradients, variables) if g is None]
    pairs = [(g, v) for g, v in zip(gradients, variables) if g is not None]
    if not pairs:
        raise ValueError(f"{loss.name}: the loss depends on no trainable variable")
    gradients, variables = zip(*pairs)
    updater.create_slots(variables)

    def update(gradients: Sequence[Gradient], norm: tf.Tensor | None = None) -> tf.Operation:
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm=_CLIP_NORM, use_norm=norm)
        applied = updater.apply_gradients(zip(gradients, variables), global_step=global_step)
        with tf.control_dependencies([applied]):
            return tf.group(tf.assign_add(global_step, 1), name="train_step")

    if gradient_accumulation_steps * distributed.size() == 1:
        op = update(gradients)
    else:
        op = _update_by_means(gradients, update, gradient_accumulation_steps, horovod_compression)
    return TrainingStep(op, learning_rate, untrained)


def _make_optimizer(name: str, learning_rate: tf.Tensor) -> AdamWeightDecayOptimizer:
    """Create the optimizer with a name."""
    optimizers = {"adamw": AdamWeightDecayOptimizer, "lamb": LAMBOptimizer}
    if name not in optimizers:
        raise ValueError(f"optimizer {name!r} is not one of {', '.join(optimizers)}")
    return optimizers[name](
        learning_rate=learning_rate,
        weight_decay_rate=_WEIGHT_DECAY_RATE,
        exclude_from_weight_decay=_EXCLUDED_FROM_DECAY,
    )


def _update_by_means(
    gradients: Sequence[Gradient],
    update: Callable[..., tf.Operation],
    micro_batches: int,
    compression: str,
) -> tf.Operation:
    """Call `update` with the mean gradients over all processes and micro-batches."""
    num_summands = micro_batches * distributed.size()
    is_sliced = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]

    def update_by_means(slices_square: tf.Tensor, *means: tf.Tensor) -> tf.Operation:
        (square,) = reductions.average([slices_square], "slices_square")
        averages = reductions.average(means, "gradient", compression)
        dense = [mean for mean, sliced in zip(averages, is_sliced) if not sliced]
        norm = tf.sqrt(square / num_summands + tf.square(tf.global_norm(dense)))
        return update(averages, norm)

    tensors = [_slices_square(gradients), *map(tf.convert_to_tensor, gradients)]
    if micro_batches == 1:
        return update_by_means(*tensors)
    return _accumulated(tensors, update_by_means, micro_batches)


def _slices_square(gradients: Sequence[Gradient]) -> tf.Tensor:
    """Sum of squares over all sparse gradients (`tf.IndexedSlices`) of a micro-batch.

    Like `tf.global_norm` on a single batch, the global norm counts every slice of an embedding
    table's gradient, even if several slices belong to the same row.
    """
    sliced = [gradient for gradient in gradients if isinstance(gradient, tf.IndexedSlices)]
    return tf.add_n([tf.constant(0.0), *(tf.reduce_sum(tf.square(g.values)) for g in sliced)])


def _accumulated(
    summands: Sequence[tf.Tensor], update: Callable[..., tf.Operation], micro_batches: int
) -> tf.Operation:
    """Operation that sums up tensors, and updates with their means every `micro_batches` runs.

    The sums are local variables, not saved in checkpoints: checkpoints are written between steps,
    when the sums are zero.
    """
    with tf.variable_scope("gradient_accumulation"):
        runs = _local_variable("runs", [], tf.int32)
        sums = [
            _local_variable(f"sum_{number}", summand.shape)
            for number, summand in enumerate(summands)
        ]
    count = tf.identity(tf.assign_add(runs, 1))
    values = [tf.identity(tf.assign_add(total, summand)) for total, summand in zip(sums, summands)]

    def last_run() -> tf.Operation:
        done = update(*(value / micro_batches for value in values))
        with tf.control_dependencies([done]):
            return tf.group(*[tf.assign(total, tf.zeros_like(total)) for total in sums])

    return tf.group(tf.cond(tf.equal(count % micro_batches, 0), last_run, tf.no_op))


def _local_variable(name: str, shape: Sequence[int], dtype: tf.DType = tf.float32) -> tf.Variable:
    """Variable initialized to zeros and not saved in checkpoints."""
    return tf.get_variable(
        name,
        shape,
        dtype,
        tf.zeros_initializer(),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES],
    )


def learning_rate_schedule(
    global_step: tf.Tensor,
    init_lr: float,
    num_train_steps: int,
    num_warmup_steps: int,
    poly_power: float = 1.0,
    start_warmup_step: int = 0,
) -> tf.Tensor:
    """Linear warm-up from 0, then polynomial decay to 0.

    Args:
      global_step: scalar int tensor, step k, from 0.
      init_lr: peak learning rate, at the end of warm-up.
      num_train_steps: global step at which the learning rate reaches 0.
      num_warmup_steps: number of warm-up steps; 0 for none.
      poly_power: power of the polynomial decay.
      start_warmup_step: global step at which warm-up starts.

    Returns:
      Scalar float tensor: init_lr * (k - start_warmup_step) / num_warmup_steps during warm-up, then
      init_lr * (1 - k / num_train_steps) ^ poly_power, and 0 from `num_train_steps` on.
    """
    learning_rate = tf.train.polynomial_decay(
        tf.constant(init_lr, tf.float32),
        global_step,
        num_train_steps,
        end_learning_rate=0.0,
        power=poly_power,
    )
    if num_warmup_steps:
        warmup_step = tf.cast(global_step - start_warmup_step, tf.float32)
        warmup_rate = init_lr * tf.maximum(warmup_step, 0.0) / num_warmup_steps
        learning_rate = tf.where(warmup_step < num_warmup_steps, warmup_rate, learning_rate)
    return tf.identity(learning_rate, name="learning_rate")


class AdamWeightDecayOptimizer(tf.train.Optimizer):
    """Adam with decoupled weight decay and without bias correction.

    Loshchilov & Hutter 2017 (https://arxiv.org/abs/1711.05101), algorithm 2, as in BERT: without
    the correction of the moment estimates for their initialization at zero. The estimates are
    stored in the variables `<variable>/adam_m` and `<variable>/adam_v`.

    Example:

      optimizer = AdamWeightDecayOptimizer(1e-4, weight_decay_rate=0.01)
      train_op = optimizer.minimize(loss)
    """

    def __init__(
        self,
        learning_rate: float | tf.Tensor,
        weight_decay_rate: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        exclude_from_weight_decay: Sequence[str] | None = None,
        name: str = "AdamWeightDecayOptimizer",
    ):
        """Create the optimizer.

        Args:
          learning_rate: number or scalar float tensor.
          weight_decay_rate: weight decay per step, as a fraction of a weight, at learning rate 1.
          beta_1: decay rate of the moving average of the gradients.
          beta_2: decay rate of the moving average of the squared gradients.
          epsilon: constant added to the square root of the second moment.
          exclude_from_weight_decay: regular expressions for the names of variables without weight
            decay, matched by `re.search`.
          name: name of the optimizer.
        """
        super().__init__(use_locking=False, name=name)
        self.learning_rate = learning_rate
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.exclude_from_weight_decay = exclude_from_weight_decay
        self._moments: dict[str, list[tf.Variable]] = {}

    def create_slots(self, variables: Iterable[tf.Variable]) -> None:
        """Create the moment variables of variables that have none yet.

        Args:
          variables: trainable variables.
        """
        for variable in variables:
            name = _name(variable)
            if name not in self._moments:
                self._moments[name] = [
                    tf.get_variable(
                        f"{name}/{slot}",
                        shape=variable.shape,
                        dtype=tf.float32,
                        initializer=tf.zeros_initializer(),
                        trainable=False,
                    )
                    for slot in SLOTS
                ]

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[tf.Tensor | tf.IndexedSlices | None, tf.Variable]],
        global_step: tf.Variable | None = None,
        name: str | None = None,
    ) -> tf.Operation:
        """Update each variable once.

        Args:
          grads_and_vars: pairs of a gradient and its variable; pairs without a gradient are
            skipped.
          global_step: unused; `create_optimizer` increments it after the update.
          name: name of the operation.

        Returns:
          Operation that updates all variables.
        """
        assignments = []
        for gradient, variable in grads_and_vars:
            if gradient is not None:
                self.create_slots([variable])
                assignments += self._update(tf.convert_to_tensor(gradient), variable)
        return tf.group(*assignments, name=name)

    def _update(self, gradient: tf.Tensor, variable: tf.Variable) -> list[tf.Operation]:
        """Assignments to a variable and its moment variables in one step."""
        variable_name = _name(variable)
        mean, mean_square = self._moments[variable_name]
        next_mean = self.beta_1 * mean + (1.0 - self.beta_1) * gradient
        next_mean_square = self.beta_2 * mean_square + (1.0 - self.beta_2) * tf.square(gradient)
        update = next_mean / (tf.sqrt(next_mean_square) + self.epsilon)
        if self.weight_decay_rate and not _matches(variable_name, self.exclude_from_weight_decay):
            update += self.weight_decay_rate * variable
        step_size = self._trust_ratio(variable_name, variable, update) * self.learning_rate
        return [
            tf.assign_sub(variable, step_size * update),
            tf.assign(mean, next_mean),
            tf.assign(mean_square, next_mean_square),
        ]

    def _trust_ratio(
        self, variable_name: str, variable: tf.Variable, update: tf.Tensor
    ) -> float | tf.Tensor:
        """Factor of the learning rate for one variable, always 1 in AdamW."""
        return 1.0


class LAMBOptimizer(AdamWeightDecayOptimizer):
    """LAMB: AdamW with layer-wise scaling of the steps, for large batches.

    You et al. 2019 (https://arxiv.org/abs/1904.00962), algorithm 2, with the identity as scaling
    function phi and without bias correction.

    Example:

      optimizer = LAMBOptimizer(1e-3, weight_decay_rate=0.01, exclude_from_weight_decay=["bias"])
      train_op = optimizer.minimize(loss)
    """

    def __init__(
        self,
        learning_rate: float | tf.Tensor,
        weight_decay_rate: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        exclude_from_weight_decay: Sequence[str] | None = None,
        exclude_from_layer_adaptation: Sequence[str] | None = None,
        name: str = "LAMBOptimizer",
    ):
        """Create the optimizer.

        Args:
          learning_rate, weight_decay_rate, beta_1, beta_2, epsilon, exclude_from_weight_decay,
            name: see `AdamWeightDecayOptimizer`.
          exclude_from_layer_adaptation: regular expressions for the names of variables with
            unscaled steps; `exclude_from_weight_decay` by default.
        """
        decay = (weight_decay_rate, beta_1, beta_2, epsilon, exclude_from_weight_decay)
        super().__init__(learning_rate, *decay, name=name)
        if exclude_from_layer_adaptation is None:
            exclude_from_layer_adaptation = exclude_from_weight_decay
        self.exclude_from_layer_adaptation = exclude_from_layer_adaptation

    def _trust_ratio(
        self, variable_name: str, variable: tf.Variable, update: tf.Tensor
    ) -> float | tf.Tensor:
        """Norm of the variable divided by the norm of its update; 1 if either is 0."""
        if _matches(variable_name, self.exclude_from_layer_adaptation):
            return 1.0
        weight_norm, update_norm = tf.norm(variable), tf.norm(update)
        usable = tf.logical_and(weight_norm > 0, update_norm > 0)
        return tf.where(usable, weight_norm / update_norm, 1.0)


def _name(variable: tf.Variable) -> str:
    """Name of a variable in checkpoints."""
    return re.sub(r":\d+$", "", variable.name)


def _matches(variable_name: str, patterns: Sequence[str] | None) -> bool:
    """Whether a name matches one of the regular expressions."""
    return any(re.search(pattern, variable_name) for pattern in patterns or ())

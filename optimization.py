"""AdamW and LAMB with ALBERT's learning rate schedule, for TF1 graphs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.devices import distributed, reductions

SLOTS = ("adam_m", "adam_v")  # names of an optimizer's variables, behind that of a variable

_CLIP_NORM = 1.0
_WEIGHT_DECAY_RATE = 0.01
_EXCLUDED_FROM_DECAY = ("LayerNorm", "layer_norm", "bias")


@dataclass(frozen=True)
class TrainingStep:
    """One step of training in a graph.

    Attributes:
      op: the operation that runs the step, or with gradient accumulation a micro-batch of it.
      learning_rate: scalar float tensor, the learning rate of the step.
      untrained: trainable variables that the loss does not depend on; the step leaves them alone.
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
      use_tpu: must be false: TPUs are not supported.
      init_lr, num_train_steps, num_warmup_steps, optimizer, poly_power, start_warmup_step,
        colocate_gradients_with_ops, gradient_accumulation_steps, horovod_compression: see
        `training_step`.

    Returns:
      The operation that runs the step.

    Raises:
      ValueError: if the optimizer is not known, or a TPU is asked for.
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

    With several processes the step is that of the mean of their losses. Gradients are clipped to a
    global norm of 1. The step with number k (from 0) uses the learning rate `schedule(k)`, and the
    global step advances after the variables are updated.

    Args:
      loss: scalar float tensor.
      init_lr: peak learning rate, at the end of warm-up.
      num_train_steps: global step at which the learning rate reaches 0.
      num_warmup_steps: length of warm-up in steps; 0 for none.
      optimizer: "adamw" or "lamb".
      poly_power: power of the polynomial decay.
      start_warmup_step: global step at which warm-up starts.
      colocate_gradients_with_ops: whether gradients are placed on the devices of their ops.
      gradient_accumulation_steps: number of micro-batches in a step. The operation runs one of
        them; in the last the variables are updated by the mean of the gradients of all. A loss
        that is a mean over examples then gives the step of one large batch.
      horovod_compression: format of the gradients on their way from process to process, "none" or
        "fp16".

    Raises:
      ValueError: if the optimizer is not known, or if the loss depends on no variable.
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

    def update(gradients, norm=None):
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm=_CLIP_NORM, use_norm=norm)
        applied = updater.apply_gradients(zip(gradients, variables), global_step=global_step)
        with tf.control_dependencies([applied]):
            return tf.group(tf.assign_add(global_step, 1), name="train_step")

    if gradient_accumulation_steps * distributed.size() == 1:
        op = update(gradients)
    else:
        op = _update_by_means(gradients, update, gradient_accumulation_steps, horovod_compression)
    return TrainingStep(op, learning_rate, untrained)


def _make_optimizer(name, learning_rate):
    """The optimizer with a name."""
    optimizers = {"adamw": AdamWeightDecayOptimizer, "lamb": LAMBOptimizer}
    if name not in optimizers:
        raise ValueError(f"optimizer {name!r} is not one of {', '.join(optimizers)}")
    return optimizers[name](
        learning_rate=learning_rate,
        weight_decay_rate=_WEIGHT_DECAY_RATE,
        exclude_from_weight_decay=_EXCLUDED_FROM_DECAY,
    )


def _update_by_means(gradients, update, micro_batches, compression):
    """Call `update` with the mean of the gradients of all processes and micro-batches."""
    num_summands = micro_batches * distributed.size()
    is_sliced = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]

    def update_by_means(slices_square, *means):
        (square,) = reductions.average([slices_square], "slices_square")
        means = reductions.average(means, "gradient", compression)
        dense = [mean for mean, sliced in zip(means, is_sliced) if not sliced]
        norm = tf.sqrt(square / num_summands + tf.square(tf.global_norm(dense)))
        return update(means, norm)

    tensors = [_slices_square(gradients), *map(tf.convert_to_tensor, gradients)]
    if micro_batches == 1:
        return update_by_means(*tensors)
    return _accumulated(tensors, update_by_means, micro_batches)


def _slices_square(gradients):
    """Sum of the squares of all slices among the gradients of a micro-batch.

    The global norm counts the slices of an embedding table's gradient one by one, as
    `tf.global_norm` does for a single batch, and not the table that they add up to.
    """
    sliced = [gradient for gradient in gradients if isinstance(gradient, tf.IndexedSlices)]
    return tf.add_n([tf.constant(0.0), *(tf.reduce_sum(tf.square(g.values)) for g in sliced)])


def _accumulated(summands, update, micro_batches):
    """An operation that adds up tensors, and calls `update` with their means in every run with a
    number divisible by `micro_batches`.

    The sums are local variables: they are zero between steps, when checkpoints are written.
    """
    with tf.variable_scope("gradient_accumulation"):
        runs = _local_variable("runs", [], tf.int32)
        sums = [
            _local_variable(f"sum_{number}", summand.shape)
            for number, summand in enumerate(summands)
        ]
    count = tf.identity(tf.assign_add(runs, 1))
    values = [tf.identity(tf.assign_add(total, summand)) for total, summand in zip(sums, summands)]

    def last_run():
        done = update(*(value / micro_batches for value in values))
        with tf.control_dependencies([done]):
            return tf.group(*[tf.assign(total, tf.zeros_like(total)) for total in sums])

    return tf.group(tf.cond(tf.equal(count % micro_batches, 0), last_run, tf.no_op))


def _local_variable(name, shape, dtype=tf.float32):
    """A variable of zeros that checkpoints do not hold."""
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
      global_step: scalar int tensor, the number k of the step, from 0.
      init_lr: peak learning rate, at the end of warm-up.
      num_train_steps: global step at which the learning rate reaches 0.
      num_warmup_steps: length of warm-up in steps; 0 for none.
      poly_power: power of the polynomial decay.
      start_warmup_step: global step at which warm-up starts.

    Returns:
      Scalar float tensor: init_lr * (k - start) / warm-up during warm-up; after it
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

    Loshchilov & Hutter 2017 (https://arxiv.org/abs/1711.05101), algorithm 2, as BERT uses it: the
    moment estimates are not corrected for their start at zero. The estimates are stored in the
    variables `<variable>/adam_m` and `<variable>/adam_v`.

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
        """Make the optimizer.

        Args:
          learning_rate: number or scalar float tensor.
          weight_decay_rate: share of a weight that a step with learning rate 1 takes away.
          beta_1: decay rate of the mean of the gradients.
          beta_2: decay rate of the mean of their squares.
          epsilon: added to the root of the mean square.
          exclude_from_weight_decay: regular expressions; variables whose name one of them is found
            in do not decay.
          name: name of the optimizer.
        """
        super().__init__(use_locking=False, name=name)
        self.learning_rate = learning_rate
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.exclude_from_weight_decay = exclude_from_weight_decay
        self._moments = {}

    def create_slots(self, variables: Iterable[tf.Variable]) -> None:
        """Make the moment estimates of variables that have none yet."""
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
          grads_and_vars: pairs of a gradient and its variable; pairs without gradient are skipped.
          global_step: not advanced: `create_optimizer` does that after the update.
          name: name of the operation.

        Returns:
          The operation that makes all updates.
        """
        assignments = []
        for gradient, variable in grads_and_vars:
            if gradient is not None:
                self.create_slots([variable])
                assignments += self._update(tf.convert_to_tensor(gradient), variable)
        return tf.group(*assignments, name=name)

    def _update(self, gradient, variable):
        """Assignments of one step to a variable and its two moment estimates."""
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

    def _trust_ratio(self, variable_name, variable, update):
        """Factor of the learning rate for one variable: always 1 in AdamW."""
        return 1.0


class LAMBOptimizer(AdamWeightDecayOptimizer):
    """AdamW whose steps are scaled to the norm of each variable, for large batches.

    You et al. 2019 (https://arxiv.org/abs/1904.00962), algorithm 2, with the identity for its
    function phi, and without bias correction.

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
        """Make the optimizer.

        Args:
          learning_rate, weight_decay_rate, beta_1, beta_2, epsilon, exclude_from_weight_decay,
            name: see `AdamWeightDecayOptimizer`.
          exclude_from_layer_adaptation: regular expressions; variables whose name one of them is
            found in are not scaled; those of `exclude_from_weight_decay` if not given.
        """
        decay = (weight_decay_rate, beta_1, beta_2, epsilon, exclude_from_weight_decay)
        super().__init__(learning_rate, *decay, name=name)
        if exclude_from_layer_adaptation is None:
            exclude_from_layer_adaptation = exclude_from_weight_decay
        self.exclude_from_layer_adaptation = exclude_from_layer_adaptation

    def _trust_ratio(self, variable_name, variable, update):
        """The norm of the variable over the norm of its update; 1 where either is 0."""
        if _matches(variable_name, self.exclude_from_layer_adaptation):
            return 1.0
        weight_norm, update_norm = tf.norm(variable), tf.norm(update)
        usable = tf.logical_and(weight_norm > 0, update_norm > 0)
        return tf.where(usable, weight_norm / update_norm, 1.0)


def _name(variable: tf.Variable) -> str:
    """The name of a variable, as checkpoints have it."""
    return re.sub(r":\d+$", "", variable.name)


def _matches(variable_name: str, patterns: Sequence[str] | None) -> bool:
    """Whether one of the regular expressions is found in the name."""
    return any(re.search(pattern, variable_name) for pattern in patterns or ())

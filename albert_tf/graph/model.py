"""Model function of a task's Estimator: encoder, head and training step."""

from __future__ import annotations

import copy
from typing import Any, Callable, Mapping

import tensorflow.compat.v1 as tf
from absl import logging

import optimization
from albert_tf.devices import bfloat16, device, distributed, reductions
from albert_tf.devices.device import Device
from albert_tf.graph import estimators
from albert_tf.graph.hooks import ProgressHook
from albert_tf.graph.saving import OnSaved, SavingHook
from albert_tf.nn import dropout
from albert_tf.nn.config import AlbertConfig
from albert_tf.records.static_batches import IS_FILLER
from albert_tf.run.context import Setup
from albert_tf.run.shards import IS_REAL, NUMBER, RUN_NUMBER
from albert_tf.run_dir import checkpoint_files, checkpoints
from albert_tf.tasks.base import MODEL_INPUTS, Task
from albert_tf.tasks.options import RunSettings
from modeling import AlbertModel, get_shape_list

_PASSED_THROUGH = (NUMBER, IS_REAL, IS_FILLER)  # features copied to the predictions

_STEP_PRIME, _RANK_PRIME = 1_000_003, 15_485_863

ModelFn = Callable[..., estimators.EstimatorSpec]


def build_encoder(
    task: Task,
    features: Mapping[str, tf.Tensor],
    is_training: bool,
    config: AlbertConfig | None = None,
) -> AlbertModel:
    """Build the encoder on a batch.

    Args:
      task: the task.
      features: tensors by field, among them int32 [B, S] for each of `MODEL_INPUTS`; or [B, N, S]
        for records with N sequences, which the encoder reads as [B * N, S].
      is_training: whether to apply dropout.
      config: config of the model; by default the task's.
    """
    input_ids, input_mask, segment_ids = (
        _one_sequence_per_row(features[name]) for name in MODEL_INPUTS
    )
    return AlbertModel(
        config or task.needed_config,
        is_training,
        input_ids,
        input_mask,
        segment_ids,
        use_einsum=task.settings.use_einsum,
        compute_padding=task.settings.compute_padding,
    )


def _one_sequence_per_row(ids: tf.Tensor) -> tf.Tensor:
    return ids if ids.shape.ndims == 2 else tf.reshape(ids, [-1, get_shape_list(ids)[-1]])


def build_loss(task: Task, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Build the loss of a task, with its denominators averaged over all processes.

    Args:
      task: the task.
      encoder: encoder on the batch.
      features: tensors [B, ...] by field. Those of a micro-batch include the denominators of its
        batch, [B] by name, divided by the number of micro-batches.

    Returns:
      Scalar float tensor.
    """
    own = {
        name: features[name][0] if name in features else value
        for name, value in task.denominators(features).items()
    }
    averaged = reductions.average(list(own.values()), "denominator")
    return task.loss(encoder, {**features, **dict(zip(own, averaged))})


def make_model_fn(setup: Setup, for_device: Device, on_saved: OnSaved | None = None) -> ModelFn:
    """Make the model function of a run's Estimator, for graphs on a device.

    Args:
      setup: setup of the run.
      for_device: the device.
      on_saved: function to call after each saved checkpoint; see `SavingHook`.
    """
    conversion = setup.bfloat16 if for_device.rewrites_to_bfloat16 else None

    def model_fn(
        features: Mapping[str, tf.Tensor],
        labels: tf.Tensor | None,
        mode: str,
        params: Mapping[str, Any],
    ) -> estimators.EstimatorSpec:
        is_training = mode == estimators.ModeKeys.TRAIN
        kind = for_device if is_training else for_device.for_inference()
        with device.building_for(kind):
            kind.check_shapes(features)
            if is_training:
                spec = _training_spec(setup, kind, features, on_saved)
            else:
                spec = _prediction_spec(setup.task, features)
        return bfloat16.with_conversion(spec, conversion) if conversion else spec

    return model_fn


def _training_spec(
    setup: Setup, kind: Device, features: Mapping[str, tf.Tensor], on_saved: OnSaved | None
) -> estimators.EstimatorSpec:
    task, schedule, settings = setup.task, setup.schedule, setup.settings
    latest = checkpoints.latest_checkpoint(setup.output_dir)  # only rank 0 has one
    tf.set_random_seed(_graph_seed(settings.seed, distributed.broadcast(latest)))
    features = dict(features)
    numbers = features.pop(RUN_NUMBER, None)
    with dropout.seeded(settings.seed, None if numbers is None else numbers[0]):
        loss = build_loss(task, build_encoder(task, features, is_training=True), features)
    if setup.init_checkpoint and not latest:
        groups = task.needed_config.num_hidden_groups if task.shares_group_0 else 0
        checkpoints.initialize_from(setup.init_checkpoint, groups)
    step = optimization.training_step(
        loss,
        peak_learning_rate(settings),
        schedule.steps,
        schedule.warmup_steps,
        optimizer=schedule.optimizer,
        poly_power=schedule.poly_power,
        start_warmup_step=schedule.start_warmup_step,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        horovod_compression=settings.horovod_compression,
    )
    if step.untrained:
        names = ", ".join(variable.op.name for variable in step.untrained)
        logging.info("not trained, as the loss does not depend on them: %s", names)
    progress = ProgressHook(
        loss,
        step.learning_rate,
        _num_tokens(features),
        schedule.steps,
        settings.train_batch_size * distributed.size(),
        setup.output_dir if distributed.is_chief() else None,
        settings.save_summary_steps,
        settings.gradient_accumulation_steps,
    )
    # Sharded, so that data files are named as by an Estimator.
    saver = tf.train.Saver(sharded=True, defer_build=True)
    hooks = [
        *reductions.training_hooks(),
        *kind.training_hooks(settings.synapse_logger_start),
        progress,
        SavingHook(
            saver,
            setup.output_dir,
            settings.save_checkpoints_steps,
            schedule.steps,
            on_saved,
            progress.leave_out,
        ),
    ]
    return estimators.EstimatorSpec(
        estimators.ModeKeys.TRAIN,
        loss=loss,
        train_op=step.op,
        training_hooks=hooks,
        scaffold=tf.train.Scaffold(saver=saver),
    )


def _num_tokens(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Number of tokens in the batches of all processes, without padding: scalar float tensor."""
    own = tf.cast(tf.reduce_sum(features["input_mask"]), tf.float32)
    (mean,) = reductions.average([own], "num_tokens")
    return tf.multiply(mean, distributed.size(), name="num_tokens")


def build_predictions(
    task: Task, for_device: Device, features: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Build encoder and head for prediction on a device.

    Args:
      task: the task.
      for_device: the device of the run.
      features: tensors [B, ...] by field.

    Returns:
      Outputs of the head and the features that identify the records, tensors [B, ...] by name.
    """
    kind = for_device.for_inference()
    with device.building_for(kind):
        kind.check_shapes(features)
        return _predictions(task, features)


def _predictions(task: Task, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    outputs = task.outputs(build_encoder(task, features, is_training=False), features)
    passed_through = {name: features[name] for name in _PASSED_THROUGH if name in features}
    return {**outputs, **passed_through}


def _graph_seed(seed: int, resumed_from: str | None) -> int:
    """Seed of a training graph: of its initial weights, and of dropout without `RUN_NUMBER`.

    TensorFlow's own random numbers start over in each session. A resumed run must not repeat those
    of its start, nor a rank those of another.
    """
    start_step = checkpoint_files.step_of(resumed_from) or 0 if resumed_from else 0
    return (seed + _STEP_PRIME * start_step + _RANK_PRIME * distributed.rank()) % (1 << 31)


def peak_learning_rate(settings: RunSettings) -> float:
    """Peak learning rate in force: the setting, or its product with the number of cards."""
    return settings.learning_rate * (distributed.size() if settings.scale_learning_rate else 1)


def _prediction_spec(task: Task, features: Mapping[str, tf.Tensor]) -> estimators.EstimatorSpec:
    """Predictions of the task's head.

    Only the model's variables are restored: published checkpoints have no global step.
    """
    predictions = _predictions(task, features)
    variables = tf.trainable_variables()
    scaffold = tf.train.Scaffold(
        saver=tf.train.Saver(variables),
        ready_for_local_init_op=tf.constant([], tf.string),  # no uninitialized variables
        local_init_op=tf.group(
            tf.train.Scaffold.default_local_init_op(),
            tf.train.get_or_create_global_step().initializer,
        ),
    )
    return estimators.EstimatorSpec(
        estimators.ModeKeys.PREDICT, predictions=predictions, scaffold=scaffold
    )


def model_shapes(task: Task) -> dict[str, list[int]]:
    """Shapes of the variables of the encoder and the head, by name.

    Only one layer of each group is built, as the layers of a group share their variables.
    """
    config = copy.copy(task.needed_config)
    config.num_hidden_layers = min(config.num_hidden_layers, config.num_hidden_groups)
    with tf.Graph().as_default():
        inputs = model_inputs()
        task.outputs(build_encoder(task, inputs, is_training=False, config=config), inputs)
        return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}


def model_inputs() -> dict[str, tf.Tensor]:
    """Make placeholders for the encoder's inputs: int32 [B, S] of any size, by name."""
    return {name: tf.placeholder(tf.int32, [None, None], name) for name in MODEL_INPUTS}


def session_config(setup: Setup, for_device: Device) -> tf.ConfigProto:
    """Make the configuration of a run's sessions on a device."""
    config = tf.ConfigProto(allow_soft_placement=True)
    for_device.configure_session(config, distributed.local_rank(), distributed.size())
    if setup.settings.enable_scoped_allocator:
        if for_device.shares_reduction_buffers:
            reductions.share_buffers(config)
        else:
            logging.warning("--enable_scoped_allocator has no effect without an HPU and Horovod")
    if setup.bfloat16 and for_device.rewrites_to_bfloat16:
        bfloat16.enable_rewrite(config)
    return config

"""Model function of a task's Estimator: encoder, head and training step."""

from __future__ import annotations

import copy
from typing import Callable, Mapping

import tensorflow.compat.v1 as tf
from absl import logging

import modeling
import optimization
from albert_tf.devices import bfloat16, device, distributed, reductions
from albert_tf.devices.bfloat16 import ConversionConfig
from albert_tf.devices.device import Device
from albert_tf.graph import estimators
from albert_tf.graph.hooks import OnSaved, ProgressHook, SavingHook
from albert_tf.io.errors import listed
from albert_tf.nn import dropout
from albert_tf.nn.config import AlbertConfig
from albert_tf.records.shards import IS_REAL, NUMBER, RUN_NUMBER
from albert_tf.run_dir import checkpoints
from albert_tf.run_dir.run_dir import RunDir
from albert_tf.tasks.base import MODEL_INPUTS, HasDenominators, ResolvedSchedule, Task
from albert_tf.tasks.options import RunSettings
from modeling import AlbertModel, get_shape_list

_PASSED_THROUGH = (NUMBER, IS_REAL)  # features copied to the predictions

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
        config or task.config,
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
    if not isinstance(task, HasDenominators):
        return task.loss(encoder, features)
    own = {
        name: features[name][0] if name in features else value
        for name, value in task.denominators(features).items()
    }
    averaged = reductions.average(list(own.values()), "denominator")
    return task.loss(encoder, {**features, **dict(zip(own, averaged))})


def training_model_fn(
    task: Task,
    schedule: ResolvedSchedule,
    start_step: int,
    run_dir: RunDir,
    on_device: Device,
    conversion: ConversionConfig | None,
    init_checkpoint: str | None,
    on_saved: OnSaved,
) -> ModelFn:
    """Build the model function of an Estimator that trains.

    Args:
      task: the task.
      schedule: the task's schedule, in steps of this run.
      start_step: global step from which training starts or resumes.
      run_dir: output directory of this process.
      on_device: device of the graph.
      conversion: op types to run in bfloat16; None for none.
      init_checkpoint: prefix of the checkpoint to start from; None if training resumes.
      on_saved: function to call after each saved checkpoint; see `SavingHook`.
    """
    settings = task.settings

    def model_fn(features: Mapping[str, tf.Tensor]) -> estimators.EstimatorSpec:
        with device.building_for(on_device):
            on_device.check_shapes(features)
            loss = _training_loss(task, features, start_step)
            if init_checkpoint:
                num_of_group = task.config.num_hidden_groups if settings.shares_group_0 else 0
                initialize_from(init_checkpoint, num_of_group)
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
                str(run_dir) if distributed.is_chief() else None,
                settings.save_summary_steps,
                settings.gradient_accumulation_steps,
            )
        # Sharded, so that data files are named as by an Estimator.
        saver = tf.train.Saver(sharded=True, defer_build=True)
        saving = SavingHook(
            saver,
            run_dir,
            settings.save_checkpoints_steps,
            60.0 * settings.save_checkpoints_minutes,
            schedule.steps,
            on_saved,
            progress.leave_out,
        )
        hooks = [
            *reductions.training_hooks(),
            *on_device.training_hooks(settings.synapse_logger_start),
            progress,
            saving,
        ]
        if conversion and on_device.rewrites_to_bfloat16:
            hooks.append(bfloat16.ConversionHook(conversion))
        return estimators.EstimatorSpec(
            estimators.ModeKeys.TRAIN,
            loss=loss,
            train_op=step.op,
            training_hooks=hooks,
            scaffold=tf.train.Scaffold(saver=saver),
        )

    return model_fn


def _training_loss(task: Task, features: Mapping[str, tf.Tensor], start_step: int) -> tf.Tensor:
    """Build encoder and loss, with seeds that a resumed run does not repeat."""
    seed, features = task.settings.seed, dict(features)
    # Of initial weights, and of dropout without `RUN_NUMBER`. TensorFlow's own random numbers start
    # over in each session. A resumed run must not repeat those of its start, nor a rank another's.
    tf.set_random_seed(
        (seed + _STEP_PRIME * start_step + _RANK_PRIME * distributed.rank()) % (1 << 31)
    )
    numbers = features.pop(RUN_NUMBER, None)
    with dropout.seeded(seed, None if numbers is None else numbers[0]):
        return build_loss(task, build_encoder(task, features, is_training=True), features)


def initialize_from(prefix: str, num_of_group: int = 0) -> None:
    """Initialize the trainable variables of the current graph from a checkpoint.

    Variables that the checkpoint lacks keep their initializers; the log names them.

    Args:
      prefix: prefix of the checkpoint.
      num_of_group: number of the model's groups, to start those missing in the checkpoint from its
        group 0; 0 to leave them at their initializers.
    """
    variables = tf.trainable_variables()
    maps, matched = modeling.get_assignment_map_from_checkpoint(variables, prefix, num_of_group)
    for assignment_map in maps if num_of_group else [maps]:
        tf.train.init_from_checkpoint(prefix, assignment_map)
    new = [v.op.name for v in variables if v.op.name not in matched]
    logging.info(
        "%d of %d variables start from %s%s",
        len(variables) - len(new),
        len(variables),
        prefix,
        f"; randomly initialized: {', '.join(new)}" if new else "",
    )
    unused = [n for n in checkpoints.model_shapes_in(prefix) if n not in matched]
    if unused:
        logging.info("unused variables of the checkpoint: %s", listed(unused))


def _num_tokens(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Number of tokens in the batches of all processes, without padding: scalar float tensor."""
    own = tf.cast(tf.reduce_sum(features["input_mask"]), tf.float32)
    (mean,) = reductions.average([own], "num_tokens")
    return tf.multiply(mean, distributed.size(), name="num_tokens")


def build_predictions(
    task: Task, on_device: Device, features: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Build encoder and head for prediction on a device.

    Args:
      task: the task.
      on_device: the device of the run.
      features: tensors [B, ...] by field.

    Returns:
      Outputs of the head and the features that identify the records, tensors [B, ...] by name.
    """
    kind = on_device.for_inference()
    with device.building_for(kind):
        kind.check_shapes(features)
        outputs = task.outputs(build_encoder(task, features, is_training=False), features)
    passed_through = {name: features[name] for name in _PASSED_THROUGH if name in features}
    return {**outputs, **passed_through}


def peak_learning_rate(settings: RunSettings) -> float:
    """Peak learning rate in force: the setting, or its product with the number of devices."""
    return settings.learning_rate * (distributed.size() if settings.scale_learning_rate else 1)


def model_shapes(task: Task) -> dict[str, list[int]]:
    """Shapes of the variables of the encoder and the head, by name.

    Only one layer of each group is built, as the layers of a group share their variables.
    """
    config = copy.copy(task.config)
    config.num_hidden_layers = min(config.num_hidden_layers, config.num_hidden_groups)
    with tf.Graph().as_default():
        inputs = model_inputs()
        task.outputs(build_encoder(task, inputs, is_training=False, config=config), inputs)
        return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}


def model_inputs() -> dict[str, tf.Tensor]:
    """Create placeholders for the encoder's inputs: int32 [B, S] of any size, by name."""
    return {name: tf.placeholder(tf.int32, [None, None], name) for name in MODEL_INPUTS}


def encoder_shapes(config: AlbertConfig) -> dict[str, list[int]]:
    """Shapes of the encoder's variables, by name."""
    with tf.Graph().as_default():
        AlbertModel(config, False, tf.placeholder(tf.int32, [None, None]))
        return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}


def session_config(
    settings: RunSettings, on_device: Device, conversion: ConversionConfig | None
) -> tf.ConfigProto:
    """Build the configuration of a run's sessions on a device.

    Args:
      settings: settings of the run.
      on_device: the device.
      conversion: op types to run in bfloat16; None for none.
    """
    config = tf.ConfigProto(allow_soft_placement=True)
    on_device.configure_session(config, distributed.local_rank(), distributed.size())
    if settings.enable_scoped_allocator:
        if on_device.shares_reduction_buffers:
            reductions.share_buffers(config)
        else:
            logging.warning("--enable_scoped_allocator has no effect without an HPU and Horovod")
    if conversion and on_device.rewrites_to_bfloat16:
        bfloat16.enable_rewrite(config)
    return config

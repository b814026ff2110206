"""Functions for pre-training with a plain Estimator, for example in notebooks.

`run_pretraining` exports these names, like the original.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import tensorflow.compat.v1 as tf

import optimization
from albert_tf.graph import estimators
from albert_tf.graph.model import build_loss, initialize_from
from albert_tf.nn.config import AlbertConfig
from albert_tf.records import datasets, manifests
from albert_tf.records.splits import Splits
from albert_tf.run_dir.run_dir import find_checkpoint
from albert_tf.tasks.base import MODEL_INPUTS
from albert_tf.tasks.pretraining import heads
from albert_tf.tasks.pretraining.heads import (  # noqa: F401  # re-exported by `run_pretraining`
    WEIGHTS,
    gather_indexes,
    get_masked_lm_output,
    get_sentence_order_output,
)
from albert_tf.tasks.pretraining.settings import PretrainingSettings
from albert_tf.tasks.pretraining.task import PretrainingTask, record_fields
from modeling import AlbertModel


def model_fn_builder(
    albert_config: AlbertConfig,
    init_checkpoint: str | None,
    learning_rate: float,
    num_train_steps: int,
    num_warmup_steps: int,
    use_tpu: bool = False,
    use_one_hot_embeddings: bool = False,
    optimizer: str = "lamb",
    poly_power: float = 1.0,
    start_warmup_step: int = 0,
    use_einsum: bool = False,
) -> Callable[..., estimators.EstimatorSpec]:
    """Build a model function of a plain Estimator, for training and evaluation.

    Example:

      from albert_tf.graph import estimators

      model_fn = model_fn_builder(config, None, 0.00176, num_train_steps=1000, num_warmup_steps=100)
      estimator = estimators.Estimator(model_fn, "pretrained", params={"batch_size": 32})
      estimator.train(input_fn_builder(files, 512, 20, is_training=True), max_steps=1000)

    Args:
      albert_config: config of the model.
      init_checkpoint: checkpoint to start from; see `run_dir.find_checkpoint`.
      learning_rate, num_train_steps, num_warmup_steps, use_tpu, optimizer, poly_power,
        start_warmup_step: see `optimization.create_optimizer`.
      use_one_hot_embeddings, use_einsum: see `modeling.AlbertModel`.

    Returns:
      A function from features, labels, mode and params to an `EstimatorSpec`.
    """
    task = PretrainingTask(PretrainingSettings(), albert_config, None, Splits())

    def model_fn(
        features: Mapping[str, tf.Tensor],
        labels: tf.Tensor | None,
        mode: str,
        params: Mapping[str, Any],
    ) -> estimators.EstimatorSpec:
        input_ids, input_mask, segment_ids = (features[name] for name in MODEL_INPUTS)
        encoder = AlbertModel(
            albert_config,
            mode == estimators.ModeKeys.TRAIN,
            input_ids,
            input_mask,
            segment_ids,
            use_one_hot_embeddings,
            use_einsum,
        )
        loss = build_loss(task, encoder, features)
        if init_checkpoint:
            initialize_from(find_checkpoint(init_checkpoint))
        if mode == estimators.ModeKeys.TRAIN:
            train_op = optimization.create_optimizer(
                loss,
                learning_rate,
                num_train_steps,
                num_warmup_steps,
                use_tpu,
                optimizer,
                poly_power,
                start_warmup_step,
            )
            return estimators.EstimatorSpec(mode, loss=loss, train_op=train_op)
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            sums = heads.example_sums(albert_config, encoder, features)
        return estimators.EstimatorSpec(mode, loss=loss, eval_metric_ops=_metrics(sums))

    return model_fn


def _metrics(sums: dict[str, tf.Tensor]) -> dict[str, tuple[tf.Tensor, tf.Operation]]:
    """Evaluation metrics of an Estimator, from sums over the predictions of each example."""
    weights = sums.pop(WEIGHTS)
    return {
        name: tf.metrics.mean(value / weights, weights)
        if name.startswith("masked_lm")
        else tf.metrics.mean(value)
        for name, value in sums.items()
    }


def input_fn_builder(
    input_files: Sequence[str],
    max_seq_length: int,
    max_predictions_per_seq: int,
    is_training: bool,
    num_cpu_threads: int = 4,
) -> Callable[[Mapping[str, Any]], tf.data.Dataset]:
    """Build an input function of an Estimator, with the batch size in `params["batch_size"]`.

    Args:
      input_files: paths of TFRecord files.
      max_seq_length: length of the records, in pieces.
      max_predictions_per_seq: room for predictions in a record.
      is_training: whether to repeat the records forever, in a new order in each epoch.
      num_cpu_threads: whether to read in parallel: not if 1.

    Returns:
      A function from `params` to a `tf.data.Dataset` of batches.
    """
    fields = record_fields(max_seq_length, max_predictions_per_seq)

    def input_fn(params: Mapping[str, Any]) -> tf.data.Dataset:
        if not is_training:
            return datasets.first_batches(input_files, fields, params["batch_size"])
        return datasets.training_dataset(
            [(path, range(manifests.checked_count(path, fields)[0])) for path in input_files],
            fields,
            params["batch_size"],
            parallel=num_cpu_threads > 1,
        )

    return input_fn

"""Pre-training with a plain `tf.estimator.Estimator`, for notebooks.

`run_pretraining` offers these names, as the original does.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import tensorflow.compat.v1 as tf

import optimization
from albert_tf.nn.config import AlbertConfig
from albert_tf.pretraining import heads
from albert_tf.pretraining.heads import (  # noqa: F401  # three of them for `run_pretraining`
    WEIGHTS,
    gather_indexes,
    get_masked_lm_output,
    get_sentence_order_output,
)
from albert_tf.pretraining.settings import PretrainingSettings
from albert_tf.pretraining.task import PretrainingTask, record_fields
from albert_tf.records import datasets, manifests
from albert_tf.runs import checkpoints
from albert_tf.runs.model import build_loss
from albert_tf.runs.task import MODEL_INPUTS
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
) -> Callable[..., tf.estimator.EstimatorSpec]:
    """Make a model function for a plain `tf.estimator.Estimator`, to train and to evaluate.

    Example:

      model_fn = model_fn_builder(config, None, 0.00176, num_train_steps=1000, num_warmup_steps=100)
      estimator = tf.estimator.Estimator(model_fn, "pretrained", params={"batch_size": 32})
      estimator.train(input_fn_builder(files, 512, 20, is_training=True), max_steps=1000)

    Args:
      albert_config: the model's config.
      init_checkpoint: checkpoint to start from, as `checkpoints.find_checkpoint` takes it.
      learning_rate, num_train_steps, num_warmup_steps, use_tpu, optimizer, poly_power,
        start_warmup_step: see `optimization.create_optimizer`.
      use_one_hot_embeddings, use_einsum: see `modeling.AlbertModel`.
    """
    task = PretrainingTask(PretrainingSettings(), albert_config, None)

    def model_fn(features, labels, mode, params):
        encoder = AlbertModel(
            albert_config,
            mode == tf.estimator.ModeKeys.TRAIN,
            *(features[name] for name in MODEL_INPUTS),
            use_one_hot_embeddings,
            use_einsum,
        )
        loss = build_loss(task, encoder, features)
        if init_checkpoint:
            checkpoints.initialize_from(checkpoints.find_checkpoint(init_checkpoint))
        if mode == tf.estimator.ModeKeys.TRAIN:
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
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            sums = heads.example_sums(albert_config, encoder, features)
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=_metrics(sums))

    return model_fn


def _metrics(sums):
    """Metrics of an Estimator's evaluation, from sums over the predictions of each example."""
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
    """Make an Estimator's input function, which takes "batch_size" from its `params`.

    Args:
      input_files: paths of TFRecord files.
      max_seq_length: length of the records.
      max_predictions_per_seq: predictions that a record has room for.
      is_training: whether the batches come without end, in another order in each epoch.
      num_cpu_threads: with 1, no two threads read.
    """
    fields = record_fields(max_seq_length, max_predictions_per_seq)

    def input_fn(params):
        if not is_training:
            return datasets.first_batches(input_files, fields, params["batch_size"])
        return datasets.training_dataset(
            input_files,
            sum(manifests.checked_manifest(path, fields).num_records for path in input_files),
            fields,
            params["batch_size"],
            parallel=num_cpu_threads > 1,
        )

    return input_fn

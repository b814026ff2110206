"""Pre-trains ALBERT on masked n-grams and the order of two segments.

Lan et al. 2019 (https://arxiv.org/abs/1909.11942), section 3. The records come from
`create_pretraining_data.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from albert_tf.runs import training  # isort: skip  # before TensorFlow, whose log it quiets

import tensorflow.compat.v1 as tf
from absl import logging

import optimization
from albert_tf.devices import distributed
from albert_tf.errors import InputError
from albert_tf.pretraining import masking
from albert_tf.pretraining.heads import (
    DIVISOR,
    IDS,
    ORDER,
    POSITIONS,
    WEIGHTS,
    example_figures,
    gather_indexes,
    get_masked_lm_output,
    get_sentence_order_output,
    log_probabilities,
    masked_lm_divisor,
    pretraining_loss,
)
from albert_tf.records import datasets
from albert_tf.records import record_files as records
from albert_tf.runs import checkpoints, startup, tasks
from albert_tf.runs.evaluation import Evaluation
from albert_tf.runs.startup import Problems, RunSettings, Start
from modeling import AlbertConfig, AlbertModel

training.define_flags(
    do_train=True, max_seq_length=512, train_batch_size=4096, learning_rate=0.00176
)
training.define_string(
    "input_file", None, "TFRecord files: paths or *-patterns, separated by commas."
)
training.define_string("eval_file", None, "The same, to evaluate on. Default: input_file.")
training.define_integer(
    "max_predictions_per_seq", 20, "Predictions that a record has room for.", lower_bound=1
)
training.define_boolean("do_eval", False, "Whether to evaluate the checkpoints.")
training.define_integer("eval_batch_size", 64, "Records evaluated at once.", lower_bound=1)
training.define_integer("max_eval_steps", 100, "Most batches to evaluate on.", lower_bound=1)
training.define_enum("optimizer", "lamb", ["adamw", "lamb"], "How the variables are updated.")
training.define_float("poly_power", 1.0, "Power of the decay of the learning rate.")
training.define_integer(
    "num_train_steps", 125000, "Steps to train for; divided by the number of cards.", lower_bound=1
)
training.define_integer(
    "num_warmup_steps", 3125, "Steps in which the rate rises; divided likewise.", lower_bound=0
)
training.define_integer("start_warmup_step", 0, "The step at which it begins.", lower_bound=0)
training.define_boolean(
    "init_from_group0", False, "Whether groups that init_checkpoint lacks start from its group 0."
)
training.define_integer(
    "masked_lm_budget",
    0,
    "More than 0: mask anew whenever a record is read, up to that many pieces of it and 15%. 0: "
    "take the records as they were masked.",
    lower_bound=0,
)

# What users of `run_pretraining` find here, though the heads are at home in a file of their own.
__all__ = [
    "gather_indexes",
    "get_masked_lm_output",
    "get_sentence_order_output",
    "input_fn_builder",
    "main",
    "model_fn_builder",
]


@dataclass(frozen=True)
class PretrainingSettings:
    """The values of this script's own flags."""

    input_file: str | None
    eval_file: str | None
    max_predictions_per_seq: int
    do_eval: bool
    eval_batch_size: int
    max_eval_steps: int
    optimizer: str
    poly_power: float
    num_train_steps: int
    num_warmup_steps: int
    start_warmup_step: int
    init_from_group0: bool
    masked_lm_budget: int


def main(_):
    """Checks the inputs, then trains, evaluates the checkpoints, and exports the best."""
    task = training.checked_task(PretrainingTask, PretrainingSettings)
    training.run(task)


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
    """Makes a model function for a plain `tf.estimator.Estimator`, to train and to evaluate.

    Args:
      albert_config: the model's config.
      init_checkpoint: a checkpoint to start from, as `checkpoints.find_checkpoint` takes it.
      learning_rate, num_train_steps, num_warmup_steps, use_tpu, optimizer, poly_power,
        start_warmup_step: as `optimization.create_optimizer` takes them.
      use_one_hot_embeddings, use_einsum: as `modeling.AlbertModel` takes them.
    """

    def model_fn(features, labels, mode, params):
        model = AlbertModel(
            albert_config,
            mode == tf.estimator.ModeKeys.TRAIN,
            *(features[name] for name in tasks.MODEL_INPUTS),
            use_one_hot_embeddings,
            use_einsum,
        )
        loss = pretraining_loss(albert_config, model, features)
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
            figures = example_figures(albert_config, model, features)
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=_metrics(figures))

    return model_fn


def _metrics(figures):
    """The metrics of an Estimator's evaluation."""
    weights = figures.pop(WEIGHTS)
    return {
        name: tf.metrics.mean(value / weights, weights)
        if name.startswith("masked_lm")
        else tf.metrics.mean(value)
        for name, value in figures.items()
    }


def input_fn_builder(
    input_files: Sequence[str],
    max_seq_length: int,
    max_predictions_per_seq: int,
    is_training: bool,
    num_cpu_threads: int = 4,
) -> Callable[[Mapping[str, Any]], tf.data.Dataset]:
    """Makes an Estimator's input function, which takes "batch_size" from its `params`.

    Args:
      input_files: paths of TFRecord files.
      max_seq_length: length of the records.
      max_predictions_per_seq: predictions that a record has room for.
      is_training: whether the batches come without end and in another order in each pass.
      num_cpu_threads: with 1, no two threads read.
    """
    spec = record_features(max_seq_length, max_predictions_per_seq)

    def input_fn(params):
        if not is_training:
            return datasets.first_batches(input_files, spec, params["batch_size"])
        return datasets.training_dataset(
            input_files,
            sum(records.checked_manifest(path, spec).records for path in input_files),
            spec,
            params["batch_size"],
            parallel=num_cpu_threads > 1,
        )

    return input_fn


def record_features(max_seq_length: int, num_predictions: int) -> records.FeatureSpec:
    """What the model reads of a record."""
    sequence = tf.io.FixedLenFeature([max_seq_length], tf.int64)
    return {
        **dict.fromkeys(tasks.MODEL_INPUTS, sequence),
        POSITIONS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        IDS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        WEIGHTS: tf.io.FixedLenFeature([num_predictions], tf.float32),
        ORDER: tf.io.FixedLenFeature([1], tf.int64),
    }


class PretrainingTask(tasks.Task):
    """Pre-training as a task of `training.run`."""

    metric = "masked_lm_accuracy"
    expects_checkpoint = False

    def __init__(self, settings: RunSettings, start: Start, pretraining: PretrainingSettings):
        """Makes the task; `read_inputs` completes it."""
        super().__init__(settings, start)
        self.pretraining = pretraining
        self.num_train_steps = pretraining.num_train_steps // distributed.size()
        self.input_files: list[str] = []
        self.eval_files: list[str] = []
        self.num_records: dict[str, int] = {}
        self.masker: masking.Masker | None = None

    @staticmethod
    def needs_tokenizer(own_settings: PretrainingSettings) -> bool:
        """Only masking needs to know the vocabulary."""
        return own_settings.masked_lm_budget > 0

    @property
    def init_groups(self) -> int:
        """Number of groups that start from a checkpoint's group 0; 0 for its own groups."""
        return self.start.config.num_hidden_groups if self.pretraining.init_from_group0 else 0

    def read_inputs(self, problems: Problems) -> None:
        """Finds the record files, and adds to `problems` what is wrong with them or the flags."""
        settings, pretraining = self.settings, self.pretraining
        if not (settings.do_train or pretraining.do_eval or settings.export_dir):
            problems.add("there is nothing to do: give --do_train or --do_eval")
        if settings.do_train and not self.num_train_steps:
            problems.add(
                f"--num_train_steps {pretraining.num_train_steps}, divided by the number of cards "
                f"{distributed.size()}, is no step: raise it"
            )
        with problems.collected():
            if settings.do_train:
                self.input_files = startup.matching_files("input_file", pretraining.input_file)
        with problems.collected():
            if pretraining.do_eval:
                flag = "eval_file" if pretraining.eval_file else "input_file"
                self.eval_files = startup.matching_files(flag, getattr(pretraining, flag))
        for path in dict.fromkeys([*self.input_files, *self.eval_files]):
            with problems.collected():
                self._check_file(path)
        with problems.collected():
            if pretraining.masked_lm_budget:
                self._make_masker()

    def _check_file(self, path):
        """Checks that a record file fits the run, and counts its records."""
        manifest = records.checked_manifest(path, self.features)
        self.num_records[path] = manifest.records
        config = self.start.config
        made_with = manifest.settings.get("vocab_size")
        largest = max(records.first_values(path, ("input_ids", IDS)))
        if config and (made_with or largest + 1) > config.vocab_size:
            raise self._wrong_vocabulary(path, made_with or f"at least {largest + 1}")
        if config and made_with and made_with != config.vocab_size:
            raise self._wrong_vocabulary(path, made_with)

    def _wrong_vocabulary(self, path, size):
        return InputError(
            f"{path}: the records were made with a vocabulary of {size} pieces, but "
            f"{self.settings.albert_config_file} has vocab_size {self.start.config.vocab_size}; "
            "make the records with the vocabulary of the model"
        )

    def _make_masker(self):
        budget, room = self.pretraining.masked_lm_budget, self.pretraining.max_predictions_per_seq
        if budget > room:
            raise InputError(
                f"--masked_lm_budget {budget} is more than --max_predictions_per_seq {room}: lower "
                "the first"
            )
        if self.start.tokenizer:
            if "[MASK]" not in self.start.tokenizer.vocab:
                raise InputError(
                    "--masked_lm_budget: the vocabulary has no [MASK]; give the "
                    "vocabulary that the records were made with"
                )
            self.masker = masking.Masker(self.start.tokenizer, budget)

    @property
    def features(self) -> records.FeatureSpec:
        """What a record holds."""
        spec = record_features(
            self.settings.max_seq_length, self.pretraining.max_predictions_per_seq
        )
        if self.pretraining.masked_lm_budget:
            spec["token_boundary"] = spec["input_ids"]
        return spec

    @property
    def record_files(self) -> list[str]:
        """Paths of the record files that the run reads."""
        return list(self.num_records)

    @property
    def inputs(self):
        """What all processes must have read alike: the numbers of records of the files."""
        return {
            flag: [[Path(path).name, self.num_records[path]] for path in paths]
            for flag, paths in (("input_file", self.input_files), ("eval_file", self.eval_files))
        }

    @property
    def evaluated_on(self):
        """What results depend on beside the checkpoint; None if nothing is evaluated.

        Files are told apart by their sizes: digests of all that is read would take too long.
        """
        if not self.pretraining.do_eval:
            return None
        return {
            "eval_files": {path: Path(path).stat().st_size for path in self.eval_files},
            "max_seq_length": self.settings.max_seq_length,
            "examples": self.pretraining.max_eval_steps * self.pretraining.eval_batch_size,
            "masked_lm_budget": self.pretraining.masked_lm_budget,
        }

    def model_fn(self, features, labels, mode, params):
        """The Estimator's model function: the loss for training, or figures of each example."""
        config, own = self.start.config, self.pretraining
        model = self.encoder(features, mode == tf.estimator.ModeKeys.TRAIN)
        if mode == tf.estimator.ModeKeys.TRAIN:
            (divisor,) = distributed.average([features[DIVISOR]], DIVISOR)
            features = {**features, DIVISOR: divisor}
            return self.train_spec(
                pretraining_loss(config, model, features),
                own.num_warmup_steps // distributed.size(),
                own.optimizer,
                own.poly_power,
                own.start_warmup_step,
            )
        if POSITIONS in features:
            return tasks.prediction_spec(example_figures(config, model, features))
        return tasks.prediction_spec(log_probabilities(config, model))  # an exported model

    def train_input_fn(self, start_step: int):
        """Returns the input function. Each process reads some of the files; if there are fewer
        files than processes, some records of them."""
        counts = [self.num_records[path] for path in self.input_files]
        logging.info("%d records in %d files", sum(counts), len(counts))
        if len(counts) >= distributed.size():
            own = set(distributed.own_part(len(counts)))
            spans = [range(n if number in own else 0) for number, n in enumerate(counts)]
        else:
            spans = datasets.spans_of(distributed.own_part(sum(counts)), counts)
        spans = {path: span for path, span in zip(self.input_files, spans) if span}
        return self.training_input_fn(
            list(spans),
            sum(map(len, spans.values())),
            self.features,
            start_step,
            self._prepare_for_training,
            list(spans.values()),
        )

    def _prepare(self, numbers, features):
        """Masks the records of a batch anew, if that is asked for, each by its number."""
        return self.masker.mask_batch(numbers, features) if self.masker else features

    def _prepare_for_training(self, numbers, features):
        """Adds to the features of a batch what its parts need to know of all of it."""
        # No two processes use the same numbers.
        numbers_of_all = numbers * distributed.size() + distributed.rank()
        features = self._prepare(numbers_of_all, features)
        parts = self.settings.gradient_accumulation_steps
        divisor = masked_lm_divisor(features[WEIGHTS]) / parts
        return {**features, DIVISOR: tf.fill(tf.shape(numbers), divisor)}

    def evaluate(self, estimator: tf.estimator.Estimator, checkpoint: str) -> Evaluation:
        """The accuracies and losses over the first batches of the files."""
        own = self.pretraining
        count = min(
            own.max_eval_steps * own.eval_batch_size,
            sum(self.num_records[path] for path in self.eval_files),
        )

        def input_fn():
            return datasets.first_batches(
                self.eval_files,
                self.features,
                own.eval_batch_size,
                distributed.own_part(count),
                self._prepare,
            )

        input_fns = self.prediction_input_fns(
            input_fn, own.eval_batch_size, [self.settings.max_seq_length]
        )
        figures = tasks.predicted_arrays(estimator, checkpoint, input_fns, "records")
        weight_sum = figures.pop(WEIGHTS).sum()
        return Evaluation(
            {
                name: float(
                    values.sum() / (weight_sum if name.startswith("masked_lm") else len(values))
                )
                for name, values in figures.items()
            }
        )


if __name__ == "__main__":
    training.launch(main)

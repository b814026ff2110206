"""What every run shares: flags, a task, and train → evaluate → predict → export."""

from __future__ import annotations

import abc
import dataclasses
import errno
import functools
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow loads

import numpy as np
import tensorflow.compat.v1 as tf
from absl import app, flags, logging
from tqdm import tqdm

import checkpoints
import distributed
import optimization
import records
import serving
from errors import InputError
from evaluation import Evaluation, Results
from hooks import ProgressHook
from modeling import AlbertModel
from startup import Problems, RunSettings, Start, check_start

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")
_DETERMINISTIC_SEED = 1
_TRACEBACK_VERBOSITY = 1

FLAGS = flags.FLAGS

# Flags may be defined again, so that a notebook or a test can import more than one script.
define_boolean = functools.partial(flags.DEFINE_boolean, allow_override=True)
define_enum = functools.partial(flags.DEFINE_enum, allow_override=True)
define_float = functools.partial(flags.DEFINE_float, allow_override=True)
define_integer = functools.partial(flags.DEFINE_integer, allow_override=True)
define_list = functools.partial(flags.DEFINE_list, allow_override=True)
define_string = functools.partial(flags.DEFINE_string, allow_override=True)


def define_flags(
    do_train: bool,
    max_seq_length: int,
    train_batch_size: int,
    learning_rate: float,
    output_dir: str | None = None,
) -> None:
    """Defines the flags that all scripts share; the arguments are the defaults that differ."""
    string, boolean, integer = define_string, define_boolean, define_integer

    string("albert_config_file", None, "The model's config: a JSON file.")
    string("vocab_file", None, "The vocabulary that comes with the model.")
    string("spm_model_file", None, "The SentencePiece model that comes with the model.")
    string("output_dir", output_dir, "Directory of the run: checkpoints, features, results.")
    string(
        "init_checkpoint",
        None,
        "Checkpoint to start from: a prefix, one of its files, or a directory (its model.ckpt-best "
        "or its latest). Not used by a run that goes on from its own checkpoint.",
    )
    integer("max_seq_length", max_seq_length, "Longest input of the model, in pieces.")
    boolean("do_lower_case", True, "Whether text is lower-cased; true for the published models.")
    boolean("do_train", do_train, "Whether to train.")
    integer("train_batch_size", train_batch_size, "Examples in a step, per card.", lower_bound=1)
    define_float(
        "learning_rate", learning_rate, "Highest learning rate; times the number of cards."
    )
    integer("save_checkpoints_steps", 5000, "Steps between two checkpoints.", lower_bound=1)
    integer("save_summary_steps", 100, "Steps between two TensorBoard events.", lower_bound=1)
    integer("keep_checkpoint_max", 5, "How many of the latest checkpoints are kept; 0 for all.")
    boolean("use_einsum", False, "Whether projections are einsums and not matrix products.")
    boolean("use_horovod", False, "Whether to train on several cards with Horovod.")
    boolean(
        "deterministic_run",
        False,
        "Whether two runs give the same numbers: fixed seeds, one reading thread, no dropout.",
    )
    define_enum(
        "device",
        "auto",
        ["auto", "hpu", "cpu", "gpu"],
        "Where to run; auto takes the best there is.",
    )
    define_list(
        "length_buckets",
        None,
        "Lengths to which prediction pads. Default: multiples of 32 up to max_seq_length, which is "
        "always among them; give max_seq_length alone to pad everything to it.",
    )
    string("export_dir", None, "Directory to export the best checkpoint to, as a SavedModel.")
    boolean("enable_scoped_allocator", False, "Whether Horovod's reductions share buffers (HPU).")
    unused = "TPUs are not supported; known so that existing commands run."
    integer("iterations_per_loop", 1000, unused)
    boolean("use_tpu", False, "TPUs are not supported: must be false.")
    integer("num_tpu_cores", 8, unused)
    for name in ("tpu_name", "tpu_zone", "gcp_project", "master"):
        string(name, None, unused)


def settings_from_flags(settings_class):
    """Makes an object of a dataclass, each field of which has the name of a flag."""
    names = [field.name for field in dataclasses.fields(settings_class)]
    return settings_class(**{name: getattr(FLAGS, name) for name in names})


class Task(abc.ABC):
    """What a script brings to a run: its inputs, its model and how the model is judged.

    Attributes:
      settings: the shared settings.
      start: what the run starts from.
      num_train_steps: the step at which training ends.
      metric: name of the figure by which the best checkpoint is chosen; more is better.
    """

    metric: str
    num_train_steps = 0

    def __init__(self, settings: RunSettings, start: Start):
        """Makes the task; `read_inputs` completes it."""
        self.settings = settings
        self.start = start

    @property
    def has_model(self) -> bool:
        """Whether enough is known to build the model."""
        return self.start.config is not None

    @abc.abstractmethod
    def read_inputs(self, problems: Problems) -> None:
        """Reads the inputs, and adds to `problems` what is wrong with them or with the flags."""

    @property
    @abc.abstractmethod
    def record_files(self) -> list[str]:
        """Paths of the record files that the run reads."""

    @property
    @abc.abstractmethod
    def evaluated_on(self) -> dict[str, Any] | None:
        """What results depend on beside the checkpoint, as JSON values; None for no evaluation."""

    @abc.abstractmethod
    def model_fn(self, features, labels, mode, params) -> tf.estimator.EstimatorSpec:
        """The Estimator's model function, for training and prediction."""

    @abc.abstractmethod
    def train_input_fn(self, start_step: int) -> Callable[[], tf.data.Dataset]:
        """The Estimator's input function for training from `start_step` on; may first do the slow
        work of making record files."""

    @abc.abstractmethod
    def evaluate(self, estimator: tf.estimator.Estimator, checkpoint: str) -> Evaluation:
        """Predicts with a checkpoint and judges the predictions."""

    def predict(self, estimator: tf.estimator.Estimator, checkpoint: str) -> None:  # noqa: B027
        """Predicts, with the checkpoint that the run ends with, what cannot be judged; nothing if
        the task has no such data."""

    def serving_input_receiver(self) -> tf.estimator.export.ServingInputReceiver:
        """The inputs of an exported model: those of the model, [batch, length], or records."""
        return serving.ids_or_examples(MODEL_INPUTS)

    @property
    def exported_settings(self) -> dict[str, Any]:
        """How text becomes the inputs of an exported model."""
        return {
            "max_seq_length": self.settings.max_seq_length,
            "do_lower_case": self.settings.do_lower_case,
        }

    @property
    def sequence_features(self) -> records.FeatureSpec:
        """What the model reads of a record."""
        sequence = tf.io.FixedLenFeature([self.settings.max_seq_length], tf.int64)
        return dict.fromkeys(MODEL_INPUTS, sequence)

    def encoder(self, features: Mapping[str, tf.Tensor], is_training: bool) -> AlbertModel:
        """The encoder of the model inputs among some features."""
        return AlbertModel(
            self.start.config,
            is_training,
            *(features[name] for name in MODEL_INPUTS),
            use_einsum=self.settings.use_einsum,
        )

    def digests(self, **inputs: str) -> dict[str, str]:
        """The digests of input files, given by name, and of the vocabulary."""
        flag = "spm_model_file" if self.settings.spm_model_file else "vocab_file"
        paths = {**inputs, flag: getattr(self.settings, flag)}
        return {name: records.digest(path) for name, path in paths.items()}

    def training_input_fn(
        self, path: str, num_records: int, feature_spec: records.FeatureSpec, start_step: int
    ) -> Callable[[], tf.data.Dataset]:
        """The Estimator's input function that reads a record file from `start_step` on."""
        batch_size = self.settings.train_batch_size
        return lambda: records.training_dataset(
            path,
            num_records,
            feature_spec,
            batch_size,
            skip_records=start_step * batch_size,
            parallel=not self.settings.deterministic_run,
        )

    def train_spec(
        self, loss: tf.Tensor, num_warmup_steps: int, optimizer: str = "adamw"
    ) -> tf.estimator.EstimatorSpec:
        """The training half of a model function.

        Args:
          loss: scalar float tensor.
          num_warmup_steps: length of the warm-up in steps.
          optimizer: "adamw" or "lamb".
        """
        settings = self.settings
        if self.start.init_checkpoint and not checkpoints.latest_checkpoint(settings.output_dir):
            checkpoints.initialize_from(self.start.init_checkpoint)
        train_op = optimization.create_optimizer(
            loss,
            settings.learning_rate * distributed.size(),
            self.num_train_steps,
            num_warmup_steps,
            use_tpu=False,
            optimizer=optimizer,
        )
        progress = ProgressHook(
            loss,
            tf.get_default_graph().get_tensor_by_name("learning_rate:0"),
            self.num_train_steps,
            settings.train_batch_size * distributed.size(),
            settings.output_dir if distributed.is_chief() else None,
            settings.save_summary_steps,
        )
        return tf.estimator.EstimatorSpec(
            tf.estimator.ModeKeys.TRAIN, loss=loss, train_op=train_op, training_hooks=[progress]
        )


def checked_task(task_class: type[Task], own_settings_class: type) -> Task:
    """Makes the task that the flags describe.

    Args:
      task_class: the script's task.
      own_settings_class: the dataclass of the script's own flags.

    Raises:
      InputError: with all that is wrong with the flags and the files that they name.
    """
    settings = settings_from_flags(RunSettings)
    problems = Problems()
    start = check_start(settings, problems)
    task = task_class(settings, start, settings_from_flags(own_settings_class))
    task.read_inputs(problems)
    check_checkpoints(task, problems)
    problems.raise_all()
    return task


def check_checkpoints(task: Task, problems: Problems) -> None:
    """Checks that the checkpoint that the run starts from is there and fits the model."""
    if task.has_model and task.settings.output_dir:
        with problems.collected():
            _check_start_checkpoint(task)


def _check_start_checkpoint(task):
    settings, init_checkpoint = task.settings, task.start.init_checkpoint
    model = _model_shapes(task)
    own = _own_checkpoint(settings)
    if own:
        checkpoints.check_fits(own, model, all_needed=True)
    elif init_checkpoint:
        checkpoints.check_fits(init_checkpoint, model, all_needed=not settings.do_train)
    elif settings.do_train:
        logging.warning(
            "NO --init_checkpoint: TRAINING STARTS FROM RANDOM WEIGHTS, and will not reach the "
            "published accuracy"
        )
    else:
        raise InputError(
            f"{settings.output_dir}: there is no checkpoint to predict with; give "
            "--init_checkpoint, or train first (--do_train)"
        )


def _own_checkpoint(settings):
    """The checkpoint in the output directory that the run goes on from, if there is one."""
    latest = checkpoints.latest_checkpoint(settings.output_dir)
    if settings.do_train:
        return latest
    return checkpoints.best_checkpoint(settings.output_dir) or latest


def _model_shapes(task):
    """The shapes of the model's variables by name."""
    with tf.Graph().as_default():
        task.model_fn(_model_inputs(), None, tf.estimator.ModeKeys.PREDICT, None)
        return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}


def _model_inputs():
    """Placeholders for a batch of any size and length."""
    return {name: tf.placeholder(tf.int32, [None, None], name) for name in MODEL_INPUTS}


def run(task: Task) -> None:
    """Trains, evaluates the checkpoints, and exports the best, as far as the flags ask for it."""
    estimator = _make_estimator(task)
    try:
        if task.settings.do_train:
            _train(task, estimator)
        evaluated_on = task.evaluated_on
        if evaluated_on is not None:
            _evaluate(task, estimator, evaluated_on)
        checkpoint = _final_checkpoint(task, is_judged=evaluated_on is not None)
        with checkpoints.named_if_damaged(checkpoint):
            task.predict(estimator, checkpoint)
        if task.settings.export_dir:
            _export(task, estimator, checkpoint)
    except tf.errors.DataLossError:
        records.raise_if_damaged([path for path in task.record_files if Path(path).exists()])
        raise


def _make_estimator(task):
    settings = task.settings
    session_config = tf.ConfigProto(allow_soft_placement=True)
    session_config.gpu_options.allow_growth = True
    if settings.device == "cpu":
        session_config.device_count["GPU"] = 0
    run_config = tf.estimator.RunConfig(
        model_dir=settings.output_dir,
        tf_random_seed=_DETERMINISTIC_SEED if settings.deterministic_run else None,
        save_checkpoints_steps=settings.save_checkpoints_steps,
        save_summary_steps=settings.save_summary_steps,
        keep_checkpoint_max=settings.keep_checkpoint_max,
        log_step_count_steps=None,
        session_config=session_config,
    )
    return tf.estimator.Estimator(task.model_fn, config=run_config)


def _train(task, estimator):
    checkpoints.remove_unfinished(task.settings.output_dir)
    latest = checkpoints.latest_checkpoint(task.settings.output_dir)
    start_step = checkpoints.step_of(latest) if latest else 0
    if start_step >= task.num_train_steps:
        logging.info("%s: training is done: step %d", latest, start_step)
        return
    input_fn = task.train_input_fn(start_step)
    if latest:
        logging.info("training goes on from %s to step %d", latest, task.num_train_steps)
    else:
        logging.info("training for %d steps", task.num_train_steps)
    with checkpoints.named_if_damaged(latest or task.start.init_checkpoint):
        estimator.train(input_fn, max_steps=task.num_train_steps)


def _evaluate(task, estimator, evaluated_on):
    """Evaluates the checkpoints that have no result yet."""
    settings = task.settings
    results = Results(settings.output_dir, task.metric, evaluated_on)
    if settings.do_train:
        candidates = checkpoints.saved_checkpoints(settings.output_dir)
    else:
        candidates = [_own_checkpoint(settings) or task.start.init_checkpoint]
    for checkpoint in candidates:
        if results.has(checkpoint):
            logging.info("%s has been evaluated before", checkpoint)
        else:
            with checkpoints.named_if_damaged(checkpoint):
                evaluation = task.evaluate(estimator, checkpoint)
            results.add(checkpoint, evaluation, keep_best=settings.do_train)
    results.log()


def _final_checkpoint(task, is_judged):
    """The checkpoint that the run ends with. An old best one says nothing of training that has not
    been judged."""
    settings = task.settings
    if settings.do_train and not is_judged:
        return checkpoints.latest_checkpoint(settings.output_dir)
    best = checkpoints.best_checkpoint(settings.output_dir)
    return best or _own_checkpoint(settings) or task.start.init_checkpoint


def _export(task, estimator, checkpoint):
    settings = task.settings
    path = serving.export(
        estimator,
        settings.export_dir,
        task.serving_input_receiver,
        checkpoint,
        serving.assets_of_model(
            settings.albert_config_file, settings.spm_model_file, settings.vocab_file
        ),
        task.exported_settings,
    )
    logging.info("exported %s to %s", checkpoint, path)


def predicted_batches(
    estimator: tf.estimator.Estimator,
    checkpoint: str,
    input_fn: Callable[[], tf.data.Dataset],
    unit: str,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the predictions of a checkpoint batch by batch, and logs the speed at the end.

    Args:
      estimator: the Estimator.
      checkpoint: prefix of the checkpoint.
      input_fn: the Estimator's input function.
      unit: what is predicted: "windows".
    """
    start_time, count = time.time(), 0
    with tqdm(desc="predicting", unit=f" {unit}", disable=None) as bar:
        for batch in estimator.predict(
            input_fn, checkpoint_path=checkpoint, yield_single_examples=False
        ):
            yield batch
            batch_size = len(next(iter(batch.values())))
            bar.update(batch_size)
            count += batch_size
    seconds = time.time() - start_time
    logging.info(
        "%s: %d %s predicted in %.1f s (%.1f %s/s)",
        *(checkpoint, count, unit, seconds, count / seconds, unit),
    )


def prediction_spec(predictions: Mapping[str, tf.Tensor]) -> tf.estimator.EstimatorSpec:
    """The prediction half of a model function.

    Only the model's variables are restored: published checkpoints have no global step.
    """
    variables = tf.trainable_variables()
    scaffold = tf.train.Scaffold(
        saver=tf.train.Saver(variables),
        ready_for_local_init_op=tf.constant([], tf.string),  # nothing is left uninitialized
        local_init_op=tf.group(
            tf.train.Scaffold.default_local_init_op(),
            tf.train.get_or_create_global_step().initializer,
        ),
    )
    return tf.estimator.EstimatorSpec(
        tf.estimator.ModeKeys.PREDICT, predictions=dict(predictions), scaffold=scaffold
    )


def launch(main: Callable[[Any], None]) -> None:
    """Runs a script: parses its flags, calls `main`, and turns bad input into a line and exit 1."""
    logging.set_verbosity(logging.INFO)
    tf.logging.set_verbosity(tf.logging.ERROR)

    def main_with_messages(argv):
        try:
            main(argv)
        except KeyboardInterrupt:
            sys.exit("interrupted: the same command goes on from the last checkpoint")
        except Exception as error:
            message = explain(error)
            if message is None or FLAGS.verbosity >= _TRACEBACK_VERBOSITY:
                raise
            sys.exit("\n".join(f"error: {line}" for line in message.splitlines()))

    app.run(main_with_messages)


def explain(error: Exception) -> str | None:
    """What an error means to the user, or None if it is not one that a user can mend."""
    text = str(error)
    if isinstance(error, InputError):
        return text
    if "No space left on device" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return (
            f"the disk is full: {text.splitlines()[0]}; make room, and run the same command again"
        )
    if isinstance(error, OSError):
        return text
    if isinstance(error, tf.train.NanLossDuringTrainingError):
        return "the loss is not a number any more: lower --learning_rate, or train longer warm-up"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"out of memory: lower the batch size or --max_seq_length: {text.splitlines()[0]}"
    return None

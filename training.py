"""What every run shares: flags, the checks before the start, and train → evaluate → export."""

from __future__ import annotations

import abc
import dataclasses
import errno
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow loads

import tensorflow.compat.v1 as tf
from absl import app, flags, logging

import checkpoints
import distributed
import hpu
import optimization
import records
import tokenization
from errors import InputError
from evaluation import Evaluation, Results
from hooks import ProgressHook
from modeling import AlbertConfig

MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")
_BUCKET_STEP = 32  # pieces
_DETERMINISTIC_SEED = 1
_TRACEBACK_VERBOSITY = 1

FLAGS = flags.FLAGS


@dataclass(frozen=True)
class RunSettings:
    """The values of the shared flags; `define_flags` tells what each is for."""

    albert_config_file: str | None
    vocab_file: str | None
    spm_model_file: str | None
    output_dir: str | None
    init_checkpoint: str | None
    do_lower_case: bool
    do_train: bool
    train_batch_size: int
    learning_rate: float
    save_checkpoints_steps: int
    save_summary_steps: int
    keep_checkpoint_max: int
    use_einsum: bool
    use_horovod: bool
    deterministic_run: bool
    use_tpu: bool
    device: str
    length_buckets: list[str] | None
    export_dir: str | None

    @classmethod
    def from_flags(cls) -> RunSettings:
        """Takes the values of the flags."""
        return settings_from_flags(cls)


def settings_from_flags(settings_class):
    """Makes an object of a dataclass, each field of which has the name of a flag."""
    names = [field.name for field in dataclasses.fields(settings_class)]
    return settings_class(**{name: getattr(FLAGS, name) for name in names})


def define_flags(
    do_train: bool | None,
    train_batch_size: int,
    learning_rate: float,
    output_dir: str | None = None,
) -> None:
    """Defines the flags that all scripts share; the arguments are the defaults that differ."""
    string, boolean, integer = flags.DEFINE_string, flags.DEFINE_boolean, flags.DEFINE_integer

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
    boolean("do_lower_case", True, "Whether text is lower-cased; true for the published models.")
    boolean("do_train", do_train, "Whether to train.")
    integer("train_batch_size", train_batch_size, "Examples in a step, per card.", lower_bound=1)
    flags.DEFINE_float(
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
    flags.DEFINE_enum(
        "device",
        "auto",
        ["auto", "hpu", "cpu", "gpu"],
        "Where to run; auto takes the best there is.",
    )
    flags.DEFINE_list(
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


class Problems:
    """Collects what is wrong with a run before it starts, to tell all of it at once."""

    def __init__(self):
        self._messages = []

    def add(self, message: str) -> None:
        """Adds a problem."""
        self._messages.append(message)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Adds the `InputError` that ends the block, if one does."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def raise_all(self) -> None:
        """Raises `InputError` with all problems, a line each, if there are any."""
        if self._messages:
            raise InputError("\n".join(self._messages))


@dataclass
class Start:
    """What a run starts from, read and checked.

    Attributes:
      config: the model's config.
      tokenizer: the tokenizer.
      init_checkpoint: prefix of the checkpoint to start from, or None.
      length_buckets: the lengths to which prediction pads, ascending.
    """

    config: AlbertConfig | None = None
    tokenizer: tokenization.FullTokenizer | None = None
    init_checkpoint: str | None = None
    length_buckets: list[int] | None = None


def check_start(settings: RunSettings, max_seq_length: int, problems: Problems) -> Start:
    """Reads what the shared flags name, and collects what is wrong with it.

    What could not be read is None in the result; `problems` has an entry for it.
    """
    start = Start()
    with problems.collected():
        hpu.load_habana_module(settings.device)
        _check_device(settings.device)
    with problems.collected():
        distributed.initialize(settings.use_horovod)
    if settings.use_tpu:
        problems.add("--use_tpu: TPUs are not supported; run on CPU, GPU or HPU")
    with problems.collected():
        if not settings.albert_config_file:
            raise InputError("--albert_config_file is missing: give the model's JSON config")
        start.config = AlbertConfig.from_json_file(settings.albert_config_file)
        if max_seq_length > start.config.max_position_embeddings:
            raise InputError(
                f"--max_seq_length is {max_seq_length}, but the model of "
                f"{settings.albert_config_file} reads no more than "
                f"{start.config.max_position_embeddings} pieces (max_position_embeddings)"
            )
    with problems.collected():
        start.tokenizer = tokenization.FullTokenizer(
            settings.vocab_file, settings.do_lower_case, settings.spm_model_file
        )
        vocabulary = settings.spm_model_file or settings.vocab_file
        if start.config and len(start.tokenizer.vocab) != start.config.vocab_size:
            raise InputError(
                f"{vocabulary}: the vocabulary has {len(start.tokenizer.vocab)} pieces, but "
                f"{settings.albert_config_file} has vocab_size {start.config.vocab_size}; give the "
                "two that belong together"
            )
    with problems.collected():
        if settings.init_checkpoint:
            start.init_checkpoint = checkpoints.find_checkpoint(settings.init_checkpoint)
    with problems.collected():
        start.length_buckets = _length_buckets(settings.length_buckets, max_seq_length)
    with problems.collected():
        _check_output_dir(settings.output_dir)
    return start


def _check_device(device):
    """Raises `InputError` if there is no such device, and logs what the run uses."""
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise InputError(
            "--device=gpu: TensorFlow sees no GPU; check the driver and the CUDA libraries, or run "
            "with --device=cpu"
        )
    if gpus and device != "cpu":
        logging.info("running on GPU: %s", ", ".join(gpu.name for gpu in gpus))
    else:
        logging.info("running on CPU: %d cores", len(os.sched_getaffinity(0)))


def _check_output_dir(output_dir):
    """Makes the output directory; raises `InputError` if nothing can be written there."""
    if not output_dir:
        raise InputError("--output_dir is missing: give the directory of the run")
    try:
        with records.whole_file(Path(output_dir) / "writable") as temporary:
            temporary.touch()
        (Path(output_dir) / "writable").unlink()
    except OSError as error:
        raise InputError(f"--output_dir {output_dir}: {error.strerror}") from error


def _length_buckets(values, max_seq_length):
    """The lengths to which prediction pads, ascending."""
    if not values:
        return [*range(_BUCKET_STEP, max_seq_length, _BUCKET_STEP), max_seq_length]
    try:
        lengths = {int(value) for value in values}
    except ValueError as error:
        raise InputError(f"--length_buckets {','.join(values)}: not whole numbers") from error
    if min(lengths) < 1 or max(lengths) > max_seq_length:
        raise InputError(
            f"--length_buckets {','.join(values)}: they must lie between 1 and --max_seq_length "
            f"{max_seq_length}"
        )
    return sorted(lengths | {max_seq_length})


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
        """Makes the task."""
        self.settings = settings
        self.start = start

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


def check_checkpoints(task: Task, problems: Problems) -> None:
    """Checks that the checkpoint that the run starts from is there and fits the model."""
    if task.start.config and task.settings.output_dir:
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
        if task.evaluated_on is not None:
            _evaluate(task, estimator)
        if task.settings.export_dir:
            _export(task, estimator)
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


def _evaluate(task, estimator):
    settings = task.settings
    results = Results(settings.output_dir, task.metric, task.evaluated_on)
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


def _export(task, estimator):
    settings = task.settings
    checkpoint = (
        checkpoints.best_checkpoint(settings.output_dir)
        or checkpoints.latest_checkpoint(settings.output_dir)
        or task.start.init_checkpoint
    )
    path = estimator.export_saved_model(
        settings.export_dir,
        lambda: tf.estimator.export.ServingInputReceiver(*[_model_inputs()] * 2),
        checkpoint_path=checkpoint,
    )
    logging.info("exported %s to %s", checkpoint, path.decode())


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

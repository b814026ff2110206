"""What every run shares: flags, and train → evaluate → predict → export."""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Callable

# Both are read when TensorFlow loads; its rewrite to bfloat16 is part of oneDNN.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if os.environ.get("TF_BF16_CONVERSION", "0") not in ("", "0"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import tensorflow.compat.v1 as tf
from absl import app, flags, logging

from albert_tf.devices import bfloat16, distributed, hpu
from albert_tf.errors import InputError, SharedInputError
from albert_tf.records import record_files as records
from albert_tf.records.static_batches import with_padding_marked
from albert_tf.runs import checkpoints, serving
from albert_tf.runs.evaluation import Results
from albert_tf.runs.startup import Problems, RunSettings, check_start
from albert_tf.runs.tasks import Task, model_inputs

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


def define_text_flags(max_seq_length: int) -> None:
    """Defines the flags that tell how text becomes ids; the argument is a default."""
    define_string("vocab_file", None, "The vocabulary that comes with the model.")
    define_string("spm_model_file", None, "The SentencePiece model that comes with the model.")
    define_integer("max_seq_length", max_seq_length, "Longest input of the model, in pieces.")
    define_boolean(
        "do_lower_case", True, "Whether text is lower-cased; true for the published models."
    )


def define_flags(
    do_train: bool,
    max_seq_length: int,
    train_batch_size: int,
    learning_rate: float,
    output_dir: str | None = None,
) -> None:
    """Defines the flags that all scripts share; the arguments are the defaults that differ."""
    string, boolean, integer = define_string, define_boolean, define_integer

    define_text_flags(max_seq_length)
    string("albert_config_file", None, "The model's config: a JSON file.")
    string("output_dir", output_dir, "Directory of the run: checkpoints, features, results.")
    string(
        "init_checkpoint",
        None,
        "Checkpoint to start from: a prefix, one of its files, or a directory (its model.ckpt-best "
        "or its latest). Not used by a run that goes on from its own checkpoint.",
    )
    boolean("do_train", do_train, "Whether to train.")
    integer("train_batch_size", train_batch_size, "Examples in a step, per card.", lower_bound=1)
    integer(
        "gradient_accumulation_steps",
        1,
        "Parts in which the examples of a step go through the model, one after the other, for lack "
        "of memory. The step is the same.",
        lower_bound=1,
    )
    define_float(
        "learning_rate", learning_rate, "Highest learning rate; times the number of cards."
    )
    integer("save_checkpoints_steps", 5000, "Steps between two checkpoints.", lower_bound=1)
    integer("save_summary_steps", 100, "Steps between two TensorBoard events.", lower_bound=1)
    integer("keep_checkpoint_max", 5, "How many of the latest checkpoints are kept; 0 for all.")
    boolean("use_einsum", False, "Whether projections are einsums and not matrix products.")
    boolean(
        "deterministic_run",
        False,
        "Whether two runs give the same numbers: fixed seeds, one reading thread, no dropout.",
    )
    define_list(
        "length_buckets",
        None,
        "Lengths to which prediction pads. Default: multiples of 32 (on an HPU 128) up to "
        "max_seq_length, which is always among them; give max_seq_length alone to pad everything "
        "to it.",
    )
    string("export_dir", None, "Directory to export the best checkpoint to, as a SavedModel.")
    _define_device_flags()
    _define_tpu_flags()


def _define_device_flags():
    """Defines the flags that tell on what a run trains."""
    define_enum(
        "device",
        "auto",
        ["auto", "hpu", "cpu", "gpu"],
        "Where to run; auto takes the best there is.",
    )
    define_boolean(
        "use_horovod",
        False,
        "Whether to train on several cards with Horovod, one process for each.",
    )
    define_enum(
        "horovod_compression",
        "none",
        distributed.COMPRESSIONS,
        "How gradients are sent from card to card: fp16 halves their size.",
    )
    define_boolean(
        "enable_scoped_allocator", False, "Whether Horovod's reductions share buffers: HPU only."
    )
    define_integer(
        "synapse_logger_start",
        100,
        "With HABANA_SYNAPSE_LOGGER=range: the first of the ten steps that are logged, counted "
        "from 0 since the start of the program.",
        lower_bound=0,
    )


def _define_tpu_flags():
    """Defines the flags that existing commands give for TPUs."""
    unused = "TPUs are not supported; known so that existing commands run."
    define_integer("iterations_per_loop", 1000, unused)
    define_boolean("use_tpu", False, "TPUs are not supported: must be false.")
    define_integer("num_tpu_cores", 8, unused)
    for name in ("tpu_name", "tpu_zone", "gcp_project", "master"):
        define_string(name, None, unused)


def settings_from_flags(settings_class):
    """Makes an object of a dataclass, each field of which has the name of a flag."""
    names = [field.name for field in dataclasses.fields(settings_class)]
    return settings_class(**{name: getattr(FLAGS, name) for name in names})


def checked_task(task_class: type[Task], own_settings_class: type) -> Task:
    """Makes the task that the flags describe.

    Args:
      task_class: the script's task.
      own_settings_class: the dataclass of the script's own flags.

    Raises:
      InputError: with all that is wrong with the flags and the files that they name.
    """
    problems = Problems()
    with problems.collected():
        distributed.initialize(FLAGS.use_horovod)
    settings = settings_from_flags(RunSettings)
    output_dir = distributed.own_directory(settings.output_dir)
    settings = dataclasses.replace(settings, output_dir=output_dir)
    own_settings = settings_from_flags(own_settings_class)
    start = check_start(settings, problems, task_class.needs_tokenizer(own_settings))
    task = task_class(settings, start, own_settings)
    task.read_inputs(problems)
    check_checkpoints(task, problems)
    problems.raise_all()
    distributed.log_processes()
    _check_same_inputs(task, problems)
    return task


def _check_same_inputs(task, problems):
    """Raises `InputError` if the processes have read different inputs: they would wait for each
    other in vain."""
    first, *others = distributed.gather({**task.inputs, "num_train_steps": task.num_train_steps})
    for rank, other in enumerate(others, 1):
        different = [name for name, value in first.items() if other.get(name) != value]
        if different:
            problems.add(
                f"rank {rank}: {', '.join(different)}: not the same as of rank 0; give all servers "
                "the same files and flags"
            )
    problems.raise_all()


def check_checkpoints(task: Task, problems: Problems) -> None:
    """Checks that the checkpoint that the run starts from is there and fits the model: rank 0's
    task, from which the others get their weights."""
    if task.has_model and task.settings.output_dir and distributed.is_chief():
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
    elif settings.do_train and not task.expects_checkpoint:
        logging.info("no --init_checkpoint: training starts from random weights")
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
    with tf.Graph().as_default(), hpu.portable_graphs():
        task.model_fn(model_inputs(), None, tf.estimator.ModeKeys.PREDICT, None)
        return {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}


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
        if task.settings.export_dir and distributed.is_chief():
            _export(task, estimator, checkpoint)
        distributed.wait_for_all()
    except tf.errors.DataLossError:
        records.raise_if_damaged([path for path in task.record_files if Path(path).exists()])
        raise


def _make_estimator(task):
    settings = task.settings
    session_config = tf.ConfigProto(allow_soft_placement=True)
    session_config.gpu_options.allow_growth = True
    if settings.device == "cpu":
        session_config.device_count["GPU"] = 0
    if settings.enable_scoped_allocator and not hpu.is_hpu():
        logging.warning("--enable_scoped_allocator has no effect: it needs an HPU's Horovod")
    distributed.configure_session(session_config, settings.enable_scoped_allocator and hpu.is_hpu())
    is_chief = distributed.is_chief()
    model_fn = with_padding_marked(task.model_fn)
    if task.start.bfloat16 and not hpu.is_hpu():
        bfloat16.enable_rewrite(session_config)
        model_fn = bfloat16.with_conversion(model_fn, task.start.bfloat16)
    run_config = tf.estimator.RunConfig(
        model_dir=settings.output_dir,
        tf_random_seed=_DETERMINISTIC_SEED if settings.deterministic_run else None,
        save_checkpoints_steps=settings.save_checkpoints_steps if is_chief else None,
        save_summary_steps=settings.save_summary_steps if is_chief else None,
        keep_checkpoint_max=settings.keep_checkpoint_max,
        log_step_count_steps=None,
        session_config=session_config,
    )
    return tf.estimator.Estimator(model_fn, config=run_config)


def _train(task, estimator):
    latest = None
    if distributed.is_chief():
        checkpoints.remove_unfinished(task.settings.output_dir)
        latest = checkpoints.latest_checkpoint(task.settings.output_dir)
    latest = distributed.broadcast(latest)
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
    """Evaluates the checkpoints that have no result yet. Rank 0 has them and keeps the results."""
    settings, results, pending = task.settings, None, []
    if distributed.is_chief():
        results = Results(settings.output_dir, task.metric, evaluated_on)
        pending = _pending_checkpoints(task, results)
    for checkpoint in distributed.broadcast(pending):
        with checkpoints.named_if_damaged(checkpoint):
            evaluation = task.evaluate(estimator, checkpoint)
        if results:
            results.add(checkpoint, evaluation, keep_best=settings.do_train)
    if results:
        results.log()


def _pending_checkpoints(task, results):
    """The checkpoints to evaluate that have no result yet."""
    settings = task.settings
    if settings.do_train:
        candidates = checkpoints.saved_checkpoints(settings.output_dir)
    else:
        candidates = [_own_checkpoint(settings) or task.start.init_checkpoint]
    for checkpoint in filter(results.has, candidates):
        logging.info("%s has been evaluated before", checkpoint)
    return [checkpoint for checkpoint in candidates if not results.has(checkpoint)]


def _final_checkpoint(task, is_judged):
    """The checkpoint that the run ends with. An old best one says nothing of training that has not
    been judged."""
    settings = task.settings
    latest = checkpoints.latest_checkpoint(settings.output_dir)
    if settings.do_train and not is_judged:
        return distributed.broadcast(latest)
    best = checkpoints.best_checkpoint(settings.output_dir)
    return distributed.broadcast(best or latest or task.start.init_checkpoint)


def _export(task, estimator, checkpoint):
    settings = task.settings
    with hpu.portable_graphs():
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


def launch(main: Callable[[Any], None]) -> None:
    """Runs a script: parses its flags, calls `main`, and turns bad input into a line and exit 1.

    With several processes, the error of one ends all.
    """
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
                message = traceback.format_exc()
            else:
                message = "\n".join(f"error: {line}" for line in message.splitlines())
            distributed.exit_with_error(message, isinstance(error, SharedInputError))

    app.run(main_with_messages)


def explain(error: Exception) -> str | None:
    """What an error means to the user, or None if it is not one that a user can mend."""
    text = str(error)
    if isinstance(error, InputError):
        return text
    if distributed.is_failure_elsewhere(error):
        return "the run ends, as another process has ended: see its error, or what started it"
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

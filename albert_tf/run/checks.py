"""Checks before a run starts: all files named by its settings are read and validated."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator

from absl import logging

from albert_tf.cli import log
from albert_tf.cli.problems import Problems
from albert_tf.cli.settings import wrong_values
from albert_tf.devices import bfloat16, choice, distributed
from albert_tf.devices.bfloat16 import ConversionConfig
from albert_tf.devices.device import PORTABLE, Device
from albert_tf.export import serving
from albert_tf.graph.model import model_shapes
from albert_tf.io import files, locks
from albert_tf.io.errors import InputError
from albert_tf.nn.config import AlbertConfig
from albert_tf.run import introduction
from albert_tf.run.context import Setup
from albert_tf.run.shards import ExampleShard, FileShard, open_shard
from albert_tf.run_dir import checkpoints, kept_files, model_files, model_folder
from albert_tf.run_dir.checkpoints import Shapes
from albert_tf.run_dir.model_folder import BEST_CHECKPOINT
from albert_tf.tasks.base import DataSet, RecordFiles, ResolvedSchedule, Task
from albert_tf.tasks.options import RunSettings
from tokenization import FullTokenizer

_LOCK_FILE = "run.lock"


@contextmanager
def only_run(settings: RunSettings) -> Iterator[None]:
    """Hold the lock of the output directory in the block, on rank 0; all processes must call this.

    Raises:
      SharedInputError: if another run holds it.
    """
    problems = Problems()
    lock: locks.Lock | None = None
    try:
        distributed.initialize(settings.use_horovod)
    except InputError:
        yield  # `check` reports it
        return
    with problems.collected():
        if settings.output_dir and distributed.is_chief():
            lock = _output_lock(Path(settings.output_dir))
    problems.raise_all()
    try:
        yield
    finally:
        if lock:
            lock.release()


def _output_lock(directory: Path) -> locks.Lock | None:
    """Lock of the output directory; None if it cannot be written, which `check` reports."""
    try:
        files.make_directory(directory)
        return locks.only_run(directory / _LOCK_FILE, directory, "give another --output_dir")
    except OSError:
        return None


def check(task_class: type[Task], settings: RunSettings, device: Device | None = None) -> Setup:
    """Read and check everything a run needs.

    Args:
      task_class: class of the task.
      settings: settings of the run and the task.
      device: device to run on; by default the device of the settings.

    Raises:
      InputError: all problems with the settings and with the files they name.
    """
    problems = Problems()
    for problem in wrong_values(settings):
        problems.add(problem)
    problems.raise_all()
    with problems.collected():
        distributed.initialize(settings.use_horovod)
    given_directory = settings.output_dir
    own_directory = distributed.own_directory(given_directory)
    settings = dataclasses.replace(settings, output_dir=own_directory)
    conversion, device = _check_device(settings, device, problems)
    shares_directory = distributed.shares_server_with_chief()
    log_directory = (given_directory if shares_directory else own_directory) or ""
    _check_numbers(settings, problems)
    config = problems.result(_read_config, settings)
    tokenizer = problems.result(_load_tokenizer, task_class, settings, config)
    init_checkpoint = problems.result(_find_init_checkpoint, settings)
    length_buckets = problems.result(_length_buckets, settings, device)
    _check_outputs(settings, log_directory, problems)

    task = task_class(settings, config, tokenizer)
    task.kept_in, task.kept_before = _kept_before(task, init_checkpoint, problems)
    task.read_inputs(problems)
    _limit_examples(task)
    results_dir = _results_dir(task, problems)
    _check_evaluation(task, problems)
    schedule = problems.result(_resolved_schedule, task)
    train_sets = [task.train_set] if task.train_set else []
    known_counts: dict[str, int] = {}
    setup = Setup(
        task=task,
        device=device,
        bfloat16=conversion,
        init_checkpoint=init_checkpoint,
        length_buckets=length_buckets or [],
        results_dir=results_dir,
        schedule=schedule or ResolvedSchedule(),
        train_shards=_open_shards(task, train_sets, known_counts, problems),
        eval_shards=_open_shards(task, task.eval_sets, known_counts, problems),
        test_shards=_open_shards(task, task.test_sets, known_counts, problems),
    )
    shapes: dict[str, list[int]] = {}
    if config and task.has_head and settings.output_dir and distributed.is_chief():
        with problems.collected():
            shapes = model_shapes(task)
            _check_first_weights(setup, shapes)
    problems.raise_all()
    with problems.collected():
        if not settings.dry_run:  # not before: a wrong start leaves a new directory empty
            log.open_in(log_directory)
    problems.raise_all()
    distributed.log_processes()
    _check_same_inputs(setup, problems)
    introduction.log(setup, shapes)
    return setup


def _check_device(
    settings: RunSettings, device: Device | None, problems: Problems
) -> tuple[ConversionConfig | None, Device]:
    """Bfloat16 conversion and device of the run; `device` if it is given."""
    conversion = None
    with problems.collected():
        conversion = bfloat16.config_from_environment()
        device = device or choice.find_device(settings.device, distributed.local_rank())
        logging.info("running on %s", device.description)
        if conversion and not device.has_bfloat16:
            logging.warning(
                "%s has no effect on %s, where TensorFlow has no rewrite to bfloat16: running in "
                "float32",
                bfloat16.VARIABLE,
                device.description,
            )
    return conversion, device or PORTABLE


def _check_numbers(settings: RunSettings, problems: Problems) -> None:
    micro_batches = settings.gradient_accumulation_steps
    if settings.train_batch_size % micro_batches:
        problems.add(
            f"--train_batch_size {settings.train_batch_size} cannot be divided into "
            f"--gradient_accumulation_steps {micro_batches} equal micro-batches: give a multiple "
            f"of {micro_batches}"
        )
    if settings.use_tpu:
        problems.add("--use_tpu: TPUs are not supported; run on CPU, GPU or HPU")


def _kept_before(
    task: Task, init_checkpoint: str | None, problems: Problems
) -> tuple[str, dict[str, Any]]:
    """Directory of the checkpoint to resume from or predict with, and what the task keeps there."""
    settings = task.settings
    found: tuple[str, dict[str, Any]] = ("", {})
    with problems.collected():
        if task.kept_names and settings.output_dir and distributed.is_chief():
            own = checkpoints.own_checkpoint(settings.output_dir, settings.do_train)
            used = own or (None if settings.do_train else init_checkpoint)
            if used:
                directory = str(Path(used).parent)
                found = directory, kept_files.read(directory, task.kept_names)
    return distributed.broadcast(found)


def _limit_examples(task: Task) -> None:
    """Have the data sets keep as many examples as the settings say."""
    settings = task.settings
    if settings.max_train_examples and task.train_set:
        task.train_set.limit(settings.max_train_examples)
    if settings.max_eval_examples:
        for data_set in task.eval_sets:
            data_set.limit(settings.max_eval_examples)


def _check_evaluation(task: Task, problems: Problems) -> None:
    """Check that the settings for the evaluation of checkpoints fit together."""
    settings = task.settings
    if not settings.early_stopping_evaluations or not settings.do_train:
        return
    if settings.evaluate_after_training:
        problems.add(
            "--early_stopping_evaluations and --evaluate_after_training: training cannot end by "
            "evaluations that come after it; give one of them"
        )
    elif not task.eval_sets:
        problems.add(
            "--early_stopping_evaluations: this run evaluates nothing; switch evaluation on, or "
            "give 0"
        )


def _read_config(settings: RunSettings) -> AlbertConfig:
    if not settings.albert_config_file:
        raise InputError(
            "--albert_config_file is missing: give the model's JSON config, or its folder as "
            "--init_checkpoint"
        )
    config = AlbertConfig.from_json_file(settings.albert_config_file)
    if settings.max_seq_length > config.max_position_embeddings:
        raise InputError(
            f"--max_seq_length is {settings.max_seq_length}, but the model of "
            f"{settings.albert_config_file} reads at most "
            f"{config.max_position_embeddings} pieces (max_position_embeddings): lower it"
        )
    if settings.deterministic_run:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return config


def _load_tokenizer(
    task_class: type[Task], settings: RunSettings, config: AlbertConfig | None
) -> FullTokenizer | None:
    """Load the tokenizer, if the task needs one or a vocabulary is given."""
    if not task_class.needs_tokenizer(settings) and not settings.vocabulary:
        return None
    tokenizer = model_files.load_tokenizer(settings)
    model_files.check_vocabulary(
        settings.vocabulary, tokenizer, settings.albert_config_file, config
    )
    return tokenizer


def _find_init_checkpoint(settings: RunSettings) -> str | None:
    """Find the checkpoint to start from, on rank 0."""
    if settings.init_checkpoint and distributed.is_chief():
        return checkpoints.find_checkpoint(settings.init_checkpoint)
    return None


def _length_buckets(settings: RunSettings, device: Device) -> list[int]:
    """Lengths to pad to in prediction, ascending; none to sort the records by length."""
    values, longest = settings.length_buckets, settings.max_seq_length
    if not values:
        step = device.length_step
        return [*range(step, longest, step), longest] if step else []
    try:
        lengths = {int(value) for value in values}
    except ValueError as error:
        raise InputError(
            f"--length_buckets {','.join(values)}: give whole numbers, separated by commas"
        ) from error
    if min(lengths) < 1 or max(lengths) > longest:
        raise InputError(
            f"--length_buckets {','.join(values)}: give lengths between 1 and --max_seq_length "
            f"{longest}"
        )
    return sorted(lengths | {longest})


def _check_outputs(settings: RunSettings, log_directory: str, problems: Problems) -> None:
    """Check that the outputs can be written; from here on, an existing log gets the lines."""
    with problems.collected():
        _check_output_dir(settings)
        if not settings.dry_run and (Path(log_directory) / log.FILE_NAME).exists():
            log.open_in(log_directory)
    with problems.collected():
        _check_export_dir(settings)
    with problems.collected():
        if settings.export_tflite and distributed.is_chief():
            files.check_can_be_written(settings.export_tflite)


def _check_output_dir(settings: RunSettings) -> None:
    """Check that the output directory is writable, and that only rank 0's has checkpoints."""
    directory = settings.output_dir
    if not directory:
        raise InputError("--output_dir is missing: give a directory for the outputs")
    files.check_writable("output_dir", directory)
    if not distributed.is_chief() and checkpoints.latest_checkpoint(directory):
        raise InputError(
            f"{directory}: the directory has checkpoints of another run; remove them, or give "
            "another --output_dir"
        )


def _results_dir(task: Task, problems: Problems) -> str:
    """Directory of this process for results, and for the records of what they are about.

    Prediction leaves the results of a training run alone: those of other questions go below.
    """
    settings, data_sets = task.settings, [*task.eval_sets, *task.test_sets]
    output_dir, directory = settings.output_dir or "", settings.prediction_dir
    has_run = distributed.broadcast(model_folder.has_checkpoints(output_dir))
    if settings.do_train:
        if directory:
            problems.add(
                "--prediction_dir: results of training go to --output_dir; give it with "
                "--do_train=false"
            )
        return output_dir
    if directory:
        directory = distributed.own_directory(directory)
    elif has_run and data_sets:
        directory = str(Path(output_dir) / "predictions" / _name_of(data_sets[0]))
    else:
        return output_dir
    with problems.collected():
        files.check_writable("prediction_dir", directory)
    for data_set in data_sets:
        data_set.directory = directory
    return directory


def _name_of(data_set: DataSet | RecordFiles) -> str:
    """Name of the first file of a data set, without its extension."""
    paths = data_set.paths if isinstance(data_set, RecordFiles) else data_set.inputs.values()
    return Path(next(iter(paths))).stem


def _check_export_dir(settings: RunSettings) -> None:
    """Check that the model can be exported, and found there."""
    directory = settings.export_dir
    if directory and distributed.is_chief():
        files.check_writable("export_dir", directory)
        if serving.is_saved_model(directory):
            raise InputError(
                f"--export_dir {directory}: is a SavedModel itself, and would hide the new one in "
                "it; give the directory to make a SavedModel in"
            )


def _open_shards(
    task: Task,
    data_sets: Iterable[DataSet | RecordFiles],
    known_counts: dict[str, int],
    problems: Problems,
) -> list[ExampleShard | FileShard]:
    """Open this process's shards of data sets, and collect the problems of the others."""
    shards = []
    for data_set in data_sets:
        with problems.collected():
            shards.append(open_shard(task, data_set, known_counts))
    return shards


def _resolved_schedule(task: Task) -> ResolvedSchedule:
    """The task's schedule in steps of this run."""
    settings, train_set, num_cards = task.settings, task.train_set, distributed.size()
    num_examples = len(train_set.examples) if isinstance(train_set, DataSet) else 0
    schedule = task.schedule.resolve(num_examples, settings.train_batch_size, num_cards)
    if settings.do_train and train_set and schedule.steps < 1:
        if isinstance(train_set, DataSet) and task.schedule.steps is None:
            raise InputError(
                f"{', '.join(train_set.inputs.values())}: {num_examples} examples in batches "
                f"of {settings.train_batch_size * num_cards} for {task.schedule.epochs} epochs "
                "make less than one step: lower --train_batch_size"
            )
        raise InputError(
            f"{task.schedule.steps} steps divided by {num_cards} cards make less than one step: "
            "give more steps"
        )
    return schedule


def _check_first_weights(setup: Setup, shapes: Shapes) -> None:
    """Check that the checkpoint to start from exists and fits the model's variables."""
    settings, init_checkpoint = setup.settings, setup.init_checkpoint
    own = checkpoints.own_checkpoint(setup.output_dir, settings.do_train)
    if settings.do_train and not own and init_checkpoint:
        _check_init_stays(setup.output_dir, init_checkpoint)
    if own:
        checkpoints.check_fits(own, shapes, all_needed=True)
    elif init_checkpoint:
        checkpoints.check_fits(init_checkpoint, shapes, all_needed=not settings.do_train)
    elif settings.do_train and not setup.task.expects_checkpoint:
        logging.info("no --init_checkpoint: training starts from random weights")
    elif settings.do_train:
        logging.warning(
            "NO --init_checkpoint: TRAINING STARTS FROM RANDOM WEIGHTS and will not reach the "
            "published accuracy"
        )
    else:
        raise InputError(
            f"{settings.output_dir}: no checkpoint to predict with; give --init_checkpoint, or "
            "train first (--do_train)"
        )


def _check_init_stays(output_dir: str, init_checkpoint: str) -> None:
    """Check that training does not replace the checkpoint that it starts from."""
    best = Path(output_dir) / BEST_CHECKPOINT
    if Path(init_checkpoint).resolve() == best.resolve():
        raise InputError(
            f"--init_checkpoint {init_checkpoint} is in --output_dir, where the best checkpoint of "
            "this training would replace it; give another --output_dir"
        )


def _check_same_inputs(setup: Setup, problems: Problems) -> None:
    """Raise `InputError` if the processes have read different inputs: they would deadlock."""
    own: dict[str, Any] = {}
    for shard in setup.shards:
        own.update(shard.fingerprint)
    own["num_train_steps"] = setup.schedule.steps
    first, *others = distributed.gather(own)
    for rank, other in enumerate(others, 1):
        different = [name for name, value in first.items() if other.get(name) != value]
        if different:
            problems.add(
                f"rank {rank}: {', '.join(different)}: different from rank 0; give all servers "
                "the same files and flags"
            )
    problems.raise_all()

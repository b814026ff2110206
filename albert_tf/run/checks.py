"""Checks before a run starts: all files named by its settings are read and validated."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, Iterator

from absl import logging

from albert_tf.cli import log
from albert_tf.cli.settings import wrong_values
from albert_tf.devices import bfloat16, choice, distributed
from albert_tf.devices.bfloat16 import ConversionConfig
from albert_tf.devices.device import PORTABLE, Device
from albert_tf.graph.model import model_shapes
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject
from albert_tf.nn.config import AlbertConfig
from albert_tf.records.shards import ExampleShard, RecordShard, Shard
from albert_tf.records.splits import RecordSplit, Split, Splits
from albert_tf.run import description
from albert_tf.run.context import RunContext
from albert_tf.run_dir import checkpoints, model_folder
from albert_tf.run_dir.checkpoints import Shapes
from albert_tf.run_dir.run_dir import RunDir, find_checkpoint
from albert_tf.tasks.base import Artifacts, HasArtifacts, Problems, ResolvedSchedule, Task
from albert_tf.tasks.options import RunSettings
from tokenization import FullTokenizer


@contextlib.contextmanager
def only_run(settings: RunSettings) -> Iterator[None]:
    """Hold the lock of the directory to write to, on rank 0; all processes must call this.

    Raises:
      SharedInputError: if another run holds it.
    """
    problems = Problems()
    with contextlib.ExitStack() as stack:
        with problems.collected():
            distributed.initialize(settings.use_horovod)
            directory = settings.prediction_dir or settings.output_dir
            if directory and distributed.is_chief():
                stack.enter_context(RunDir(directory).only_run())
        problems.raise_all()
        yield


def check(
    task_class: type[Task], settings: RunSettings, device: Device | None = None
) -> RunContext:
    """Read and check everything a run needs.

    Args:
      task_class: class of the task.
      settings: settings of the run and the task.
      device: device to run on; by default the device of the settings.

    Raises:
      InputError: all problems with the settings and with the files they name.
    """
    problems = Problems(wrong_values(settings))
    problems.raise_all()
    problems.result(distributed.initialize, settings.use_horovod)
    problems.raise_all()
    run_dir = RunDir(distributed.own_directory(settings.output_dir or ""))
    conversion, run_device = problems.result(_device, settings, device) or (None, PORTABLE)
    _check_settings(settings, problems)
    config = problems.result(_read_config, settings)
    tokenizer = problems.result(_load_tokenizer, settings, config)
    init_checkpoint = None
    if settings.init_checkpoint and distributed.is_chief():
        init_checkpoint = problems.result(find_checkpoint, settings.init_checkpoint)
    length_buckets = problems.result(_length_buckets, settings, run_device)
    artifacts = _artifacts(task_class, settings, run_dir, init_checkpoint, problems)
    splits = task_class.read(settings, artifacts, problems)
    splits = _limited(splits, settings)
    results = _results(settings, run_dir, splits)
    _check_outputs(settings, run_dir, results, problems)
    _check_evaluation(settings, splits, problems)
    problems.raise_all()

    assert config is not None
    task = problems.result(task_class, settings, config, tokenizer, splits)
    problems.raise_all()
    assert task is not None
    if settings.max_seq_length > config.max_position_embeddings:
        problems.add(
            f"--max_seq_length is {settings.max_seq_length}, but the model of "
            f"{settings.albert_config_file} reads at most "
            f"{config.max_position_embeddings} tokens (max_position_embeddings): lower it"
        )
    schedule = problems.result(_resolved_schedule, task) or ResolvedSchedule()
    buckets = length_buckets or []
    context = RunContext(
        task, run_device, conversion, init_checkpoint, buckets, run_dir, results, schedule
    )
    context = with_shards(context, problems)
    shapes: Shapes = {}
    with problems.collected():
        if distributed.is_chief():
            shapes = model_shapes(task)
            _check_first_weights(context, shapes)
    problems.raise_all()
    if not settings.dry_run:  # not before: a wrong start leaves a new directory empty
        problems.result(log.open_in, _log_directory(settings))
    problems.raise_all()
    distributed.log_processes()
    _check_same_inputs(context, problems)
    description.log(context, shapes)
    return context


def with_shards(context: RunContext, problems: Problems) -> RunContext:
    """Complete a context with this process's shards of the splits.

    Args:
      context: context of the run, without shards.
      problems: collection of problems, which are raised.
    """

    def opened(split: Split | RecordSplit) -> Any:
        return problems.result(_opened, context.task, split, context.results)

    splits = context.task.splits
    train = opened(splits.train) if splits.train else None
    dev, test = [*map(opened, splits.dev)], [*map(opened, splits.test)]
    problems.raise_all()
    return dataclasses.replace(context, train=train, dev=dev, test=test)


def _device(settings: RunSettings, device: Device | None) -> tuple[ConversionConfig | None, Device]:
    """Bfloat16 conversion and device of the run; `device` if it is given."""
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
    return conversion, device


def _check_settings(settings: RunSettings, problems: Problems) -> None:
    """Collect problems with settings that do not fit together."""
    micro_batches = settings.gradient_accumulation_steps
    if settings.train_batch_size % micro_batches:
        problems.add(
            f"--train_batch_size {settings.train_batch_size} cannot be divided into "
            f"--gradient_accumulation_steps {micro_batches} equal micro-batches: give a multiple "
            f"of {micro_batches}"
        )
    if settings.use_tpu:
        problems.add("--use_tpu: TPUs are not supported; run on CPU, GPU or HPU")
    if not settings.output_dir:
        problems.add("--output_dir is missing: give a directory for the outputs")
    if settings.do_train and settings.prediction_dir:
        problems.add(
            "--prediction_dir: results of training go to --output_dir; give it with "
            "--do_train=false"
        )


def _check_evaluation(settings: RunSettings, splits: Splits, problems: Problems) -> None:
    """Collect problems with the settings for the evaluation of checkpoints."""
    if not settings.early_stopping_evaluations or not settings.do_train:
        return
    if settings.evaluate_after_training:
        problems.add(
            "--early_stopping_evaluations and --evaluate_after_training: training cannot end by "
            "evaluations that come after it; give one of them"
        )
    elif not splits.dev:
        problems.add(
            "--early_stopping_evaluations: this run evaluates nothing; switch evaluation on, or "
            "give 0"
        )


def _read_config(settings: RunSettings) -> AlbertConfig:
    if not settings.albert_config_file:
        raise InputError(
            "--albert_config_file is missing: give the model's JSON config, or its directory as "
            "--init_checkpoint"
        )
    config = AlbertConfig.from_json_file(settings.albert_config_file)
    if settings.deterministic_run:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return config


def _load_tokenizer(settings: RunSettings, config: AlbertConfig | None) -> FullTokenizer | None:
    """Load the tokenizer, if the task needs one or a vocabulary is given."""
    if not settings.needs_vocabulary and not settings.vocabulary:
        return None
    tokenizer = model_folder.load_tokenizer(
        settings.vocab_file, settings.spm_model_file, settings.do_lower_case
    )
    (path,) = settings.vocabulary.values()
    model_folder.check_vocabulary(path, tokenizer, settings.albert_config_file, config)
    return tokenizer


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
            f"--length_buckets {','.join(values)}: give integers, separated by commas"
        ) from error
    if min(lengths) < 1 or max(lengths) > longest:
        raise InputError(
            f"--length_buckets {','.join(values)}: give lengths between 1 and --max_seq_length "
            f"{longest}"
        )
    return sorted(lengths | {longest})


def _artifacts(
    task_class: type[Task],
    settings: RunSettings,
    run_dir: RunDir,
    init_checkpoint: str | None,
    problems: Problems,
) -> Artifacts:
    """Files that the task has kept with the checkpoint to resume from or to predict with."""
    if not issubclass(task_class, HasArtifacts):
        return {}
    found: Artifacts = {}
    with problems.collected():
        if settings.output_dir and distributed.is_chief():
            own = run_dir.resume_point() if settings.do_train else run_dir.for_prediction()
            used = own or (None if settings.do_train else init_checkpoint)
            if used:
                found = model_folder.read_artifacts(Path(used).parent, task_class.artifact_names)
    parts = distributed.broadcast({name: vars(content) for name, content in found.items()})
    return {name: JsonObject(**values) for name, values in parts.items()}


def _limited(splits: Splits, settings: RunSettings) -> Splits:
    """The splits with as many examples as the settings say."""
    train = splits.train.limited(settings.max_train_examples) if splits.train else None
    dev = [split.limited(settings.max_eval_examples) for split in splits.dev]
    return dataclasses.replace(splits, train=train, dev=dev)


def _results(settings: RunSettings, run_dir: RunDir, splits: Splits) -> RunDir:
    """Directory of this process for results, and for the records of what they are about.

    Prediction does not touch the results of a training: its own go to a directory below.
    """
    predicted = [*splits.dev, *splits.test]
    has_checkpoints = distributed.broadcast(bool(settings.output_dir) and run_dir.has_checkpoints)
    if settings.do_train:
        return run_dir
    if settings.prediction_dir:
        return RunDir(distributed.own_directory(settings.prediction_dir))
    if has_checkpoints and predicted:
        return run_dir.below(Path(predicted[0].paths[0]).stem)
    return run_dir


def _check_outputs(
    settings: RunSettings, run_dir: RunDir, results: RunDir, problems: Problems
) -> None:
    """Check that the outputs can be written; from here on, an existing log gets the lines."""
    if not settings.output_dir:
        return
    with problems.collected():
        flag = "output_dir" if results is run_dir else "prediction_dir"
        files.check_directory(f"--{flag} {results}", results.path)
        if not distributed.is_chief() and run_dir.latest():
            raise InputError(
                f"{run_dir}: the directory has checkpoints of another run; remove them, or give "
                "another --output_dir"
            )
        if not settings.dry_run:
            log.continue_in(_log_directory(settings))
    with problems.collected():
        directory = settings.export_dir
        if directory and distributed.is_chief():
            from albert_tf.export import serving

            files.check_directory(f"--export_dir {directory}", directory)
            if serving.is_saved_model(directory):
                raise InputError(
                    f"--export_dir {directory}: is a SavedModel itself, and would hide the new one "
                    "in it; give the directory to make a SavedModel in"
                )
    if settings.export_tflite and distributed.is_chief():
        problems.result(files.check_file, settings.export_tflite)


def _log_directory(settings: RunSettings) -> str:
    """Directory of the log: that of rank 0 for processes on its host."""
    directory = settings.prediction_dir or settings.output_dir or ""
    if distributed.shares_host_with_chief():
        return directory
    return distributed.own_directory(directory)


def _opened(task: Task, split: Split | RecordSplit, results: RunDir) -> Shard:
    """This process's shard of a split."""
    settings, fields = task.settings, task.fields(split)
    if isinstance(split, RecordSplit):
        config_file = settings.albert_config_file or ""
        return RecordShard(split, fields, task.config.vocab_size, config_file)
    shard = ExampleShard(
        split,
        fields,
        lambda examples: task.records(split, examples),
        settings.record_settings,
        settings.vocabulary,
        str(results),
        settings.num_workers or distributed.own_cores(),
    )
    shard.check()
    return shard


def _resolved_schedule(task: Task) -> ResolvedSchedule:
    """The task's schedule in steps of this run."""
    settings, train, num_devices = task.settings, task.splits.train, distributed.size()
    num_examples = len(train.examples) if isinstance(train, Split) else 0
    schedule = task.schedule.resolve(num_examples, settings.train_batch_size, num_devices)
    if settings.do_train and train and schedule.steps < 1:
        if isinstance(train, Split) and task.schedule.steps is None:
            raise InputError(
                f"{', '.join(train.paths)}: {num_examples} examples in batches of "
                f"{settings.train_batch_size * num_devices} for {task.schedule.epochs} epochs make "
                "less than one step: lower --train_batch_size"
            )
        raise InputError(
            f"{task.schedule.steps} steps divided by {num_devices} devices make less than one "
            "step: give more steps"
        )
    return schedule


def _check_first_weights(context: RunContext, shapes: Shapes) -> None:
    """Check that the checkpoint to start from exists and fits the model's variables."""
    settings, run_dir, init_checkpoint = context.settings, context.run_dir, context.init_checkpoint
    best = run_dir.best()
    own = run_dir.resume_point() if settings.do_train else best or run_dir.resume_point()
    if own:
        checkpoints.check_fits(own, shapes, all_needed=True)
    if settings.do_train and best == run_dir.best_prefix:
        _check_best_stays(context, shapes, is_resumed=bool(own))
    if own:
        return
    if init_checkpoint:
        checkpoints.check_fits(init_checkpoint, shapes, all_needed=not settings.do_train)
    elif settings.do_train and not settings.expects_checkpoint:
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


def _check_best_stays(context: RunContext, shapes: Shapes, is_resumed: bool) -> None:
    """Check that training does not replace a best checkpoint that it cannot judge."""
    best, init_checkpoint = context.run_dir.best_prefix, context.init_checkpoint
    is_its_start = Path(init_checkpoint or "").resolve() == Path(best).resolve()
    if is_its_start and not is_resumed:
        raise InputError(
            f"--init_checkpoint {init_checkpoint} is in --output_dir, where the best checkpoint of "
            "this training would replace it; give another --output_dir"
        )
    if context.dev:
        try:
            checkpoints.check_fits(best, shapes, all_needed=True)
        except InputError as error:
            raise InputError(
                f"{best}: is of another training or a published model, and the best checkpoint of "
                f"this training would replace it; give another --output_dir, or move it ({error})"
            ) from error


def _check_same_inputs(context: RunContext, problems: Problems) -> None:
    """Raise `InputError` if the processes have read different inputs: they would deadlock."""
    own: dict[str, Any] = {}
    for shard in context.shards:
        own.update(shard.fingerprint)
    own["num_train_steps"] = context.schedule.steps
    first, *others = distributed.gather(own)
    for rank, other in enumerate(others, 1):
        different = [name for name, value in first.items() if other.get(name) != value]
        if different:
            problems.add(
                f"rank {rank}: {', '.join(different)}: different from rank 0; give all hosts "
                "the same files and flags"
            )
    problems.raise_all()

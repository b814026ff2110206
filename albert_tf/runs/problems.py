"""What a run starts from: the files and devices that the shared flags name, read and checked."""

from __future__ import annotations

import glob
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

import tensorflow.compat.v1 as tf
from absl import logging

import tokenization
from albert_tf.devices import bfloat16, distributed, hpu
from albert_tf.errors import InputError, SharedInputError
from albert_tf.records import record_files as records
from albert_tf.runs import checkpoints
from modeling import AlbertConfig

_BUCKET_STEP = 32  # pieces
_HPU_BUCKET_STEP = 128  # an HPU compiles its graph anew for each length
_NEEDED_PIECES = ("[CLS]", "[SEP]")


@dataclass(frozen=True)
class RunSettings:
    """The values of the shared flags; `training.define_flags` tells what each is for."""

    albert_config_file: str | None
    vocab_file: str | None
    spm_model_file: str | None
    output_dir: str | None
    init_checkpoint: str | None
    max_seq_length: int
    do_lower_case: bool
    do_train: bool
    train_batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    save_checkpoints_steps: int
    save_summary_steps: int
    keep_checkpoint_max: int
    use_einsum: bool
    horovod_compression: str
    enable_scoped_allocator: bool
    deterministic_run: bool
    use_tpu: bool
    device: str
    length_buckets: list[str] | None
    synapse_logger_start: int
    export_dir: str | None


class Problems:
    """Collects what is wrong with a run before it starts, to tell all of it at once.

    Every process of the run collects what it finds.
    """

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
        """Raises `SharedInputError` with the problems of all processes, a line each, if there are
        any. What rank 0 has found too is told once."""
        first, *others = distributed.gather(self._messages)
        messages = list(first)
        for rank, found in enumerate(others, 1):
            messages += [f"rank {rank}: {message}" for message in found if message not in first]
        if messages:
            raise SharedInputError("\n".join(messages))


@dataclass
class Start:
    """What a run starts from, read and checked.

    Attributes:
      config: the model's config.
      tokenizer: the tokenizer.
      init_checkpoint: prefix of the checkpoint to start from, or None; only rank 0 reads it.
      length_buckets: the lengths to which prediction pads, ascending.
      bfloat16: which ops work in bfloat16; None for none.
    """

    config: AlbertConfig | None = None
    tokenizer: tokenization.FullTokenizer | None = None
    init_checkpoint: str | None = None
    length_buckets: list[int] | None = None
    bfloat16: bfloat16.ConversionConfig | None = None


def check_start(settings: RunSettings, problems: Problems, needs_tokenizer: bool = True) -> Start:
    """Reads what the shared flags name, and collects what is wrong with it.

    What could not be read is None in the result; `problems` has an entry for it. Without
    `needs_tokenizer` a vocabulary is read only if one is given.
    """
    start = Start()
    max_seq_length = settings.max_seq_length
    with problems.collected():
        start.bfloat16 = bfloat16.config_from_environment()
        hpu.load_habana_module(settings.device)
        _check_device(settings.device, start.bfloat16 is not None)
    parts = settings.gradient_accumulation_steps
    if settings.train_batch_size % parts:
        problems.add(
            f"--train_batch_size {settings.train_batch_size} cannot be divided into "
            f"--gradient_accumulation_steps {parts} equal parts: give a multiple of it"
        )
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
        if settings.deterministic_run:
            start.config.hidden_dropout_prob = start.config.attention_probs_dropout_prob = 0.0
    with problems.collected():
        if needs_tokenizer or settings.vocab_file or settings.spm_model_file:
            start.tokenizer = tokenization.FullTokenizer(
                settings.vocab_file, settings.do_lower_case, settings.spm_model_file
            )
            check_vocabulary(
                vocabulary_path(settings),
                start.tokenizer,
                settings.albert_config_file,
                start.config,
            )
    with problems.collected():
        if settings.init_checkpoint and distributed.is_chief():
            start.init_checkpoint = checkpoints.find_checkpoint(settings.init_checkpoint)
    with problems.collected():
        start.length_buckets = _length_buckets(settings.length_buckets, max_seq_length)
    with problems.collected():
        if not settings.output_dir:
            raise InputError("--output_dir is missing: give the directory of the run")
        check_writable("output_dir", settings.output_dir)
        _check_is_not_trained_in(settings.output_dir)
    return start


def load_tokenizer(settings, needed_pieces: Sequence[str]) -> tokenization.FullTokenizer:
    """Loads the tokenizer that the flags of `define_text_flags` tell of.

    Args:
      settings: an object with their values.
      needed_pieces: what the vocabulary must have.

    Raises:
      InputError: if there is no vocabulary, or not the right one.
    """
    tokenizer = tokenization.FullTokenizer(
        settings.vocab_file, settings.do_lower_case, settings.spm_model_file
    )
    _check_pieces(vocabulary_path(settings), tokenizer, needed_pieces)
    return tokenizer


def vocabulary_path(settings) -> str | None:
    """The file that makes the tokenizer, of an object with the flags of `define_text_flags`."""
    return settings.spm_model_file or settings.vocab_file


def _check_pieces(vocabulary, tokenizer, needed_pieces):
    if not tokenizer.sp_model:
        needed_pieces = [*needed_pieces, tokenization.UNKNOWN_TOKEN]
    missing = [piece for piece in needed_pieces if piece not in tokenizer.vocab]
    if missing:
        raise InputError(
            f"{vocabulary}: the vocabulary has no {', '.join(missing)}; give the one that comes "
            "with the model"
        )


def check_vocabulary(
    vocabulary: str | None,
    tokenizer: tokenization.FullTokenizer,
    config_file: str | None,
    config: AlbertConfig | None,
) -> None:
    """Checks that a vocabulary has the pieces that a model needs, and as many as its config says.

    Args:
      vocabulary: path of the SentencePiece model or vocabulary.
      tokenizer: the tokenizer made of it.
      config_file: path of the model's config.
      config: the config; None if it could not be read.

    Raises:
      InputError: if the vocabulary is not that of the model.
    """
    _check_pieces(vocabulary, tokenizer, _NEEDED_PIECES)
    if config and len(tokenizer.vocab) != config.vocab_size:
        raise InputError(
            f"{vocabulary}: the vocabulary has {len(tokenizer.vocab)} pieces, but {config_file} "
            f"has vocab_size {config.vocab_size}; give the two that belong together"
        )


def matching_files(flag: str, patterns: str | None) -> list[str]:
    """The files that a flag names, in order: comma-separated paths, or patterns such as "*.txt".

    Manifests, and files that are still being written, are left out.

    Raises:
      InputError: if the flag is missing, or no file matches one of its patterns.
    """
    if not patterns:
        raise InputError(f"--{flag} is missing: give files, separated by commas, or *-patterns")
    found = []
    for pattern in patterns.split(","):
        paths = glob.glob(os.path.expanduser(pattern.strip()), recursive=True)
        paths = [p for p in paths if Path(p).is_file() and not records.is_companion(p)]
        if not paths:
            raise InputError(f"--{flag} {pattern}: there is no such file; correct the path")
        found += sorted(paths)
    return list(dict.fromkeys(found))


def _check_device(device, in_bfloat16):
    """Raises `InputError` if there is no such device, and logs what the run uses."""
    if hpu.is_hpu():
        logging.info("running on HPU: %s", hpu.card_type())
        return
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise InputError(
            "--device=gpu: TensorFlow sees no GPU; check the driver and the CUDA libraries, or run "
            "with --device=cpu"
        )
    if gpus and device != "cpu":
        if distributed.local_rank() >= len(gpus):
            raise InputError(
                f"there are more processes on {socket.gethostname()} than GPUs, {len(gpus)}: start "
                "one process for each"
            )
        logging.info("running on GPU: %s", ", ".join(gpu.name for gpu in gpus))
        if in_bfloat16:
            logging.warning(
                "%s does nothing on a GPU, where TensorFlow has no rewrite to bfloat16: the run is "
                "in float32",
                bfloat16.VARIABLE,
            )
    else:
        logging.info("running on CPU: %d cores", len(os.sched_getaffinity(0)))


def check_writable(flag: str, directory: str) -> None:
    """Makes the directory that a flag names; `InputError` if nothing can be written there."""
    try:
        path = Path(distributed.own_file(os.path.join(directory, "writable")))
        with records.whole_file(path) as temporary:
            temporary.touch()
        path.unlink()
    except OSError as error:
        raise InputError(f"--{flag} {directory}: {error.strerror}") from error


def _check_is_not_trained_in(directory):
    """Raises `InputError` if a rank that has no checkpoints would go on from some."""
    if not distributed.is_chief() and checkpoints.latest_checkpoint(directory):
        raise InputError(
            f"{directory}: there are checkpoints of another run; remove them, or give another "
            "--output_dir"
        )


def _length_buckets(values, max_seq_length):
    """The lengths to which prediction pads, ascending."""
    if not values:
        step = _HPU_BUCKET_STEP if hpu.is_hpu() else _BUCKET_STEP
        return [*range(step, max_seq_length, step), max_seq_length]
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

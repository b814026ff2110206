"""Settings shared by all runs.

A setting is declared once, as a dataclass field with a default, help text and bounds; `flags.py`
turns it into a flag. A script's dataclass inherits the settings of the run and of its task, and may
redeclare a field to change its default. Numbers are finite, and by default not negative; whole
numbers fit into 32 bits.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Mapping, Sequence

from albert_tf.bounds import LARGEST_INT, Bounds
from albert_tf.devices import choice
from albert_tf.json_files import shown
from albert_tf.runs.paths import CHECKPOINT_PATH, PATH

# Limits that no run reaches, for settings that decide how much memory is taken.
LARGEST_BATCH = 1 << 20
LONGEST_SEQUENCE = 1 << 16  # pieces
_MOST_WORKERS = 1024

# Groups of `--help`: see `help_text`.
FILES = "Files"
TEXT = "Model and text"
TRAINING = "Training"
EVALUATION = "Evaluation and prediction"
DEVICES = "Devices"
MANY_CARDS = "Many cards"
HIDDEN = "Without effect"


def setting(
    default: Any,
    help: str,
    *,
    lower: float | None = 0,
    upper: float | None = None,
    excludes_lower: bool = False,
    excludes_upper: bool = False,
    choices: Sequence[str] | None = None,
) -> Any:
    """Declare a field of a settings dataclass.

    Args:
      default: default value.
      help: one or two sentences for `--help`.
      lower: smallest valid number; None for no limit.
      upper: largest valid number; None for no limit, or 2^31 - 1 for whole numbers.
      excludes_lower: whether numbers must be greater than `lower`.
      excludes_upper: whether numbers must be less than `upper`.
      choices: valid words.
    """
    metadata = {
        "help": help,
        "bounds": {
            "lower": lower,
            "upper": upper,
            "excludes_lower": excludes_lower,
            "excludes_upper": excludes_upper,
        },
        "choices": choices,
    }
    return dataclasses.field(default=default, metadata=metadata)


def path_setting(help: str, default: str | None = None, *, kind: str = PATH) -> Any:
    """Declare a field for a path; `flags.read` checks it, and replaces `~` by the home directory.

    Args:
      help: one or two sentences for `--help`.
      default: default path.
      kind: `paths.PATH`, `PATHS` or `CHECKPOINT_PATH`.
    """
    field = setting(default, help)
    return dataclasses.field(default=default, metadata={**field.metadata, "path": kind})


def without_influence(settings_class: type) -> set[str]:
    """Names of the settings that cannot change what training makes of the same inputs.

    A class of settings lists its own in `WITHOUT_INFLUENCE`. Paths belong there: the contents of
    the files are compared.
    """
    listed = (vars(owner).get("WITHOUT_INFLUENCE", ()) for owner in settings_class.__mro__)
    return {name for names in listed for name in names}


def metadata_of(settings_class: type, name: str) -> Mapping[str, Any]:
    """Metadata of a field declared by `setting` in the class or one of its bases."""
    for owner in settings_class.__mro__:
        field = getattr(owner, "__dataclass_fields__", {}).get(name)
        if field is not None and field.metadata:
            return field.metadata
    raise TypeError(f"{settings_class.__name__}.{name} is not declared by `setting`")


def kind_of(field: dataclasses.Field) -> str:
    """Type of a field without None: "int" for "int | None"."""
    return field.type.split(" ")[0]


def bounds_of(settings_class: type, field: dataclasses.Field) -> Bounds | None:
    """Bounds of a number; None for a field of another type."""
    kind = kind_of(field)
    if kind not in ("int", "float"):
        return None
    limits = dict(metadata_of(settings_class, field.name)["bounds"])
    if kind == "int" and limits["upper"] is None:
        limits["upper"] = LARGEST_INT
    return Bounds(kind == "int", **limits)


def valid_values(settings_class: type, field: dataclasses.Field) -> str:
    """The valid values of a field in words, such as "a number of at least 0"."""
    choices = metadata_of(settings_class, field.name)["choices"]
    if choices:
        return f"one of {', '.join(choices)}"
    other = {"bool": "true or false", "list[str]": "words separated by commas"}
    return str(bounds_of(settings_class, field) or other.get(kind_of(field), "text"))


def is_valid(settings_class: type, field: dataclasses.Field, value: Any) -> bool:
    """Whether a value has the type of a field and is within its bounds; paths are not checked."""
    metadata = metadata_of(settings_class, field.name)
    choices = metadata["choices"]
    if value is None or "path" in metadata:
        return value is not None or field.type.endswith("| None")
    if choices:
        return value in choices
    types = {"bool": bool, "str": str, "list[str]": list}
    if kind_of(field) in types:
        return isinstance(value, types[kind_of(field)])
    bounds = bounds_of(settings_class, field)
    return bounds is None or bounds.allow(value)


def changed_values(settings: Any) -> dict[str, Any]:
    """Values of the settings that are not the script's defaults, by name."""
    return {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != field.default
    }


def wrong_values(settings: Any) -> list[str]:
    """Describe the values of a settings object that are out of bounds, for error messages."""
    return [
        wrong_value(type(settings), field, getattr(settings, field.name))
        for field in dataclasses.fields(settings)
        if not is_valid(type(settings), field, getattr(settings, field.name))
    ]


def wrong_value(settings_class: type, field: dataclasses.Field, value: Any) -> str:
    """Describe an invalid value, for an error message."""
    if isinstance(value, float):
        text = f"{value:g}"
    else:
        text = value if isinstance(value, str) else shown(value)
    return f"--{field.name}={text}: give {valid_values(settings_class, field)}"


@dataclass(frozen=True)
class TextSettings:
    """Vocabulary, maximum length and case of the text."""

    WITHOUT_INFLUENCE: ClassVar = ("vocab_file", "spm_model_file")
    HELP_GROUPS: ClassVar = {
        FILES: ("spm_model_file", "vocab_file"),
        TEXT: ("max_seq_length", "do_lower_case"),
    }

    vocab_file: str | None = path_setting("Vocabulary file of the model. Default: in its folder.")
    spm_model_file: str | None = path_setting(
        "SentencePiece model file of the model. Default: in its folder."
    )
    max_seq_length: int = setting(
        512, "Maximum length of the model's input, in pieces.", lower=1, upper=LONGEST_SEQUENCE
    )
    do_lower_case: bool = setting(
        True, "Whether to lower-case text; true for the published models."
    )

    @property
    def vocabulary(self) -> str | None:
        """Path of the file to build the tokenizer from."""
        return self.spm_model_file or self.vocab_file


@dataclass(frozen=True)
class TpuSettings:
    """TPU flags, accepted so that existing commands run."""

    WITHOUT_INFLUENCE: ClassVar = (
        "use_tpu",
        "iterations_per_loop",
        "num_tpu_cores",
        "tpu_name",
        "tpu_zone",
        "gcp_project",
        "master",
    )
    HELP_GROUPS: ClassVar = {HIDDEN: WITHOUT_INFLUENCE}

    use_tpu: bool = setting(False, "Must be false: TPUs are not supported.")
    iterations_per_loop: int = setting(1000, "TPU flag without effect.")
    num_tpu_cores: int = setting(8, "TPU flag without effect.")
    tpu_name: str | None = setting(None, "TPU flag without effect.")
    tpu_zone: str | None = setting(None, "TPU flag without effect.")
    gcp_project: str | None = setting(None, "TPU flag without effect.")
    master: str | None = setting(None, "TPU flag without effect.")


@dataclass(frozen=True)
class DeviceSettings:
    """Device and processes of a run."""

    WITHOUT_INFLUENCE: ClassVar = (
        "use_horovod",
        "enable_scoped_allocator",
        "synapse_logger_start",
    )
    HELP_GROUPS: ClassVar = {
        DEVICES: ("device", "synapse_logger_start"),
        MANY_CARDS: (
            "use_horovod",
            "scale_learning_rate",
            "horovod_compression",
            "enable_scoped_allocator",
        ),
    }

    device: str = setting(
        "auto", "Device to run on; auto picks the best available.", choices=choice.NAMES
    )
    use_horovod: bool = setting(
        False, "Whether to use several cards with Horovod, one process per card."
    )
    horovod_compression: str = setting(
        "none",
        "Compression of gradients sent between cards; fp16 halves the traffic.",
        choices=("none", "fp16"),
    )
    enable_scoped_allocator: bool = setting(
        False, "Whether to let Horovod's all-reduces share buffers; HPU only."
    )
    synapse_logger_start: int = setting(
        100,
        "First of the ten session runs to trace with HABANA_SYNAPSE_LOGGER=range, counted from 0 "
        "at the start of the program.",
    )


@dataclass(frozen=True)
class WorkerSettings:
    """Processes that make records."""

    WITHOUT_INFLUENCE: ClassVar = ("num_workers",)
    HELP_GROUPS: ClassVar = {DEVICES: ("num_workers",)}

    num_workers: int = setting(
        0,
        "Number of processes that make records; 0 for one on each core, or on each core of a rank. "
        "The records do not depend on it.",
        upper=_MOST_WORKERS,
    )


@dataclass(frozen=True)
class RunSettings(TextSettings, DeviceSettings, TpuSettings, WorkerSettings):
    """Files, training and prediction of a run."""

    WITHOUT_INFLUENCE: ClassVar = (
        "albert_config_file",
        "output_dir",
        "prediction_dir",
        "init_checkpoint",
        "do_train",
        "dry_run",
        "max_eval_examples",
        "gradient_accumulation_steps",
        "save_checkpoints_steps",
        "save_summary_steps",
        "keep_checkpoint_max",
        "evaluate_after_training",
        "use_einsum",
        "length_buckets",
        "export_dir",
        "write_report",
        "export_tflite",
        "tflite_float16",
    )
    HELP_GROUPS: ClassVar = {
        FILES: (
            "init_checkpoint",
            "output_dir",
            "prediction_dir",
            "export_dir",
            "export_tflite",
            "tflite_float16",
            "albert_config_file",
        ),
        TRAINING: (
            "do_train",
            "dry_run",
            "learning_rate",
            "train_batch_size",
            "gradient_accumulation_steps",
            "save_checkpoints_steps",
            "keep_checkpoint_max",
            "seed",
            "deterministic_run",
            "max_train_examples",
            "save_summary_steps",
            "compute_padding",
            "use_einsum",
        ),
        EVALUATION: (
            "evaluate_after_training",
            "early_stopping_evaluations",
            "max_eval_examples",
            "length_buckets",
        ),
    }

    albert_config_file: str | None = path_setting(
        "Model config, a JSON file. Default: in the folder of the model."
    )
    output_dir: str | None = path_setting(
        "Directory for all outputs: checkpoints, features, results.", kind=CHECKPOINT_PATH
    )
    prediction_dir: str | None = path_setting(
        "Directory for the results of a run without training. Default: predictions/<name of the "
        "file> in output_dir if that has the checkpoints of a training run, else output_dir."
    )
    init_checkpoint: str | None = path_setting(
        "Model to start from: its folder (model.ckpt-best in it, or else the latest checkpoint), "
        "or a checkpoint, as a prefix or one of its files. Ignored when the run resumes from its "
        "own checkpoint.",
        kind=CHECKPOINT_PATH,
    )
    do_train: bool = setting(False, "Whether to train.")
    dry_run: bool = setting(
        False,
        "Whether to check everything, try a few steps, say what the run would do, and end without "
        "leaving anything in output_dir.",
    )
    train_batch_size: int = setting(
        32, "Examples in a step, per card.", lower=1, upper=LARGEST_BATCH
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Number of micro-batches to split a batch into. They run one after the other, to save "
        "memory; the update is the same.",
        lower=1,
    )
    max_train_examples: int | None = setting(
        None, "Number of examples to train on, spread over the training set; for a try.", lower=1
    )
    max_eval_examples: int | None = setting(
        None, "Number of examples to evaluate on, spread over each set; for a try.", lower=1
    )
    learning_rate: float = setting(5e-5, "Peak learning rate.", upper=1000)
    scale_learning_rate: bool = setting(
        True, "Whether to multiply the learning rate by the number of cards."
    )
    save_checkpoints_steps: int = setting(5000, "Steps between checkpoints.", lower=1)
    save_summary_steps: int = setting(100, "Steps between TensorBoard events.", lower=1)
    keep_checkpoint_max: int = setting(
        5,
        "Number of recent checkpoints to keep beside the best; 0 keeps all. None is removed before "
        "it has been evaluated.",
        lower=0,
    )
    evaluate_after_training: bool = setting(
        False,
        "Whether to evaluate the checkpoints when training has ended, and not each as soon as it "
        "is saved.",
    )
    early_stopping_evaluations: int = setting(
        0,
        "Number of evaluations in a row without a better checkpoint after which training ends; 0 "
        "for never.",
        lower=0,
    )
    use_einsum: bool = setting(
        False, "Whether to compute projections with einsum instead of matrix products."
    )
    compute_padding: bool = setting(
        False,
        "Whether to compute the model for padding too, as published. It takes about twice as long, "
        "and nothing but SQuAD's loss depends on it.",
    )
    seed: int = setting(
        12345,
        "Seed of the initial weights, of dropout, and of the order and the dynamic masks of the "
        "records.",
        lower=0,
        upper=(1 << 31) - 1,
    )
    deterministic_run: bool = setting(
        False,
        "Whether to make runs reproducible to the bit: one reading thread, no dropout.",
    )
    length_buckets: list[str] | None = setting(
        None,
        "Lengths to pad inputs to in prediction; max_seq_length is always included, and alone pads "
        "to full length. Default: on an HPU multiples of 128; elsewhere, inputs are sorted by "
        "length, and a batch is as long as its longest.",
    )
    write_report: bool = setting(
        True, "Whether to write the page report.html about the run and its predictions."
    )
    export_dir: str | None = path_setting(
        "Directory to export the best checkpoint to, as a SavedModel.", kind=CHECKPOINT_PATH
    )
    export_tflite: str | None = path_setting(
        "File to export the best checkpoint to, for TensorFlow Lite.",
    )
    tflite_float16: bool = setting(
        False, "Whether that file has its weights in float16, which halves its size."
    )

    @property
    def exports(self) -> bool:
        """Whether a checkpoint is to be exported."""
        return bool(self.export_dir or self.export_tflite)

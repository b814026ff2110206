"""Settings shared by all runs: text, devices, files, training and prediction."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, List, Mapping, Optional

from albert_tf.cli.paths import CHECKPOINT_PATH
from albert_tf.cli.settings import (
    LARGEST_BATCH,
    LONGEST_SEQUENCE,
    Group,
    evaluation_setting,
    path_setting,
    setting,
    settings_of,
    text_setting,
    training_setting,
)
from albert_tf.devices import choice
from albert_tf.run_dir import model_folder

_MOST_WORKERS = 1024


@dataclass(frozen=True)
class TextSettings:
    """Vocabulary, maximum length and case of the text."""

    spm_model_file: Optional[str] = path_setting(
        "SentencePiece model file of the model. Default: in its directory.", must_exist=True
    )
    vocab_file: Optional[str] = path_setting(
        "Vocabulary file of the model. Default: in its directory.", must_exist=True
    )
    max_seq_length: int = text_setting(
        512, "Maximum length of the model's input, in tokens.", lower=1, upper=LONGEST_SEQUENCE
    )
    do_lower_case: bool = text_setting(
        True, "Whether to lower-case text; true for the published models."
    )

    @property
    def vocabulary(self) -> dict[str, str]:
        """Path of the file to build the tokenizer from, by the name of its flag; empty for none."""
        flags = {"spm_model_file": self.spm_model_file, "vocab_file": self.vocab_file}
        return next(({name: path} for name, path in flags.items() if path), {})


_tpu_setting = functools.partial(
    setting, help="TPU flag without effect.", group=Group.HIDDEN, affects_training=False
)


@dataclass(frozen=True)
class TpuSettings:
    """TPU flags, accepted for existing commands."""

    use_tpu: bool = _tpu_setting(False, help="Must be false: TPUs are not supported.")
    iterations_per_loop: int = _tpu_setting(1000)
    num_tpu_cores: int = _tpu_setting(8)
    tpu_name: Optional[str] = _tpu_setting(None)
    tpu_zone: Optional[str] = _tpu_setting(None)
    gcp_project: Optional[str] = _tpu_setting(None)
    master: Optional[str] = _tpu_setting(None)


@dataclass(frozen=True)
class DeviceSettings:
    """Device and processes of a run."""

    device: str = setting(
        "auto",
        "Device to run on; auto picks the best available.",
        choices=choice.NAMES,
        group=Group.DEVICES,
    )
    synapse_logger_start: int = setting(
        100,
        "First of the ten session runs to trace with HABANA_SYNAPSE_LOGGER=range, counted from 0 "
        "at the start of the program.",
        group=Group.DEVICES,
        affects_training=False,
    )
    use_horovod: bool = setting(
        False,
        "Whether to use several devices with Horovod, one process per device.",
        group=Group.HOROVOD,
        affects_training=False,
    )
    scale_learning_rate: bool = setting(
        True, "Whether to multiply the learning rate by the number of devices.", group=Group.HOROVOD
    )
    horovod_compression: str = setting(
        "none",
        "Compression of gradients sent between devices; fp16 halves the traffic.",
        choices=("none", "fp16"),
        group=Group.HOROVOD,
    )
    enable_scoped_allocator: bool = setting(
        False,
        "Whether to let Horovod's all-reduces share buffers; HPU only.",
        group=Group.HOROVOD,
        affects_training=False,
    )


@dataclass(frozen=True)
class WorkerSettings:
    """Processes that convert examples to records."""

    num_workers: int = setting(
        0,
        "Number of processes that convert examples; 0 for one per core, or per core of a rank. "
        "The records do not depend on it.",
        upper=_MOST_WORKERS,
        group=Group.DEVICES,
        affects_training=False,
    )


@dataclass(frozen=True)
class RunSettings(TextSettings, DeviceSettings, TpuSettings, WorkerSettings):
    """Files, training and prediction of a run.

    Attributes:
      expects_checkpoint: whether to warn when training starts from random weights.
    """

    expects_checkpoint: ClassVar[bool] = True

    init_checkpoint: Optional[str] = path_setting(
        "Model to start from: its directory (model.ckpt-best in it, or else the latest "
        "checkpoint), or a checkpoint, as a prefix or one of its files. Ignored when the run "
        "resumes from its own checkpoint.",
        kind=CHECKPOINT_PATH,
        must_exist=True,
    )
    output_dir: Optional[str] = path_setting(
        "Directory for all outputs: checkpoints, features, results.", kind=CHECKPOINT_PATH
    )
    prediction_dir: Optional[str] = path_setting(
        "Directory for the results of a run without training. Default: predictions/<name of the "
        "file> in output_dir if that has the checkpoints of a training run, else output_dir."
    )
    export_dir: Optional[str] = path_setting(
        "Directory to export the best checkpoint to, as a SavedModel.", kind=CHECKPOINT_PATH
    )
    export_tflite: Optional[str] = path_setting(
        "File to export the best checkpoint to, for TensorFlow Lite.",
    )
    tflite_float16: bool = setting(
        False,
        "Whether to store the weights in that file in float16, which halves its size.",
        group=Group.FILES,
        affects_training=False,
    )
    albert_config_file: Optional[str] = path_setting(
        "Model config, a JSON file. Default: in the directory of the model.", must_exist=True
    )
    do_train: bool = training_setting(False, "Whether to train.", affects_training=False)
    dry_run: bool = training_setting(
        False,
        "Whether to check everything, try the run on a few examples, print what it would take, and "
        "leave nothing in output_dir.",
        affects_training=False,
    )
    learning_rate: float = training_setting(5e-5, "Peak learning rate.", upper=1000)
    train_batch_size: int = training_setting(
        32, "Examples in a step, per device.", lower=1, upper=LARGEST_BATCH
    )
    gradient_accumulation_steps: int = training_setting(
        1,
        "Number of micro-batches to split a batch into. They run one after the other, to save "
        "memory; the update is the same.",
        lower=1,
        affects_training=False,
    )
    save_checkpoints_steps: int = training_setting(
        5000, "Steps between checkpoints.", lower=1, affects_training=False
    )
    save_checkpoints_minutes: float = training_setting(
        30.0,
        "Longest time without a checkpoint, in minutes. A checkpoint saved in between is only "
        "there to resume from, and is not evaluated; 0 saves only by steps.",
        upper=1_000_000,
        affects_training=False,
    )
    keep_checkpoint_max: int = training_setting(
        5,
        "Number of recent checkpoints to keep in addition to the best; 0 keeps all. None is "
        "removed before it has been evaluated.",
        affects_training=False,
    )
    seed: int = training_setting(
        12345,
        "Seed of the initial weights, of dropout, and of the order and the dynamic masks of the "
        "records.",
    )
    deterministic_run: bool = training_setting(
        False, "Whether to make runs reproducible bit by bit: one reading thread, no dropout."
    )
    max_train_examples: Optional[int] = training_setting(
        None, "Number of examples to train on, spread over the training set; for trials.", lower=1
    )
    save_summary_steps: int = training_setting(
        100, "Steps between TensorBoard events.", lower=1, affects_training=False
    )
    compute_padding: bool = training_setting(
        False,
        "Whether to compute the model for padding too, as published. It takes about twice as long, "
        "and affects only SQuAD's loss.",
    )
    use_einsum: bool = training_setting(
        False,
        "Whether to compute projections with einsum instead of matrix products.",
        affects_training=False,
    )
    evaluate_after_training: bool = evaluation_setting(
        False,
        "Whether to evaluate all checkpoints when training has ended, rather than each as soon as "
        "it is saved.",
    )
    early_stopping_evaluations: int = setting(
        0,
        "Number of evaluations in a row without a better checkpoint after which training ends; "
        "with 0 it never ends early.",
        group=Group.EVALUATION,
    )
    max_eval_examples: Optional[int] = evaluation_setting(
        None, "Number of examples to evaluate on, spread over each set; for trials.", lower=1
    )
    length_buckets: Optional[List[str]] = evaluation_setting(
        None,
        "Lengths to pad inputs to in prediction; max_seq_length is always included, and by "
        "itself pads to the full length. Default: multiples of 128 on an HPU; elsewhere, inputs "
        "are sorted by length, and a batch is as long as its longest input.",
    )
    write_report: bool = setting(
        True,
        "Whether to write report.html, a page about the run and its predictions.",
        affects_training=False,
    )

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of flags that are not given, from the directory of the model that flags name."""
        return model_folder.defaults(cls, given)

    @property
    def record_settings(self) -> dict[str, Any]:
        """The settings that records depend on, by name."""
        return {
            name: getattr(self, name)
            for name, setting in settings_of(type(self)).items()
            if setting.declaration.affects_records
        }

    @property
    def prediction_settings(self) -> dict[str, Any]:
        """The further settings that predictions depend on, by name; without those not given."""
        return {
            name: getattr(self, name)
            for name, setting in settings_of(type(self)).items()
            if setting.declaration.affects_predictions and getattr(self, name) is not None
        }

    @property
    def needs_vocabulary(self) -> bool:
        """Whether the task cannot do without a vocabulary."""
        return True

    @property
    def shares_group_0(self) -> bool:
        """Whether groups missing in the checkpoint start from its group 0."""
        return False

    @property
    def exports(self) -> bool:
        """Whether a checkpoint is to be exported."""
        return bool(self.export_dir or self.export_tflite)

"""The settings that all runs share.

A setting is declared once, as a field of a dataclass with its default, help and bounds: `flags.py`
makes its flag. A script's dataclass inherits from those of the run and of its task, and may repeat
a field with another default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Sequence

from albert_tf.devices import choice


def setting(
    default: Any,
    help: str,
    *,
    lower: float | None = None,
    upper: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Declare a field of a settings dataclass.

    Args:
      default: the default.
      help: one or two sentences for `--help`.
      lower: lowest number that is accepted.
      upper: highest number that is accepted.
      choices: accepted words.
    """
    metadata = {"help": help, "lower": lower, "upper": upper, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TextSettings:
    """Vocabulary, length and case of text."""

    vocab_file: str | None = setting(None, "Vocabulary that comes with the model.")
    spm_model_file: str | None = setting(None, "SentencePiece model that comes with the model.")
    max_seq_length: int = setting(512, "Longest input of the model, in pieces.", lower=1)
    do_lower_case: bool = setting(
        True, "Whether to lower-case text; true for the published models."
    )

    @property
    def vocabulary(self) -> str | None:
        """Path of the file that the tokenizer is made from."""
        return self.spm_model_file or self.vocab_file


@dataclass(frozen=True)
class TpuSettings:
    """Flags for TPUs, known so that existing commands run."""

    use_tpu: bool = setting(False, "TPUs are not supported: must be false.")
    iterations_per_loop: int = setting(1000, "Without effect: for TPUs.")
    num_tpu_cores: int = setting(8, "Without effect: for TPUs.")
    tpu_name: str | None = setting(None, "Without effect: for TPUs.")
    tpu_zone: str | None = setting(None, "Without effect: for TPUs.")
    gcp_project: str | None = setting(None, "Without effect: for TPUs.")
    master: str | None = setting(None, "Without effect: for TPUs.")


@dataclass(frozen=True)
class DeviceSettings:
    """Device and processes of a run."""

    device: str = setting(
        "auto", "Device to run on; auto takes the best there is.", choices=choice.NAMES
    )
    use_horovod: bool = setting(
        False, "Whether to train on several cards with Horovod, one process for each."
    )
    horovod_compression: str = setting(
        "none",
        "Format of the gradients on their way from card to card; fp16 halves their size.",
        choices=("none", "fp16"),
    )
    enable_scoped_allocator: bool = setting(
        False, "Whether Horovod's all-reduces share buffers: HPU only."
    )
    synapse_logger_start: int = setting(
        100,
        "With HABANA_SYNAPSE_LOGGER=range: first of the ten steps that are traced, counted from 0 "
        "since the start of the program.",
        lower=0,
    )


@dataclass(frozen=True)
class RunSettings(TextSettings, DeviceSettings, TpuSettings):
    """Files of a run, training and prediction."""

    albert_config_file: str | None = setting(None, "Config of the model: a JSON file.")
    output_dir: str | None = setting(None, "Directory of the run: checkpoints, features, results.")
    init_checkpoint: str | None = setting(
        None,
        "Checkpoint to start from: a prefix, one of its files, or a directory (its model.ckpt-best "
        "or its latest). Not used by a run that goes on from its own checkpoint.",
    )
    do_train: bool = setting(False, "Whether to train.")
    train_batch_size: int = setting(32, "Examples in a step, per card.", lower=1)
    gradient_accumulation_steps: int = setting(
        1,
        "Number of micro-batches that the batch goes through the model in, one after the other, to "
        "save memory. The step is the same.",
        lower=1,
    )
    learning_rate: float = setting(
        5e-5, "Peak learning rate; it is multiplied by the number of cards."
    )
    save_checkpoints_steps: int = setting(5000, "Steps from one checkpoint to the next.", lower=1)
    save_summary_steps: int = setting(100, "Steps from one TensorBoard event to the next.", lower=1)
    keep_checkpoint_max: int = setting(5, "Number of the latest checkpoints to keep; 0 for all.")
    use_einsum: bool = setting(False, "Whether projections are einsums instead of matrix products.")
    deterministic_run: bool = setting(
        False,
        "Whether two runs give the same numbers: fixed seeds, one reading thread, no dropout.",
    )
    length_buckets: list[str] | None = setting(
        None,
        "Lengths that prediction pads to. Default: multiples of 32 (on an HPU 128) up to "
        "max_seq_length, which is always among them; max_seq_length alone pads everything to it.",
    )
    export_dir: str | None = setting(
        None, "Directory to export the best checkpoint to, as a SavedModel."
    )

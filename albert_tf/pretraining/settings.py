"""The settings of pre-training, from which its scripts make flags."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from albert_tf.pretraining.instances import InstanceSettings
from albert_tf.runs.settings import RunSettings, TextSettings, setting


@dataclass(frozen=True)
class PretrainingSettings(RunSettings):
    """Records to train and to evaluate on, the optimizer and its schedule."""

    input_file: str | None = setting(
        None, "TFRecord files to train on: paths or *-patterns, separated by commas."
    )
    eval_file: str | None = setting(
        None, "TFRecord files to evaluate on, given likewise. Default: input_file."
    )
    max_predictions_per_seq: int = setting(20, "Predictions that a record has room for.", lower=1)
    do_eval: bool = setting(False, "Whether to evaluate the checkpoints.")
    eval_batch_size: int = setting(64, "Records in a batch of evaluation.", lower=1)
    max_eval_steps: int = setting(100, "Most batches to evaluate on.", lower=1)
    optimizer: str = setting("lamb", "Optimizer.", choices=("adamw", "lamb"))
    poly_power: float = setting(1.0, "Power of the polynomial decay of the learning rate.")
    num_train_steps: int = setting(
        125000, "Steps of training; divided by the number of cards.", lower=1
    )
    num_warmup_steps: int = setting(
        3125, "Steps in which the learning rate rises; divided by the number of cards.", lower=0
    )
    start_warmup_step: int = setting(0, "Global step at which warm-up starts.", lower=0)
    init_from_group0: bool = setting(
        False, "Whether groups that init_checkpoint lacks start from its group 0."
    )
    masked_lm_budget: int = setting(
        0,
        "More than 0: dynamic masking, up to that many pieces of a record, and up to 15%, anew "
        "each time that it is read. 0: records stay as they were masked.",
        lower=0,
    )


@dataclass(frozen=True)
class RecordSettings(TextSettings):
    """Text to make records of, and the passes over it.

    The other settings of the script are those of `InstanceSettings`.
    """

    input_file: str | None = setting(
        None,
        "Text files: paths or *-patterns, separated by commas. One sentence per line, an empty "
        "line between documents.",
    )
    output_file: str | None = setting(None, "TFRecord files to write, separated by commas.")
    input_file_mode: str = setting(
        "r", "r: text must be UTF-8; rb: what is not is left out.", choices=("r", "rb")
    )
    do_whole_word_mask: bool = setting(True, "Whether to mask words whole.")
    do_permutation: bool = setting(False, "Whether pieces also change places.")
    favor_shorter_ngram: bool = setting(True, "Whether n words are masked with p(n) ~ 1/n.")
    random_next_sentence: bool = setting(
        False,
        "Whether label 1 means a segment from another document instead of swapped segments.",
    )
    ngram: int = setting(3, "Most words that are masked together.", lower=1)
    max_predictions_per_seq: int = setting(20, "Most pieces masked in an instance.", lower=1)
    random_seed: int = setting(12345, "Seed; another makes other instances.")
    dupe_factor: int = setting(40, "Passes over the text, each with other masks.", lower=1)
    masked_lm_prob: float = setting(0.15, "Share of the pieces to mask.", lower=0, upper=1)
    short_seq_prob: float = setting(
        0.1, "Share of the documents with shorter instances.", lower=0, upper=1
    )
    num_workers: int = setting(
        1, "Worker processes; the records do not depend on their number.", lower=1
    )

    @property
    def instances(self) -> InstanceSettings:
        """Settings of the instances."""
        names = (field.name for field in dataclasses.fields(InstanceSettings))
        return InstanceSettings(**{name: getattr(self, name) for name in names})

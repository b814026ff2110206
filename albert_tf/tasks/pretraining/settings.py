"""Settings of the pre-training scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from albert_tf.cli.paths import PATHS
from albert_tf.cli.settings import (
    LARGEST_BATCH,
    LONGEST_SEQUENCE,
    Group,
    evaluation_setting,
    path_setting,
    setting,
    training_setting,
)
from albert_tf.io.bounds import LARGEST_INT
from albert_tf.tasks.options import RunSettings, TextSettings, WorkerSettings


@dataclass(frozen=True)
class PretrainingSettings(RunSettings):
    """Record files, evaluation, optimizer and schedule."""

    expects_checkpoint = False  # pre-training starts from random weights

    input_file: Optional[str] = path_setting(
        "TFRecord files to train on: paths or *-patterns, separated by commas.",
        kind=PATHS,
        must_exist=("do_train",),
    )
    eval_file: Optional[str] = path_setting(
        "TFRecord files to evaluate on, in the same form. Default: input_file.",
        kind=PATHS,
        must_exist=("do_eval",),
    )
    num_train_steps: int = training_setting(
        125000, "Number of training steps; divided by the number of devices.", lower=1
    )
    num_warmup_steps: int = training_setting(
        3125, "Number of warm-up steps of the learning rate; divided by the number of devices."
    )
    optimizer: str = training_setting("lamb", "Optimizer.", choices=("adamw", "lamb"))
    masked_lm_budget: int = training_setting(
        0,
        "Maximum number of tokens to mask in a record with dynamic masking, which draws new masks "
        "(of up to 15% of the tokens) each time a record is read. 0 keeps the stored masks.",
        affects_predictions=True,
    )
    start_warmup_step: int = training_setting(0, "Global step at which warm-up starts.")
    poly_power: float = training_setting(
        1.0, "Power of the polynomial decay of the learning rate.", upper=1000
    )
    init_from_group0: bool = training_setting(
        False,
        "Whether to initialize groups missing in init_checkpoint from its group 0.",
        affects_training=False,
    )
    max_predictions_per_seq: int = setting(
        20, "Room for predictions in a record.", lower=1, upper=LONGEST_SEQUENCE, group=Group.TEXT
    )
    do_eval: bool = evaluation_setting(False, "Whether to evaluate the checkpoints.")
    eval_batch_size: int = evaluation_setting(
        64, "Records in an evaluation batch.", lower=1, upper=LARGEST_BATCH
    )
    max_eval_steps: int = evaluation_setting(
        100, "Maximum number of batches to evaluate on.", lower=1
    )

    @property
    def needs_vocabulary(self) -> bool:
        """Whether the run masks dynamically."""
        return self.masked_lm_budget > 0

    @property
    def shares_group_0(self) -> bool:
        """Whether groups missing in the checkpoint start from its group 0."""
        return self.init_from_group0


@dataclass(frozen=True)
class RecordSettings(TextSettings, WorkerSettings):
    """Settings of `create_pretraining_data.py`: text, record files and instances."""

    input_file: Optional[str] = path_setting(
        "Text files, as paths or *-patterns separated by commas, with one sentence per line and "
        "an empty line between documents.",
        kind=PATHS,
        must_exist=True,
    )
    output_file: Optional[str] = path_setting(
        "TFRecord files to write, separated by commas.", kind=PATHS
    )
    input_file_mode: str = setting(
        "r",
        "Treatment of bytes that are not UTF-8: r reports an error, rb drops them.",
        choices=("r", "rb"),
    )
    do_whole_word_mask: bool = setting(True, "Whether to mask whole words.")
    do_permutation: bool = setting(False, "Whether to permute as many tokens as are masked.")
    favor_shorter_ngram: bool = setting(
        True, "Whether to favor short n-grams, with a probability proportional to 1/n."
    )
    random_next_sentence: bool = setting(
        False,
        "Whether to make pairs with label 1 from two documents instead of swapping the segments.",
    )
    ngram: int = setting(
        3, "Maximum length of a masked n-gram, in words.", lower=1, upper=LONGEST_SEQUENCE
    )
    max_predictions_per_seq: int = setting(
        20,
        "Maximum number of masked tokens in an instance.",
        lower=1,
        upper=LONGEST_SEQUENCE,
    )
    random_seed: int = setting(12345, "Seed of all random choices.", lower=-LARGEST_INT - 1)
    dupe_factor: int = setting(
        40, "Number of passes over the text, each with different pairs and masks.", lower=1
    )
    masked_lm_prob: float = setting(0.15, "Fraction of the tokens to mask.", upper=1)
    short_seq_prob: float = setting(
        0.1,
        "Fraction of the documents with instances of a random shorter length.",
        upper=1,
    )

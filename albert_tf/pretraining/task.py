"""Pre-training as a task: masked language model and sentence order on given record files."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf import files
from albert_tf.errors import InputError
from albert_tf.pretraining import heads
from albert_tf.pretraining.heads import IDS, ORDER, POSITIONS, WEIGHTS
from albert_tf.pretraining.masking import Masker
from albert_tf.pretraining.settings import PretrainingSettings
from albert_tf.records.record_files import RecordFields
from albert_tf.runs.problems import Problems
from albert_tf.runs.task import MODEL_INPUTS, Evaluation, RecordFiles, Schedule, Task
from modeling import AlbertModel


def record_fields(max_seq_length: int, num_predictions: int) -> RecordFields:
    """Fields of a record that the model reads."""
    sequence = tf.io.FixedLenFeature([max_seq_length], tf.int64)
    return {
        **dict.fromkeys(MODEL_INPUTS, sequence),
        POSITIONS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        IDS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        WEIGHTS: tf.io.FixedLenFeature([num_predictions], tf.float32),
        ORDER: tf.io.FixedLenFeature([1], tf.int64),
    }


class PretrainingTask(Task):
    """Masked n-grams, and the order of two segments."""

    settings: PretrainingSettings
    expects_checkpoint = False
    masker: Masker | None = None

    @classmethod
    def needs_tokenizer(cls, settings: PretrainingSettings) -> bool:
        """Whether the task needs a vocabulary: only dynamic masking does."""
        return settings.masked_lm_budget > 0

    @property
    def shares_group_0(self) -> bool:
        """Whether groups that a checkpoint lacks start from its group 0."""
        return self.settings.init_from_group0

    def read_inputs(self, problems: Problems) -> None:
        """Find the record files, and collect what is wrong with them and with the settings."""
        settings = self.settings
        if not (settings.do_train or settings.do_eval or settings.export_dir):
            problems.add("there is nothing to do: give --do_train or --do_eval")
        with problems.collected():
            if settings.do_train:
                paths = files.matching_files("input_file", settings.input_file)
                self.train_set = RecordFiles("input_file", paths, id_fields=("input_ids", IDS))
        with problems.collected():
            if settings.do_eval:
                flag = "eval_file" if settings.eval_file else "input_file"
                eval_set = RecordFiles(
                    flag,
                    files.matching_files(flag, getattr(settings, flag)),
                    batch_size=settings.eval_batch_size,
                    max_records=settings.max_eval_steps * settings.eval_batch_size,
                    id_fields=("input_ids", IDS),
                )
                self.eval_sets = [eval_set]
        with problems.collected():
            if settings.masked_lm_budget:
                self._make_masker()

    def _make_masker(self):
        budget = self.settings.masked_lm_budget
        room = self.settings.max_predictions_per_seq
        if budget > room:
            raise InputError(
                f"--masked_lm_budget {budget} is more than --max_predictions_per_seq {room}: lower "
                "the first"
            )
        if self.tokenizer:
            if "[MASK]" not in self.tokenizer.vocab:
                raise InputError(
                    "--masked_lm_budget: the vocabulary has no [MASK]; give the vocabulary that "
                    "the records were made with"
                )
            self.masker = Masker(self.tokenizer, budget)

    @property
    def schedule(self) -> Schedule:
        """Length of training, and course of the learning rate."""
        settings = self.settings
        return Schedule(
            steps=settings.num_train_steps,
            warmup_steps=settings.num_warmup_steps,
            is_divided=True,
            optimizer=settings.optimizer,
            poly_power=settings.poly_power,
            start_warmup_step=settings.start_warmup_step,
        )

    @property
    def answer_settings(self) -> dict[str, Any]:
        """Further settings that answers depend on; JSON values by name."""
        settings = self.settings
        return {
            "max_records": settings.max_eval_steps * settings.eval_batch_size,
            "masked_lm_budget": settings.masked_lm_budget,
        }

    @property
    def exported_settings(self) -> dict[str, Any]:
        """Settings that an exported model carries for its users; JSON values by name."""
        return self.feature_settings

    def fields(self, data_set: RecordFiles) -> RecordFields:
        """Fields of the records of a data set."""
        settings = self.settings
        fields = record_fields(settings.max_seq_length, settings.max_predictions_per_seq)
        if settings.masked_lm_budget:
            fields["token_boundary"] = fields["input_ids"]
        return fields

    def prepare(self, numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Mask the records of a batch anew while they are read, if that is asked for."""
        return self.masker.mask_batch(numbers, features) if self.masker else features

    def denominators(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Sum of the predictions' weights, which the masked-LM loss is divided by."""
        return {heads.DENOMINATOR: heads.masked_lm_denominator(features[WEIGHTS])}

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build both heads and the sum of their losses."""
        return heads.pretraining_loss(self.config, encoder, features)

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build both heads for evaluation, or for an exported model: see `heads`."""
        if POSITIONS in features:
            return heads.example_sums(self.config, encoder, features)
        return heads.log_probabilities(self.config, encoder)

    def evaluate(self, data_set: RecordFiles, answers: Sequence[dict]) -> Evaluation:
        """Accuracies and losses over all records."""
        sums = {name: np.sum([answer[name] for answer in answers]) for name in answers[0]}
        num_predictions = sums.pop(WEIGHTS)
        return Evaluation(
            {
                name: float(
                    value / (num_predictions if name.startswith("masked_lm") else len(answers))
                )
                for name, value in sums.items()
            }
        )

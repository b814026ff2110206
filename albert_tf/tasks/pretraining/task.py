"""Pre-training task: masked language model and sentence order, on record files."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.cli.problems import Problems
from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.records.record_files import RecordFields
from albert_tf.report.blocks import Section
from albert_tf.tasks.base import (
    MODEL_INPUTS,
    DataSet,
    Evaluation,
    Prediction,
    RecordFiles,
    Schedule,
    Task,
)
from albert_tf.tasks.pretraining import heads, report
from albert_tf.tasks.pretraining.heads import IDS, ORDER, POSITIONS, WEIGHTS
from albert_tf.tasks.pretraining.masking import Masker
from albert_tf.tasks.pretraining.settings import PretrainingSettings
from modeling import AlbertModel

_DETAILS = "details"  # of an answer: the predictions of its record, for the report page


def record_fields(max_seq_length: int, num_predictions: int) -> RecordFields:
    """Record fields that the model reads.

    Args:
      max_seq_length: length of the records, in pieces.
      num_predictions: room for predictions in a record.
    """
    sequence = tf.io.FixedLenFeature([max_seq_length], tf.int64)
    return {
        **dict.fromkeys(MODEL_INPUTS, sequence),
        POSITIONS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        IDS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        WEIGHTS: tf.io.FixedLenFeature([num_predictions], tf.float32),
        ORDER: tf.io.FixedLenFeature([1], tf.int64),
    }


class PretrainingTask(Task):
    """Pre-training: prediction of masked n-grams and of the order of two segments.

    Attributes:
      masker: dynamic masking of the records; None to keep the stored masks.
    """

    settings: PretrainingSettings
    title = "Pre-training"
    expects_checkpoint = False
    masker: Masker | None = None

    @classmethod
    def needs_tokenizer(cls, settings: PretrainingSettings) -> bool:
        """Whether the task needs a vocabulary, that is, masks dynamically."""
        return settings.masked_lm_budget > 0

    @property
    def shares_group_0(self) -> bool:
        """Whether groups missing in the checkpoint start from its group 0."""
        return self.settings.init_from_group0

    def read_inputs(self, problems: Problems) -> None:
        """Find the record files, and collect problems with them and with the settings."""
        settings = self.settings
        if not (settings.do_train or settings.do_eval or settings.exports):
            problems.add("nothing to do: give --do_train or --do_eval")
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

    def _make_masker(self) -> None:
        budget = self.settings.masked_lm_budget
        room = self.settings.max_predictions_per_seq
        if budget > room:
            raise InputError(
                f"--masked_lm_budget {budget} exceeds --max_predictions_per_seq {room}: lower it"
            )
        if self.tokenizer:
            if "[MASK]" not in self.tokenizer.vocab:
                raise InputError(
                    "--masked_lm_budget: the vocabulary has no [MASK]; give the vocabulary of the "
                    "records"
                )
            self.masker = Masker(self.tokenizer, budget, seed=self.settings.seed)

    @property
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""
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
        """Settings that the metrics depend on; JSON values by name."""
        settings = self.settings
        masks = {"masked_lm_budget": settings.masked_lm_budget}
        if settings.masked_lm_budget:
            masks["seed"] = settings.seed
        return {"max_records": settings.max_eval_steps * settings.eval_batch_size, **masks}

    @property
    def exported_settings(self) -> dict[str, Any]:
        """Settings to store with a model, for its later use; JSON values by name."""
        return self.feature_settings

    def fields(self, data_set: DataSet | RecordFiles) -> RecordFields:
        """Fields of the records of a data set."""
        settings = self.settings
        fields = record_fields(settings.max_seq_length, settings.max_predictions_per_seq)
        if not settings.masked_lm_budget:
            return fields
        return {**fields, "token_boundary": fields["input_ids"]}

    def prepare(self, numbers: tf.Tensor, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Apply dynamic masking to the records of a batch, if it is on."""
        return self.masker.mask_batch(numbers, features) if self.masker else features

    def denominators(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Denominator of the masked-LM loss: the sum of the predictions' weights."""
        return {heads.DENOMINATOR: heads.masked_lm_denominator(features[WEIGHTS])}

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build both heads and the sum of their losses."""
        return heads.pretraining_loss(self.needed_config, encoder, features)

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build both heads for evaluation, or for an exported model; see `heads`."""
        if POSITIONS not in features:
            return heads.log_probabilities(self.needed_config, encoder)
        if not self.settings.write_report:
            return heads.example_sums(self.needed_config, encoder, features)
        num_best = min(report.NUM_BEST, self.needed_config.vocab_size)
        shown = {name: features[name] for name in ("input_ids", POSITIONS, IDS, ORDER)}
        return {**heads.example_sums(self.needed_config, encoder, features, num_best), **shown}

    def answers(
        self, examples: Sequence[int], predictions: Iterable[Prediction]
    ) -> list[dict[str, Any]]:
        """Sums of each record, by name; the first records have `details` for the report page."""
        answers = {}
        for prediction in predictions:
            outputs = prediction.outputs
            answer = {name: x.item() for name, x in outputs.items() if x.ndim == 0}
            if "best_ids" in outputs and prediction.number < report.SHOWN_RECORDS:
                answer[_DETAILS] = _details(outputs)
            answers[prediction.number] = answer
        return [answers[number] for number in sorted(answers)]

    def evaluate(self, data_set: RecordFiles, answers: Sequence[dict[str, Any]]) -> Evaluation:
        """Compute accuracies and losses over all records."""
        names = [name for name in answers[0] if name != _DETAILS]
        sums = {name: np.sum([answer[name] for answer in answers]) for name in names}
        num_predictions = sums.pop(WEIGHTS)
        return Evaluation(
            {
                name: float(
                    value / (num_predictions if name.startswith("masked_lm") else len(answers))
                )
                for name, value in sums.items()
            }
        )

    def report_sections(
        self, data_set: RecordFiles, answers: Sequence[dict[str, Any]]
    ) -> list[Section]:
        """Sections of the report page: accuracies, losses, and predictions of some records."""
        details = [answer[_DETAILS] for answer in answers if _DETAILS in answer]
        metrics = self.evaluate(data_set, answers).metrics
        return report.sections(metrics, details[: report.SHOWN_RECORDS], self.tokenizer)


def _details(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Predictions of a record, as JSON values; unused predictions and padding are left out."""
    used = round(float(outputs[WEIGHTS]))
    length = int(np.max(np.flatnonzero(outputs["input_ids"]), initial=0)) + 1
    return {
        "input_ids": outputs["input_ids"][:length].tolist(),
        "positions": outputs[POSITIONS][:used].tolist(),
        "true_ids": outputs[IDS][:used].tolist(),
        "best_ids": outputs["best_ids"][:used].tolist(),
        "best_log_probs": outputs["best_log_probs"][:used].tolist(),
        "order": int(outputs[ORDER][0]),
        "order_is_right": bool(outputs["sentence_order_accuracy"]),
    }

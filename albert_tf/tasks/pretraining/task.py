"""Pre-training task: masked language model and sentence order, on record files."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from albert_tf.io import files
from albert_tf.io.errors import InputError
from albert_tf.records.record_files import RecordFields
from albert_tf.records.splits import DEV, TRAIN, RecordSplit, Split, Splits
from albert_tf.tasks.base import (
    Artifacts,
    Evaluation,
    HasDenominators,
    HasDynamicFeatures,
    Problems,
    RecordOutput,
    Schedule,
    Task,
    sequence_fields,
)
from albert_tf.tasks.pretraining import heads, report
from albert_tf.tasks.pretraining.heads import IDS, ORDER, POSITIONS, WEIGHTS
from albert_tf.tasks.pretraining.masking import Masker
from albert_tf.tasks.pretraining.settings import PretrainingSettings
from modeling import AlbertConfig, AlbertModel
from tokenization import FullTokenizer

_DETAILS = "details"  # of a prediction: details of its record, for the report page
_ID_FIELDS = ("input_ids", IDS)


def record_fields(max_seq_length: int, num_predictions: int) -> RecordFields:
    """Record fields that the model reads.

    Args:
      max_seq_length: length of the records, in pieces.
      num_predictions: room for predictions in a record.
    """
    return {
        **sequence_fields(max_seq_length),
        POSITIONS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        IDS: tf.io.FixedLenFeature([num_predictions], tf.int64),
        WEIGHTS: tf.io.FixedLenFeature([num_predictions], tf.float32),
        ORDER: tf.io.FixedLenFeature([1], tf.int64),
    }


class PretrainingTask(HasDynamicFeatures, HasDenominators, Task):
    """Pre-training: prediction of masked n-grams and of the order of two segments.

    Attributes:
      masker: dynamic masking of the records; None to keep the stored masks.
    """

    settings: PretrainingSettings
    kind = "pretraining"
    title = "Pre-training"

    def __init__(
        self,
        settings: PretrainingSettings,
        config: AlbertConfig,
        tokenizer: FullTokenizer | None,
        splits: Splits,
    ):
        """Create the task; `InputError` if it is to mask, but the vocabulary has no [MASK]."""
        super().__init__(settings, config, tokenizer, splits)
        self.masker: Masker | None = None
        if settings.masked_lm_budget:
            assert tokenizer is not None
            if "[MASK]" not in tokenizer.vocab:
                raise InputError(
                    "--masked_lm_budget: the vocabulary has no [MASK]; give the vocabulary of the "
                    "records"
                )
            self.masker = Masker(tokenizer, settings.masked_lm_budget, seed=settings.seed)

    @classmethod
    def read(
        cls, settings: PretrainingSettings, artifacts: Artifacts, problems: Problems
    ) -> Splits:
        """Find the record files, and collect problems with them and with the settings."""
        if not (settings.do_train or settings.do_eval or settings.exports):
            problems.add("nothing to do: give --do_train or --do_eval")
        train, dev = None, []
        with problems.collected():
            if settings.do_train:
                paths = files.matching_files("input_file", settings.input_file)
                train = RecordSplit(TRAIN, "input_file", paths, id_fields=_ID_FIELDS)
        with problems.collected():
            if settings.do_eval:
                flag = "eval_file" if settings.eval_file else "input_file"
                split = RecordSplit(
                    DEV,
                    flag,
                    files.matching_files(flag, getattr(settings, flag)),
                    settings.eval_batch_size,
                    settings={"seed": settings.seed} if settings.masked_lm_budget else {},
                    max_records=settings.max_eval_steps * settings.eval_batch_size,
                    id_fields=_ID_FIELDS,
                )
                dev.append(split)
        budget, room = settings.masked_lm_budget, settings.max_predictions_per_seq
        if budget > room:
            problems.add(
                f"--masked_lm_budget {budget} exceeds --max_predictions_per_seq {room}: lower it"
            )
        return Splits(train, dev)

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

    def fields(self, split: Split | RecordSplit) -> RecordFields:
        """Fields of the records of a split."""
        settings = self.settings
        fields = record_fields(settings.max_seq_length, settings.max_predictions_per_seq)
        if not settings.masked_lm_budget:
            return fields
        return {**fields, "token_boundary": fields["input_ids"]}

    def dynamic_features(
        self, numbers: tf.Tensor, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Apply dynamic masking to the records of a batch, if it is on."""
        return self.masker.mask_batch(numbers, features) if self.masker else features

    def denominators(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Denominator of the masked-LM loss: the sum of the predictions' weights."""
        return {heads.DENOMINATOR: heads.masked_lm_denominator(features[WEIGHTS])}

    def loss(self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Build both heads and the sum of their losses."""
        return heads.pretraining_loss(self.config, encoder, features)

    def outputs(
        self, encoder: AlbertModel, features: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Build both heads for evaluation, or for an exported model; see `heads`."""
        if POSITIONS not in features:
            return heads.log_probabilities(self.config, encoder)
        if not self.settings.write_report:
            return heads.example_sums(self.config, encoder, features)
        num_best = min(report.NUM_BEST, self.config.vocab_size)
        shown = {name: features[name] for name in ("input_ids", POSITIONS, IDS, ORDER)}
        return {**heads.example_sums(self.config, encoder, features, num_best), **shown}

    def predictions(
        self, examples: Sequence[int], outputs: Iterable[RecordOutput]
    ) -> list[dict[str, Any]]:
        """Sums of each record, by name; the first records have `details` for the report page."""
        found = {}
        for output in outputs:
            values = output.outputs
            prediction = {name: x.item() for name, x in values.items() if x.ndim == 0}
            if "best_ids" in values and output.number < report.SHOWN_RECORDS:
                prediction[_DETAILS] = _details(values)
            found[output.number] = prediction
        return [found[number] for number in sorted(found)]

    def evaluate(
        self,
        split: RecordSplit,
        predictions: Sequence[dict[str, Any]],
        thresholds: Mapping[str, float],
    ) -> Evaluation:
        """Compute accuracies and losses over all records."""
        names = [name for name in predictions[0] if name != _DETAILS]
        sums = {name: np.sum([found[name] for found in predictions]) for name in names}
        num_predictions = sums.pop(WEIGHTS)
        metrics = {
            name: float(
                value / (num_predictions if name.startswith("masked_lm") else len(predictions))
            )
            for name, value in sums.items()
        }
        details = [found[_DETAILS] for found in predictions if _DETAILS in found]
        return Evaluation(
            metrics,
            sections=lambda: report.sections(
                metrics, details[: report.SHOWN_RECORDS], self.tokenizer
            ),
        )


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

"""Base of the tasks of SQuAD v1.1 and v2.0: questions, records, and answers from outputs."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Iterable, Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.cli.problems import Problems
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject
from albert_tf.records.record_files import RecordFields
from albert_tf.report.blocks import Section
from albert_tf.tasks.base import DataSet, Prediction, Record, RecordFiles, Schedule, Skipped, Task
from albert_tf.tasks.squad import features as squad_features
from albert_tf.tasks.squad import report
from albert_tf.tasks.squad.answers import AnswerCollector
from albert_tf.tasks.squad.data import Question, read_squad
from albert_tf.tasks.squad.features import FeatureConverter, FeatureSettings, Window
from albert_tf.tasks.squad.settings import SquadSettings


class SquadTask(Task):
    """Prediction of the span of a paragraph that answers a question: base class.

    Attributes:
      version: version of SQuAD; see `data`.
      collector_class: class that makes the answers from the outputs of the head.
    """

    settings: SquadSettings
    fate_of_long_examples = "read in several windows"
    version: ClassVar[str]
    collector_class: ClassVar[type[AnswerCollector]]
    counter = ("unique_ids", squad_features.FIRST_UNIQUE_ID)

    def read_inputs(self, problems: Problems) -> None:
        """Read the questions, and collect problems with them and with the settings."""
        settings = self.settings
        if not (settings.do_train or settings.do_predict):
            problems.add("nothing to do: give --do_train or --do_predict")
        with problems.collected():
            squad_features.check_room(settings.max_seq_length, settings.max_query_length)
        if not settings.spm_model_file:
            problems.add(
                "--spm_model_file is missing: give the SentencePiece model that comes with the "
                "model (30k-clean.model)"
            )
        with problems.collected():
            if settings.do_train:
                path = self._given_path("train_file", settings.train_file)
                self.train_set = DataSet(
                    record_name="train_features.tfrecord",
                    record_file=settings.train_feature_file,
                    inputs={"train_file": path},
                    examples=read_squad(path, for_training=True, version=self.version),
                )
        with problems.collected():
            if settings.do_predict:
                path = self._given_path("predict_file", settings.predict_file)
                predict_set = DataSet(
                    record_name="predict_features.tfrecord",
                    record_file=settings.predict_feature_file,
                    companion_name="predict_windows.tfrecord",
                    companion_file=settings.predict_feature_left_file,
                    inputs={"predict_file": path},
                    examples=read_squad(path, for_training=False, version=self.version),
                    batch_size=settings.predict_batch_size,
                )
                self.eval_sets = [predict_set]

    def _given_path(self, flag: str, path: str | None) -> str:
        if not path:
            raise InputError(f"--{flag} is missing: give a SQuAD {self.version} file")
        return path

    @property
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""
        settings = self.settings
        return Schedule(
            steps=settings.train_steps if settings.train_steps > 0 else None,
            epochs=settings.num_train_epochs,
            warmup_proportion=settings.warmup_proportion,
        )

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings that the records depend on; JSON values by name."""
        return dataclasses.asdict(self._feature_settings)

    @property
    def _feature_settings(self) -> FeatureSettings:
        settings = self.settings
        return FeatureSettings(
            settings.max_seq_length,
            settings.doc_stride,
            settings.max_query_length,
            settings.do_lower_case,
        )

    @property
    def answer_settings(self) -> dict[str, Any]:
        """Further settings that the answers depend on; JSON values by name."""
        return {
            "n_best_size": self.settings.n_best_size,
            "max_answer_length": self.settings.max_answer_length,
        }

    def fields(self, data_set: DataSet | RecordFiles) -> RecordFields:
        """Fields of the records of a data set."""
        scalar = tf.io.FixedLenFeature([], tf.int64)
        fields = {"unique_ids": scalar, **self.sequence_fields}
        if data_set is self.train_set:
            fields.update({"start_positions": scalar, "end_positions": scalar})
        return fields

    def records(
        self, data_set: DataSet, examples: Mapping[int, Question]
    ) -> Iterator[Record | Skipped]:
        """Yield the records of a chunk of questions, one per window, in order."""
        for_training = data_set is self.train_set
        converter = FeatureConverter(self.needed_tokenizer, self._feature_settings)
        for feature in converter.features(examples.values(), for_training, min(examples)):
            values = feature.record(self.settings.max_seq_length, for_training)
            yield Record(values, dataclasses.asdict(feature.window), feature.whole_length)
        for name in converter.dropped:
            yield Skipped(name, "normalization leaves nothing of their paragraph")

    def belong_together(self, first: Question, second: Question) -> bool:
        """Whether two questions have the same paragraph, which is then tokenized once."""
        return first.paragraph == second.paragraph

    def answers(self, examples: Sequence[Question], predictions: Iterable[Prediction]) -> list[Any]:
        """Find the answers to each question; see `AnswerCollector.answer`."""
        settings = self.settings
        collector = self.collector_class(settings.n_best_size, settings.max_answer_length)
        for prediction in predictions:
            assert prediction.companion is not None  # as the data set has companions
            window = _window(prediction.companion, examples, settings.max_seq_length)
            collector.add(window, examples[window.question].paragraph, prediction.outputs)
        return [collector.answer(number) for number in range(len(examples))]

    def report_sections(
        self, data_set: DataSet, answers: Sequence[dict[str, Any]]
    ) -> list[Section]:
        """Sections of the report page; none without true answers."""
        return report.sections(report.outcomes(data_set.examples, answers))


def _window(companion: JsonObject, examples: Sequence[Question], max_seq_length: int) -> Window:
    """Make a window from its companion, and check that it fits the examples."""
    question = companion.integer("question", 0, len(examples) - 1)
    window = Window(
        question,
        companion.integer("index", 0),
        companion.integer("first_position", 0, max_seq_length),
        *(companion.array(name) for name in ("start_to_char", "end_to_char", "max_context")),
    )
    characters = range(len(examples[question].paragraph) + 1)
    offsets = [*window.start_to_char, *window.end_to_char]
    lengths = {len(window.start_to_char), len(window.end_to_char), len(window.max_context)}
    if (
        len(lengths) > 1
        or window.num_positions > max_seq_length
        or not all(type(offset) is int and offset in characters for offset in offsets)
        or not all(type(value) is bool for value in window.max_context)
    ):
        raise companion.error("the window does not fit its question")
    return window

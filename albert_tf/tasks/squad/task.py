"""Base of the tasks of SQuAD v1.1 and v2.0: questions, records, and answers from outputs."""

from __future__ import annotations

from typing import Any, ClassVar, Iterable, Iterator, Mapping, Sequence

import tensorflow.compat.v1 as tf

from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject
from albert_tf.records.record_files import RecordFields
from albert_tf.records.splits import DEV, TRAIN, Record, RecordSplit, Skipped, Split, Splits
from albert_tf.tasks.base import Artifacts, Problems, RecordOutput, Schedule, Task, sequence_fields
from albert_tf.tasks.squad import features as squad_features
from albert_tf.tasks.squad.answers import AnswerCollector
from albert_tf.tasks.squad.data import Question, read_squad
from albert_tf.tasks.squad.features import Window
from albert_tf.tasks.squad.settings import SquadSettings
from tokenization import FullTokenizer


class SquadTask(Task):
    """Prediction of the span of a paragraph that answers a question: base class.

    Attributes:
      version: version of SQuAD; see `data`.
      collector_class: class that makes the answers from the outputs of the head.
    """

    settings: SquadSettings
    tokenizer: FullTokenizer
    version: ClassVar[str]
    collector_class: ClassVar[type[AnswerCollector]]

    @classmethod
    def read(cls, settings: SquadSettings, artifacts: Artifacts, problems: Problems) -> Splits:
        """Read the questions, and collect problems with them and with the settings."""
        if not (settings.do_train or settings.do_predict):
            problems.add("nothing to do: give --do_train or --do_predict")
        with problems.collected():
            squad_features.check_room(settings.max_seq_length, settings.max_query_length)
        if not settings.spm_model_file:
            problems.add(
                "--spm_model_file is missing: give the SentencePiece model that comes with the "
                "model (30k-clean.model)"
            )
        train, dev = None, []
        with problems.collected():
            if settings.do_train:
                train = cls._split(
                    TRAIN,
                    "train_features.tfrecord",
                    "train_file",
                    settings.train_file,
                    record_file=settings.train_feature_file,
                )
        with problems.collected():
            if settings.do_predict:
                predict = cls._split(
                    DEV,
                    "predict_features.tfrecord",
                    "predict_file",
                    settings.predict_file,
                    batch_size=settings.predict_batch_size,
                    record_file=settings.predict_feature_file,
                    companion_name="predict_windows.tfrecord",
                    companion_file=settings.predict_feature_left_file,
                )
                dev.append(predict)
        return Splits(train, dev)

    @classmethod
    def _split(
        cls, name: str, record_name: str, flag: str, path: str | None, **options: Any
    ) -> Split:
        if not path:
            raise InputError(f"--{flag} is missing: give a SQuAD {cls.version} file")
        questions = read_squad(path, name == TRAIN, cls.version)
        numbered = ("unique_ids", squad_features.FIRST_UNIQUE_ID)
        return Split(name, record_name, {flag: path}, questions, numbered=numbered, **options)

    @property
    def schedule(self) -> Schedule:
        """Length of training, optimizer and learning-rate schedule."""
        settings = self.settings
        return Schedule(
            steps=settings.train_steps if settings.train_steps > 0 else None,
            epochs=settings.num_train_epochs,
            warmup_proportion=settings.warmup_proportion,
        )

    def fields(self, split: Split | RecordSplit) -> RecordFields:
        """Fields of the records of a split."""
        scalar = tf.io.FixedLenFeature([], tf.int64)
        fields = {"unique_ids": scalar, **sequence_fields(self.settings.max_seq_length)}
        if split.name == TRAIN:
            fields.update({"start_positions": scalar, "end_positions": scalar})
        return fields

    def records(self, split: Split, examples: Mapping[int, Question]) -> Iterator[Record | Skipped]:
        """Yield the records of some questions, one per window, in order."""
        settings, for_training = self.settings, split.name == TRAIN
        converted = set()
        for feature in squad_features.make_features(
            examples.values(), self.tokenizer, settings, for_training, min(examples)
        ):
            converted.add(feature.window.question)
            values = feature.record(settings.max_seq_length, for_training)
            yield Record(values, vars(feature.window))
        for number, question in examples.items():
            if number not in converted:
                yield Skipped(question.id, "normalization leaves nothing of their paragraph")

    def predictions(
        self, examples: Sequence[Question], outputs: Iterable[RecordOutput]
    ) -> list[Any]:
        """Find the answers to each question; see `AnswerCollector.answer`."""
        settings = self.settings
        collector = self.collector_class(settings.n_best_size, settings.max_answer_length)
        for output in outputs:
            assert output.companion is not None  # as the split has companions
            window = _window(output.companion, examples, settings.max_seq_length)
            collector.add(window, examples[window.question].paragraph, output.outputs)
        return [collector.answer(number) for number in range(len(examples))]


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

"""RACE: head with a score per option, loss, accuracy by level, predictions of the test set."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from albert_tf.cli.problems import Problems
from albert_tf.records.record_files import RecordFields
from albert_tf.tasks.base import MODEL_INPUTS, DataSet, Evaluation, Record
from albert_tf.tasks.classification.metrics import accuracy, warn_of_one_label
from albert_tf.tasks.classification.task import ClassificationTask
from albert_tf.tasks.race.data import LETTERS, LEVELS, Example, find_articles, read_articles
from albert_tf.tasks.race.features import check_room, make_features
from albert_tf.tasks.race.settings import RaceSettings

_RESULTS, _TEST_ACCURACY = "test_results.tsv", "test_accuracy.json"


def option_logits(pooled_output: tf.Tensor) -> tf.Tensor:
    """Build the head: a score for each option of a question.

    Args:
      pooled_output: float tensor [B * 4, D], the options of each question one after the other.

    Returns:
      Float tensor [B, 4].
    """
    scores = modeling.output_layer(pooled_output, 1)
    return tf.reshape(scores, [-1, len(LETTERS)])


class RaceTask(ClassificationTask):
    """RACE: choice among four options that answer a question about an article.

    A record has four sequences, one per option; the encoder reads them as rows of one batch.
    """

    settings: RaceSettings
    title = "RACE"
    labels = LETTERS
    metrics = (accuracy,)

    def read_inputs(self, problems: Problems) -> None:
        """Read the articles, and collect problems with them and with the settings."""
        settings = self.settings
        self.check_settings(problems)
        with problems.collected():
            check_room(settings.max_seq_length, settings.max_qa_length)
        if settings.high_only and settings.middle_only:
            problems.add("--high_only and --middle_only exclude each other: give one of them")
            return
        wanted = settings.wanted_splits
        if wanted and not settings.data_dir:
            problems.add("--data_dir is missing: give the folder RACE, or its parent folder")
            return
        data_sets = {split: self._data_sets(split, problems) for split in wanted}
        self.train_set = next(iter(data_sets.get("train", ())), None)
        self.eval_sets = data_sets.get("dev", [])
        self.test_sets = data_sets.get("test", [])

    def _data_sets(self, split: str, problems: Problems) -> list[DataSet]:
        """Read a split, "train", "dev" or "test": one data set, or none if there are problems."""
        settings = self.settings
        examples: list[Example] = []
        paths = problems.result(find_articles, settings.data_dir, split, settings.levels) or {}
        for level, path in zip(settings.levels, paths.values()):
            with problems.collected():
                examples += read_articles(path, level, needs_answers=split != "test")
        if not examples:
            return []
        name, record_file, batch_size = {
            "train": ("train", settings.train_file, settings.train_batch_size),
            "dev": ("eval", settings.eval_file, settings.eval_batch_size),
            "test": ("predict", settings.predict_file, settings.predict_batch_size),
        }[split]
        data_set = DataSet(
            record_name=f"race_{name}.tf_record",
            record_file=record_file,
            record_dir=settings.cached_dir,
            inputs=paths,
            examples=examples,
            batch_size=batch_size,
        )
        if split == "test":
            has_answers = all(example.label is not None for example in examples)
            data_set.predicted_names = (_RESULTS, _TEST_ACCURACY) if has_answers else (_RESULTS,)
        return [data_set]

    @property
    def output_dropout(self) -> float:
        """Dropout of the pooled output in training."""
        return self.settings.dropout_prob

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Settings that the records depend on; JSON values by name."""
        return {"max_qa_length": self.settings.max_qa_length, **super().feature_settings}

    @property
    def exported_settings(self) -> dict[str, Any]:
        """Settings to store with a model: `convert_checkpoint.py` tells its head by the task."""
        return {"task_name": "race", **super().exported_settings}

    @property
    def sequence_fields(self) -> RecordFields:
        """Fields of the encoder's inputs: a sequence per option."""
        shape = [len(LETTERS), self.settings.max_seq_length]
        return dict.fromkeys(MODEL_INPUTS, tf.io.FixedLenFeature(shape, tf.int64))

    def records(self, data_set: DataSet, examples: Mapping[int, Example]) -> Iterator[Record]:
        """Yield the records of a chunk of questions, in order."""
        settings = self.settings
        features = make_features(
            examples.values(),
            self.needed_tokenizer,
            settings.max_seq_length,
            settings.max_qa_length,
            settings.do_lower_case,
        )
        for feature in features:
            yield Record(feature.record(settings.max_seq_length), length=feature.whole_length)

    def belong_together(self, first: Example, second: Example) -> bool:
        """Whether two questions have the same article, which is then tokenized once."""
        return first.article == second.article

    def logits(self, pooled_output: tf.Tensor) -> tf.Tensor:
        """Build the scores of the options; see `option_logits`."""
        return option_logits(pooled_output)

    def evaluate(self, data_set: DataSet, answers: Sequence[dict[str, Any]]) -> Evaluation:
        """Compute the accuracy of all questions, and of those of each level."""
        labels = [example.label for example in data_set.examples]
        warn_of_one_label(labels, [answer["predictions"] for answer in answers], LETTERS)
        return Evaluation(accuracies(data_set.examples, answers))

    def texts_of(self, example: Example) -> list[tuple[str, str]]:
        """The question and its options, with their names, for the report page."""
        return [("Question", example.question), *zip(LETTERS, example.options)]

    def passages(self, data_set: DataSet) -> list[str]:
        """Article of each question, for the report page."""
        return [example.article for example in data_set.examples]

    def predicted_files(
        self, data_set: DataSet, answers: Sequence[dict[str, Any]]
    ) -> dict[str, str]:
        """Contents of the files of the test set, by name.

        `test_results.tsv` has a line per question: the probabilities of its four options, the
        letter of the most probable one, and the question's id. `test_accuracy.json` has the
        accuracies, if all answers are known.
        """
        lines = []
        for example, answer in zip(data_set.examples, answers):
            values = np.array(answer["probabilities"], np.float32)
            lines.append("\t".join([*map(str, values), LETTERS[answer["predictions"]], example.id]))
        contents = {_RESULTS: "\n".join([*lines, ""])}
        if _TEST_ACCURACY in data_set.predicted_names:
            fractions = accuracies(data_set.examples, answers)
            contents[_TEST_ACCURACY] = json.dumps(fractions, indent=2) + "\n"
        return contents


def accuracies(examples: Sequence[Example], answers: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Compute accuracies, fractions from 0 to 1.

    Args:
      examples: questions with known answers.
      answers: for each question, the index of the predicted option as "predictions".

    Returns:
      "accuracy" of all questions, and "accuracy_middle" and "accuracy_high" of the levels that have
      questions.
    """
    labels = np.array([example.label for example in examples])
    predictions = np.array([answer["predictions"] for answer in answers])
    levels = np.array([example.level for example in examples])
    values = {"accuracy": accuracy(labels, predictions)}
    for level in LEVELS:
        if level in levels:
            is_of_level = levels == level
            values[f"accuracy_{level}"] = accuracy(labels[is_of_level], predictions[is_of_level])
    return values

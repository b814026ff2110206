"""RACE: head with a score per option, loss, accuracy by level, predictions of the test set."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from albert_tf.records.splits import DEV, TEST, TRAIN, Record, Split, Splits
from albert_tf.tasks.base import Artifacts, Problems
from albert_tf.tasks.classification.metrics import accuracy
from albert_tf.tasks.classification.task import KINDS, ClassificationTask, check_settings
from albert_tf.tasks.race.data import LETTERS, LEVELS, Example, find_articles, read_articles
from albert_tf.tasks.race.features import check_room, make_features
from albert_tf.tasks.race.settings import RaceSettings


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
    kind = "race"
    title = "RACE"
    labels = LETTERS
    metrics = (accuracy,)
    sequences = (len(LETTERS),)

    @classmethod
    def read(cls, settings: RaceSettings, artifacts: Artifacts, problems: Problems) -> Splits:
        """Read the articles, and collect problems with them and with the settings."""
        check_settings(settings, problems)
        with problems.collected():
            check_room(settings.max_seq_length, settings.max_qa_length)
        if settings.high_only and settings.middle_only:
            problems.add("--high_only and --middle_only exclude each other: give one of them")
            return Splits()
        wanted = settings.wanted_splits
        if wanted and not settings.data_dir:
            problems.add("--data_dir is missing: give the directory RACE, or its parent directory")
            return Splits()
        found = {name: _read_split(settings, name, problems) for name in wanted}
        return Splits(
            next(iter(found.get(TRAIN, ())), None), found.get(DEV, ()), found.get(TEST, ())
        )

    @property
    def output_dropout(self) -> float:
        """Dropout of the pooled output in training."""
        return self.settings.dropout_prob

    def records(self, split: Split, examples: Mapping[int, Example]) -> Iterator[Record]:
        """Yield the records of some questions, in order."""
        settings = self.settings
        features = make_features(
            examples.values(),
            self.tokenizer,
            settings.max_seq_length,
            settings.max_qa_length,
            settings.do_lower_case,
        )
        for feature in features:
            yield Record(feature.record(settings.max_seq_length))

    def logits(self, pooled_output: tf.Tensor) -> tf.Tensor:
        """Build the scores of the options; see `option_logits`."""
        return option_logits(pooled_output)

    def metrics_of(
        self, split: Split, labels: np.ndarray, predicted: np.ndarray
    ) -> dict[str, float]:
        """Compute the accuracy on all questions, and on the questions of each level."""
        return accuracies(split.examples, predicted)

    def texts_of(self, example: Example) -> list[tuple[str, str]]:
        """The question and its options, with their names, for the report page."""
        return [("Question", example.question), *zip(LETTERS, example.options)]

    def passages(self, split: Split) -> list[str]:
        """Article of each question, for the report page."""
        return [example.article for example in split.examples]

    def prediction_files(
        self, split: Split, predictions: Sequence[dict[str, Any]]
    ) -> dict[str, str]:
        """Contents of the files of the test set, by name.

        `test_results.tsv` has a line per question: the probabilities of its four options, the
        letter of the most probable one, and the question's id. `test_accuracy.json` has the
        accuracies, if all answers are known.
        """
        lines = []
        for example, found in zip(split.examples, predictions):
            values = np.array(found["probabilities"], np.float32)
            lines.append("\t".join([*map(str, values), LETTERS[found["predictions"]], example.id]))
        contents = {"test_results.tsv": "\n".join([*lines, ""])}
        if all(example.label is not None for example in split.examples):
            predicted = np.array([found["predictions"] for found in predictions])
            fractions = accuracies(split.examples, predicted)
            contents["test_accuracy.json"] = json.dumps(fractions, indent=2) + "\n"
        return contents


def _read_split(settings: RaceSettings, name: str, problems: Problems) -> list[Split]:
    """Read a split; none if there are problems."""
    examples: list[Example] = []
    paths = problems.result(find_articles, settings.data_dir, name, settings.levels) or {}
    for level, path in zip(settings.levels, paths.values()):
        with problems.collected():
            examples += read_articles(path, level, needs_answers=name != TEST)
    if not examples:
        return []
    kind = KINDS[name]
    split = Split(
        name,
        f"race_{kind}.tf_record",
        paths,
        examples,
        getattr(settings, f"{kind}_batch_size"),
        record_file=getattr(settings, f"{kind}_file"),
        record_dir=settings.cached_dir,
        labels=LETTERS,
    )
    return [split]


def accuracies(examples: Sequence[Example], predicted: np.ndarray) -> dict[str, float]:
    """Compute accuracies, fractions from 0 to 1.

    Args:
      examples: questions with known answers.
      predicted: indices of the predicted options, array [examples].

    Returns:
      "accuracy" of all questions, and "accuracy_middle" and "accuracy_high" of the levels that have
      questions.
    """
    labels = np.array([example.label for example in examples])
    levels = np.array([example.level for example in examples])
    values = {"accuracy": accuracy(labels, predicted)}
    for level in LEVELS:
        if level in levels:
            is_of_level = levels == level
            values[f"accuracy_{level}"] = accuracy(labels[is_of_level], predicted[is_of_level])
    return values

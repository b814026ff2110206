"""Splits of a task's data: examples to convert to records, or record files given by the user."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

from albert_tf.records.record_files import RecordValues

TRAIN, DEV, TEST = "train", "dev", "test"  # names of splits


@dataclass(frozen=True)
class Split:
    """Examples of a task, which the run converts to records.

    Attributes:
      name: `TRAIN`, `DEV` or `TEST`.
      record_name: name of the record file, before the digest of its origin.
      inputs: paths of the source files, by the names to use in messages.
      examples: examples in the order of their file.
      batch_size: number of records in a prediction batch.
      settings: further settings that the records depend on, as JSON values by name.
      record_file: path of the record file, if given by the user.
      record_dir: directory of the record file; None for that of the run's results.
      companion_name: name of the companion file, with the data that predictions need in addition to
        the model's outputs; None if they need none.
      companion_file: path of the companion file, if given by the user.
      numbered: integer field of the records that counts them, and the number of the first; None for
        no such field.
      labels: labels in the order of the model's outputs, for the report page; empty for none.
      suffix: suffix of the metrics' names, to distinguish several evaluation splits.
      max_examples: number of examples that `limited` has left; None if it has left all.
    """

    name: str
    record_name: str
    inputs: Mapping[str, str]
    examples: Sequence[Any]
    batch_size: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    record_file: str | None = None
    record_dir: str | None = None
    companion_name: str | None = None
    companion_file: str | None = None
    numbered: tuple[str, int] | None = None
    labels: Sequence[str] = ()
    suffix: str = ""
    max_examples: int | None = None

    def limited(self, most: int | None) -> Split:
        """The split with at most so many examples, spread evenly, as files are often sorted."""
        total = len(self.examples)
        if most is None or most >= total:
            return self
        kept = {i * total // most for i in range(most)}
        examples = [x for place, x in enumerate(self.examples) if place in kept]
        return dataclasses.replace(self, examples=examples, max_examples=most)

    @property
    def paths(self) -> list[str]:
        """Paths of the source files."""
        return list(self.inputs.values())


@dataclass(frozen=True)
class RecordSplit:
    """Record files given by the user in place of examples.

    Attributes:
      name: `TRAIN` or `DEV`.
      flag: name of the flag with the paths.
      paths: paths of the files.
      batch_size: number of records in a prediction batch.
      settings: further settings that predictions depend on, as JSON values by name.
      max_records: maximum number of records to use; None for all.
      id_fields: fields with ids of pieces, to be checked against the size of the vocabulary.
      suffix: as in `Split`.
    """

    name: str
    flag: str
    paths: list[str]
    batch_size: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_records: int | None = None
    id_fields: tuple[str, ...] = ("input_ids",)
    suffix: str = ""

    def limited(self, most: int | None) -> RecordSplit:
        """The split with at most so many records, the first."""
        limits = [limit for limit in (most, self.max_records) if limit is not None]
        return dataclasses.replace(self, max_records=min(limits, default=None))


@dataclass(frozen=True)
class Splits:
    """The splits that a run works on.

    Attributes:
      train: split to train on; None without training.
      dev: splits to evaluate the checkpoints on.
      test: splits to predict with the final checkpoint, without evaluation.
    """

    train: Split | RecordSplit | None = None
    dev: Sequence[Split | RecordSplit] = ()
    test: Sequence[Split] = ()


@dataclass(frozen=True)
class Record:
    """A record of an example, and its companion.

    Attributes:
      values: values of the record, by field.
      companion: JSON object for the companion file, with the data that the prediction needs in
        addition to the model's outputs.
    """

    values: RecordValues
    companion: Any = None


@dataclass(frozen=True)
class Skipped:
    """An example that cannot be converted to records; the run counts and names these in the log.

    Attributes:
      name: name of the example, such as its id.
      reason: the reason, the same for all examples that share it.
    """

    name: str
    reason: str

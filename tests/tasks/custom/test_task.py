"""The task on users' own data: records and metrics like those of GLUE, problems, class weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import run_classifier
from albert_tf.graph.model import build_encoder, build_loss
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject
from albert_tf.records.splits import DEV, Split, Splits
from albert_tf.run import checks
from albert_tf.tasks.base import Problems
from albert_tf.tasks.custom.labels import LABELS_FILE
from albert_tf.tasks.custom.task import CustomTask
from albert_tf.tasks.glue.data import TASKS, read_examples
from albert_tf.tasks.glue.task import ClassifierTask
from golden import golden_lines, tiny_config
from tasks.custom.files import OWN_DATA_FLAGS, glue_sample, write_rows

SPLITS = {"train": "train_file", "dev": "dev_file", "test": "test_file"}


def own_data_settings(**flags):
    values = {**OWN_DATA_FLAGS, **flags}
    return run_classifier.Settings(
        **{name: str(x) if name.endswith(("file", "dir")) else x for name, x in values.items()}
    )


def read_task(tokenizer, kept=None, **flags):
    """A task that has read its splits; `InputError` if it has found problems.

    Args:
      tokenizer: the tokenizer.
      kept: JSON values kept with the model, by file name.
      flags: see `own_data_settings`.
    """
    settings, problems = own_data_settings(**flags), Problems()
    artifacts = {
        name: JsonObject(value, f"run/{name}", "copy the file again")
        for name, value in (kept or {}).items()
    }
    splits = CustomTask.read(settings, artifacts, problems)
    problems.raise_all()
    return CustomTask(settings, tiny_config(), tokenizer, splits)


def own_files(tmp_path, name, suffix):
    """Write the sample of a GLUE task as own files, and return the flags to read them."""
    task, flags = TASKS[name], {"regression": name == "sts-b"}
    for split, flag in SPLITS.items():
        rows = []
        for example in read_examples(str(glue_sample(name, split)), task, split):
            label = task.labels[example.label] if task.labels else example.label
            names = ("sentence1", "sentence2") if len(task.texts) == 2 else ("sentence",)
            rows.append({**dict(zip(names, example.texts)), "label": label})
        flags[flag] = write_rows(tmp_path / f"{split}.{suffix}", rows)
    return flags


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "csv.gz"])
@pytest.mark.parametrize("name", ["mrpc", "cola", "sts-b"])
def test_records_of_glue_files_are_golden(tmp_path, sample_tokenizer, name, suffix):
    task = read_task(sample_tokenizer, **own_files(tmp_path, name, suffix))
    golden = golden_lines(f"glue_{name}")
    for split in (task.splits.train, *task.splits.dev):
        expected = [line for line in golden if line["split"] == split.name]
        chunk = dict(enumerate(split.examples))
        records = [record.values for record in task.records(split, chunk)]
        assert len(records) == len(expected)
        for record, line in zip(records, expected):
            length = len(line["input_ids"])
            assert record["input_ids"] == line["input_ids"] + [0] * (40 - length)
            assert record["segment_ids"] == line["segment_ids"] + [0] * (40 - length)
            assert record["input_mask"] == [1] * length + [0] * (40 - length)
            assert record["label_ids"] == [line["label_id"]]


def test_the_report_page_gets_the_labels_and_the_columns_of_the_texts(tmp_path, sample_tokenizer):
    task = read_task(sample_tokenizer, **own_files(tmp_path, "mrpc", "csv"))
    splits = (task.splits.train, *task.splits.dev, *task.splits.test)
    assert [split.labels for split in splits] == [task.labels] * 3
    example = task.splits.train.examples[0]
    assert task.texts_of(example) == [
        ("sentence1", example.texts[0]),
        ("sentence2", example.texts[1]),
    ]


def test_labels_need_no_walk_over_the_file(tmp_path, sample_tokenizer):
    flags = own_files(tmp_path, "mrpc", "csv")
    task = read_task(sample_tokenizer, **flags)
    train = task.splits.train
    labels = [example.label for example in train.examples]
    limited = train.limited(3)
    assert task.true_labels(limited).tolist() == [x.label for x in limited.examples]
    Path(flags["train_file"]).unlink()
    assert task.true_labels(train).tolist() == labels


@pytest.mark.parametrize("name", ["mrpc", "sts-b"])
def test_metrics_are_those_of_glue(tmp_path, sample_tokenizer, name):
    chosen = {"metric": "f1"} if name == "mrpc" else {}
    own = read_task(sample_tokenizer, **own_files(tmp_path, name, "csv"), **chosen)
    glue = ClassifierTask(run_classifier.Settings(task_name=name), None, None, Splits())
    examples = read_examples(str(glue_sample(name, "dev")), TASKS[name], "dev")
    predictions = [0.5, 2.0, 1.0] if name == "sts-b" else [1, 0, 0, 1, 1]
    predictions = [{"predictions": prediction} for prediction in predictions]
    expected = glue.evaluate(Split(DEV, "x", {}, examples), predictions, {}).metrics
    metrics = own.evaluate(own.splits.dev[0], predictions, {}).metrics
    assert next(iter(metrics)) == next(iter(expected))
    assert {metric: metrics[metric] for metric in expected} == expected


def rows(*labels):
    return [{"text": f"Lamp {n}.", "label": label} for n, label in enumerate(labels)]


def test_results_by_label(tmp_path, sample_tokenizer):
    path = write_rows(tmp_path / "x.csv", rows("on", "off", "on", "dim"))
    task = read_task(sample_tokenizer, train_file=path, dev_file=path, do_predict=False)
    predictions = [{"predictions": number} for number in (2, 1, 1, 0)]  # labels: dim, off, on
    evaluation = task.evaluate(task.splits.dev[0], predictions, {})
    assert evaluation.metrics == {"accuracy": 0.75, "f1_macro": pytest.approx((1 + 2 * 2 / 3) / 3)}
    results = evaluation.files["confusion_matrix.json"]
    assert results["labels"] == ["dim", "off", "on"]
    assert results["matrix"] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert results["by_label"]["on"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "rows": 2,
    }


@pytest.mark.parametrize(
    ("labels", "flags", "message"),
    [
        ("aab", {"train_file": None}, "--train_file is missing: give a file with texts and labels"),
        ("aab", {"dev_file": None}, "--dev_file is missing: give one, or --dev_share=0.1 for a te"),
        ("aab", {"test_file": None}, "--test_file is missing: give a file with the texts to pre"),
        ("aab", {"dev_share": 0.5}, "--dev_file and --dev_share: give one of them"),
        ("aab", {"dev_file": None, "dev_share": 0.1}, "--dev_share 0.1 of 3 rows is nothing"),
        ("aaa", {}, "all rows have the label a; training needs two labels, or --regression"),
        ("aab", {"metric": "pearson"}, "--metric pearson: does not fit labels; give another"),
        ("abc", {"metric": "f1"}, "--metric f1: needs two labels, there are 3; give f1_macro"),
        ("123", {"regression": True, "metric": "f1"}, "--metric f1: does not fit a regression"),
        (
            "123",
            {"regression": True, "class_weights": "balanced"},
            "--class_weights balanced: a re",
        ),
        ("aab", {"max_seq_length": 2}, "--max_seq_length 2 leaves no room for text after 2"),
        ("aab", {"label_column": "x"}, r"x\.csv: no column x, only text, label; correct --label"),
    ],
)
def test_problems_with_settings(tmp_path, sample_tokenizer, labels, flags, message):
    path = write_rows(tmp_path / "x.csv", rows(*labels))
    given = {"train_file": path, "dev_file": path, "test_file": path, **flags}
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(InputError, match=message):
        read_task(sample_tokenizer, **given)


def test_all_problems_of_all_files_at_once(tmp_path, sample_tokenizer):
    contents = {
        "train_file": b"text,label\na,x\nb\nc,y\nd,\n",
        "dev_file": b"text,label\na,z\n\xff,x\nc,y\n",
        "test_file": b"a,b\n1,2\n",
    }
    paths = {flag: tmp_path / f"{flag}.csv" for flag in contents}
    for flag, path in paths.items():
        path.write_bytes(contents[flag])
    with pytest.raises(InputError) as error:
        read_task(sample_tokenizer, **paths)
    assert str(error.value).splitlines() == [
        f"{tmp_path}/train_file.csv, line 3: 1 fields where the header has 2; correct the file",
        f"{tmp_path}/train_file.csv, line 5: no label; correct the file",
    ]
    paths["train_file"].write_bytes(b"text,label\na,x\nb,y\nc,x\n")
    with pytest.raises(InputError) as error:
        read_task(sample_tokenizer, **paths)
    assert str(error.value).splitlines() == [
        f'{tmp_path}/dev_file.csv, line 2: the label "z" is not one of the model\'s, which are x, '
        "y; correct the file",
        f"{tmp_path}/dev_file.csv, line 3: not UTF-8; correct the file",
        f"{tmp_path}/test_file.csv: cannot tell the column of the text among a, b: no name "
        "identifies it; give --text_column",
    ]


def test_later_prediction_uses_the_labels_and_columns_of_the_training(tmp_path, sample_tokenizer):
    train = write_rows(tmp_path / "x.csv", [{**row, "more": "x"} for row in rows("b", "a", "b")])
    flags = {"text_column": "more", "do_eval": False, "do_predict": False}
    kept = json.loads(json.dumps(read_task(sample_tokenizer, train_file=train, **flags).artifacts))
    assert kept[LABELS_FILE]["labels"] == ["a", "b"]
    test = write_rows(tmp_path / "y.jsonl", [{"text": "no", "more": "yes"}])
    flags = {"do_train": False, "do_eval": False, "test_file": test}
    task = read_task(sample_tokenizer, kept, **flags)
    assert task.labels == ("a", "b")
    assert task.splits.test[0].examples[0].texts == ("yes",)
    with pytest.raises(InputError, match=r"the labels are not known: there is no labels\.json"):
        read_task(sample_tokenizer, **flags)


def test_a_resumed_training_keeps_its_labels(tmp_path, sample_tokenizer):
    flags = {"do_eval": False, "do_predict": False}
    first = write_rows(tmp_path / "x.csv", rows("b", "a", "c"))
    kept = read_task(sample_tokenizer, train_file=first, **flags).artifacts
    fewer = write_rows(tmp_path / "fewer.csv", rows("c", "b", "b"))
    task = read_task(sample_tokenizer, kept, train_file=fewer, **flags)
    assert [example.label for example in task.splits.train.examples] == [2, 1, 1]
    other = write_rows(tmp_path / "other.csv", rows("a", "x"))
    with pytest.raises(InputError, match='line 3: the label "x" is not one of the model\'s, which'):
        read_task(sample_tokenizer, kept, train_file=other, **flags)
    with pytest.raises(
        InputError, match=r"--regression: run/labels\.json says that it was trained on labels"
    ):
        read_task(sample_tokenizer, kept, train_file=first, regression=True, **flags)


def test_dev_rows_are_not_trained_on(tmp_path, sample_tokenizer):
    path = write_rows(tmp_path / "x.csv", rows(*"ab" * 20))
    flags = {"train_file": path, "dev_share": 0.25, "do_predict": False}
    task = read_task(sample_tokenizer, **flags)
    train, dev = ({x.texts for x in d.examples} for d in (task.splits.train, task.splits.dev[0]))
    assert (len(train), len(dev)) == (30, 10)
    assert not train & dev
    only_dev = read_task(sample_tokenizer, task.artifacts, **{**flags, "do_train": False})
    assert {example.texts for example in only_dev.splits.dev[0].examples} == dev


def test_balanced_weights_in_the_loss(tmp_path, graph):
    """The loss is the mean of the examples' losses times rows / (labels * rows with the label)."""
    labels = ("on", "off", "off", "off", "dim", "off")
    settings = own_data_settings(
        train_file=write_rows(tmp_path / "x.csv", rows(*labels)),
        class_weights="balanced",
        do_eval=False,
        do_predict=False,
        deterministic_run=True,
        output_dir=tmp_path / "run",
    )
    task = checks.check(CustomTask, settings).task
    indices = [2, 1, 1, 1, 0, 1]
    features = {
        "input_ids": tf.constant([[2, number + 5, 3] for number in range(6)]),
        "input_mask": tf.ones([6, 3], tf.int32),
        "segment_ids": tf.zeros([6, 3], tf.int32),
        "label_ids": tf.constant(indices),
    }
    encoder = build_encoder(task, features, is_training=False)
    with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        loss = build_loss(task, encoder, features)
        probabilities = task.outputs(encoder, features)["probabilities"]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        loss, probabilities = session.run((loss, probabilities))
    losses = -np.log(probabilities[range(6), indices])
    weights = np.array([6 / (3 * labels.count(label)) for label in labels])
    assert weights.mean() == pytest.approx(1)
    assert loss == pytest.approx(np.mean(weights * losses), rel=1e-5)

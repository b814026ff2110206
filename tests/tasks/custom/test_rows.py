"""Rows of users' files: labels, scores, what is wrong with rows, and the split for evaluation."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from albert_tf.io.errors import InputError
from albert_tf.io.json_files import JsonObject
from albert_tf.io.tables import Table
from albert_tf.tasks.custom import rows
from albert_tf.tasks.custom.columns import Columns
from albert_tf.tasks.custom.labels import LABELS_FILE, Labels, read_labels, sorted_labels
from albert_tf.tasks.custom.rows import Example

COLUMNS = Columns(("text",), "label")


def table(tmp_path, content, name="x.csv"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return Table(str(path))


def test_labels_are_sorted(tmp_path):
    checked = rows.check_labels(table(tmp_path, "text,label\na,z\nb,é\nc,A\nd,z\n"), COLUMNS)
    assert checked.names == ("A", "z", "é")
    assert checked.counts() == (1, 2, 1)
    assert [example.label for example in checked] == [1, 2, 0, 1]


def test_numbers_are_sorted_by_value():
    assert sorted_labels(["10", "9", "-1", "1.5"]) == ["-1", "1.5", "9", "10"]
    assert sorted_labels(["10", "9", "x"]) == ["10", "9", "x"]


def test_json_labels_of_any_kind_are_those_of_csv(tmp_path):
    lines = [{"text": "a", "label": label} for label in (1, "1", True, 0.5)]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    checked = rows.check_labels(table(tmp_path, content, "x.jsonl"), COLUMNS)
    assert checked.names == ("0.5", "1", "true")
    assert checked.labels.tolist() == [1, 1, 2, 0]


def test_rows_are_read_again_in_order(tmp_path):
    content = "text,label\n" + "".join(f"row {n},{n % 3}\n" for n in range(200))
    checked = rows.check_labels(table(tmp_path, content), COLUMNS)
    assert len(checked) == 200
    assert checked[130] == Example(("row 130",), 1, {"text": "row 130", "label": "1"})
    part = checked[50:150]
    assert [row.texts for row in part] == [(f"row {n}",) for n in range(50, 150)]
    assert part[99].label == 149 % 3
    assert part[-1] == checked[149]
    with pytest.raises(IndexError):
        part[100]
    few = part[np.array([2, 3, 98])]
    assert [(row.texts, row.label) for row in few] == [
        (("row 52",), 1),
        (("row 53",), 2),
        (("row 148",), 1),
    ]
    assert few.labels.tolist() == [1, 2, 1]
    assert list(checked[200:]) == []


def test_a_file_that_has_changed_is_not_used(tmp_path):
    checked = rows.check_labels(table(tmp_path, "text,label\na,x\nb,y\n"), COLUMNS)
    (tmp_path / "x.csv").write_text("text,label\na,x\nb,x\nc,x\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.csv: changed since it was checked; start again"):
        list(checked)


def test_labels_that_training_has_not_are_named(tmp_path):
    content = "text,label\na,on\nb,of\nc,of\nd,\n"
    with pytest.raises(InputError) as error:
        rows.check_labels(table(tmp_path, content), COLUMNS, ["off", "on"])
    assert str(error.value).splitlines() == [
        f'{tmp_path}/x.csv, lines 3, 4: the label "of" is not one of the model\'s, which are off, '
        "on; correct the file",
        f"{tmp_path}/x.csv, line 5: no label; correct the file",
    ]


def test_labels_of_rows_to_predict_are_only_named(tmp_path, caplog):
    content = "text,label\na,on\nb,of\nc,\nd,of\n"
    with caplog.at_level(logging.WARNING, logger="absl"):
        checked = rows.check_unlabelled(table(tmp_path, content), COLUMNS, ["off", "on"])
    assert "labels that do not occur in training and are never predicted: of (2)" in caplog.text
    assert [example.texts[0] for example in checked] == ["a", "b", "c", "d"]


def test_scores(tmp_path):
    content = "text,label\na,1\nb,-2.5\nc,1e3\n"
    checked = rows.check_scores(table(tmp_path, content), COLUMNS)
    assert [example.label for example in checked] == [1.0, -2.5, 1000.0]


@pytest.mark.parametrize("score", ["x", "nan", "-inf", "1e39", "1_0", "9" * 5000, "0x1"])
def test_bad_scores(tmp_path, score):
    message = "x.csv, line 3: the score is not a number: "
    with pytest.raises(InputError, match=message):
        rows.check_scores(table(tmp_path, f"text,label\na,1\nb,{score}\n"), COLUMNS)


def test_all_problems_at_once(tmp_path, caplog):
    path = tmp_path / "x.jsonl"
    lines = [
        b'{"text": "a", "label": "x"}',
        b'{"text": "a"}',
        b'{"label": "x"}',
        b'{"text": 3, "label": "x"}',
        b'{"text": "\xe9", "label": "x"}',
        b'{"text": "a", "label": ["x"]}',
        b"{",
        b'{"text": "a", "label": null}',
    ]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError) as error:
        rows.check_labels(Table(str(path)), COLUMNS)
    messages = [line.replace(f"{path}, ", "") for line in str(error.value).splitlines()]
    assert [message.rpartition(";")[0] for message in messages] == [
        "lines 2, 8: no label",
        "line 3: no text text",
        "line 4: text is not a text: 3",
        "line 5: not UTF-8",
        "line 6: the label is neither text nor number",
        "line 7: not valid JSON: Expecting property name enclosed in double quotes: line 2 column "
        "1 (char 2)",
    ]


def test_empty_texts_are_counted(tmp_path, caplog):
    content = "text,label\na,x\n,y\n  ,x\n"
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert len(rows.check_labels(table(tmp_path, content), COLUMNS)) == 3
    assert "x.csv, lines 3, 4: the text text is empty" in caplog.text


def test_a_file_without_rows(tmp_path):
    with pytest.raises(InputError, match=r"x\.csv: the file has no rows; check that it"):
        rows.check_labels(table(tmp_path, "text,label\n\n"), COLUMNS)


def test_a_split_keeps_the_proportions_and_is_the_same_each_time():
    labels = np.array([0] * 80 + [1] * 15 + [2] * 4 + [3], np.int32)
    train, dev = rows.split(labels, 0.2)
    assert sorted([*train, *dev]) == list(range(100))
    assert np.bincount(labels[dev], minlength=4).tolist() == [16, 3, 1, 0]
    assert list(train) == sorted(train)
    assert list(dev) == sorted(dev)
    assert not np.array_equal(dev[:16], np.arange(16))
    for first, second in zip((train, dev), rows.split(labels, 0.2)):
        np.testing.assert_array_equal(first, second)


def test_a_split_of_many_labels_has_the_share_in_all():
    """Each label has 5 rows, so a tenth of them is half a row."""
    labels = np.repeat(np.arange(40, dtype=np.int32), 5)
    _, dev = rows.split(labels, 0.1)
    assert len(dev) == 20


def test_a_split_of_scores():
    train, dev = rows.split(np.linspace(0, 1, 50), 0.1)
    assert (len(train), len(dev)) == (45, 5)
    assert len(rows.split(np.zeros(1), 0.9)[0]) == 1


def test_balanced_weights():
    labels = Labels(("a", "b", "c"), (6, 3, 1), ("text",))
    np.testing.assert_allclose(labels.balanced_weights(), [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)
    gone = Labels(("a", "b", "c"), (6, 0, 2), ("text",))
    np.testing.assert_allclose(gone.balanced_weights(), [8 / 12, 0, 2], rtol=1e-6)


REMEDY = "copy the file again"


def read_kept(value):
    return read_labels({LABELS_FILE: JsonObject(value, "run/labels.json", REMEDY)})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"labels": ["a"], "counts": [1]}, "not the labels of a model as training keeps them"),
        ({"labels": ["a", "a"]}, "not the labels of a model as training keeps them"),
        ({"counts": [1]}, "not the labels of a model as training keeps them"),
        ({"counts": [1, "2"]}, "not the labels of a model as training keeps them"),
        ({"regression": True}, "not the labels of a model as training keeps them"),
        ({"labels": ["a", 2]}, "labels[1] is 2, not a string"),
        ({"text_columns": "text"}, 'text_columns is "text", not a list'),
    ],
)
def test_kept_labels_are_checked(changes, problem):
    value = {"labels": ["a", "b"], "counts": [1, 2], "text_columns": ["text"], "regression": False}
    with pytest.raises(InputError) as error:
        read_kept({**value, **changes})
    assert str(error.value) == f"run/labels.json: {problem}; {REMEDY}"


@pytest.mark.parametrize(
    "labels", [Labels(("a", "b"), (3, 4), ("x", "y")), Labels((), (), ("text",))]
)
def test_kept_labels_are_read(labels):
    assert read_kept(json.loads(json.dumps(labels.as_json()))) == labels
    assert read_labels({}) is None

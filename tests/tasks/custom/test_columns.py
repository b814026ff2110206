"""Columns that are found in a header, and those that are given."""

from __future__ import annotations

import pytest

from albert_tf.io.errors import InputError
from albert_tf.io.tables import Table
from albert_tf.tasks.custom.columns import Columns, find_columns
from albert_tf.tasks.custom.settings import CustomSettings


def find(tmp_path, header, known=(), is_regression=False, needs_label=True, **given):
    path = tmp_path / "x.csv"
    path.write_text(header + "\n")
    settings = CustomSettings(**given)
    return find_columns(Table(str(path)), settings, is_regression, needs_label, known)


@pytest.mark.parametrize(
    ("header", "texts", "label"),
    [
        ("text,label", ("text",), "label"),
        ("id,Label,Sentence", ("Sentence",), "Label"),
        ("sentence2,label,sentence1,more", ("sentence1", "sentence2"), "label"),
        ("label,text1,text2", ("text1", "text2"), "label"),
        ("label,review", ("review",), "label"),
    ],
)
def test_headers_that_leave_no_doubt(tmp_path, header, texts, label):
    assert find(tmp_path, header) == Columns(texts, label)


def test_given_columns(tmp_path):
    given = {"text_column": "b", "second_text_column": "text", "label_column": "c"}
    assert find(tmp_path, "a,text,b,c,label", **given) == Columns(("b", "text"), "c")


def test_scores(tmp_path):
    assert find(tmp_path, "text,score", is_regression=True) == Columns(("text",), "score")


def test_a_table_to_predict_needs_no_label(tmp_path):
    assert find(tmp_path, "id,text", needs_label=False) == Columns(("text",), None)
    found = find(tmp_path, "id,text", needs_label=False, label_column="stars")
    assert found == Columns(("text",), None)


def test_columns_of_the_training_are_known(tmp_path):
    found = find(tmp_path, "text,review", known=("review",), needs_label=False)
    assert found == Columns(("review",), None)
    found = find(tmp_path, "text,other", known=("review",), needs_label=False)
    assert found == Columns(("text",), None)


@pytest.mark.parametrize(
    ("header", "given", "message"),
    [
        (
            "a,b,label",
            {},
            "the column of the text among a, b, label: no name identifies it; give --te",
        ),
        ("text,sentence,label", {}, "text among .*: text, sentence could each be it; give --text_"),
        (
            "text,stars",
            {},
            "the column of the label among text, stars: no name identifies it; give --l",
        ),
        ("text,label", {"text_column": "x"}, "no column x, only text, label; correct --text_colu"),
        ("text,label", {"label_column": "x"}, "no column x, only text, label; correct --label_col"),
        ("text,label", {"second_text_column": "text"}, "--second_text_column needs --text_column"),
    ],
)
def test_doubt_is_an_error(tmp_path, header, given, message):
    with pytest.raises(InputError, match=message):
        find(tmp_path, header, **given)

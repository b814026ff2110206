"""Files of many questions, and the rows with their answers."""

from __future__ import annotations

import pytest

from albert_tf.inference import many_questions
from albert_tf.inference.many_questions import Asked
from albert_tf.io.errors import InputError
from albert_tf.tasks.squad.data import Question


def read(tmp_path, content, name="x.csv"):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return many_questions.read_questions(str(tmp_path / name))


def test_questions_with_texts_and_with_files(tmp_path):
    content = 'id,question,text,text_file\na,Who?,"He, there.",\n,Where?,,pages/b.txt\n'
    assert read(tmp_path, content) == [
        Asked("a", "Who?", text="He, there."),
        Asked("1", "Where?", text_file=f"{tmp_path}/pages/b.txt"),
    ]
    content = '{"question": "Who?", "text": "He.", "id": 7}\n{"question": "Why?", "text": "So."}\n'
    assert read(tmp_path, content, "x.jsonl") == [
        Asked("7", "Who?", text="He."),
        Asked("1", "Why?", text="So."),
    ]


def test_all_problems_of_a_file_at_once(tmp_path):
    content = (
        '{"question": "Who?", "text": "He.", "id": 1}\n{"question": 3, "text": "x"}\n'
        '{"text": "x"}\n{"question": "Who?"}\n{"question": "Who?", "text": "x", "text_file": "y"}\n'
        '{"question": "Who?", "text": "x", "id": "1"}\n{"question": "Who?", "text": "x", "id": []}'
    )
    with pytest.raises(InputError) as error:
        read(tmp_path, content, "x.jsonl")
    path = f"{tmp_path}/x.jsonl"
    assert str(error.value).splitlines() == [
        f"{path}, line 2: question is not a text: 3; correct the file",
        f"{path}, line 3: no question; correct the file",
        f"{path}, lines 4, 5: give either a text or a text_file; correct the file",
        f'{path}, line 6: the id was there before: "1"; correct the file',
        f"{path}, line 7: the id is neither text nor number; correct the file",
    ]
    with pytest.raises(InputError, match=r"x\.csv: the columns are a, b; give question, text or"):
        read(tmp_path, "a,b\n")
    with pytest.raises(InputError, match=r"x\.csv: the file has no rows"):
        read(tmp_path, "question,text\n")


def test_files_of_a_directory(tmp_path):
    for name in ("b.txt", "a.txt", ".hidden"):
        (tmp_path / name).write_text(name)
    asked = many_questions.questions_of_files(str(tmp_path), "Who?")
    assert [(question.id, question.text_file) for question in asked] == [
        ("a.txt", f"{tmp_path}/a.txt"),
        ("b.txt", f"{tmp_path}/b.txt"),
    ]
    (tmp_path / "empty").mkdir()
    for directory, message in (("empty", "has no files"), ("none", "cannot read the directory")):
        with pytest.raises(InputError, match=f"{directory}: .*{message}.*; correct --text_dir"):
            many_questions.questions_of_files(str(tmp_path / directory), "Who?")


def test_a_file_is_read_once_for_consecutive_questions():
    read_paths = []

    def read_text(path):
        read_paths.append(path)
        return f"text of {path}"

    asked = [Asked("1", "Who?", None, "a"), Asked("2", "Why?", None, "a"), Asked("3", "So?", "own")]
    assert list(many_questions.with_texts([*asked, Asked("4", "Who?", None, "b")], read_text)) == [
        Question("1", "Who?", "text of a"),
        Question("2", "Why?", "text of a"),
        Question("3", "So?", "own"),
        Question("4", "Who?", "text of b"),
    ]
    assert read_paths == ["a", "b"]


def test_texts_without_an_answer_are_ranked_last():
    rows = [
        {"id": "a", "rank": 1, "score": 3.0, "start": 5},
        {"id": "a", "rank": 2, "score": 2.9, "start": 7},
        {"id": "b", "rank": 1, "score": None, "start": None},
        {"id": "c", "rank": 1, "score": 4.0, "start": 0},
    ]
    assert [(row["rank"], row["id"]) for row in many_questions.ranked(rows)] == [
        (1, "c"),
        (2, "a"),
        (3, "b"),
    ]

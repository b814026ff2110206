"""GLUE files and features: the original's features, and unusual and invalid files."""

from __future__ import annotations

import logging

import pytest

from albert_tf.io.errors import InputError
from albert_tf.tasks.classification.features import make_record
from albert_tf.tasks.glue.data import TASKS, Example, find_task, read_examples
from golden import GOLDEN, golden_lines

SPLITS = ("train", "dev", "test")
HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
MRPC = TASKS["mrpc"]
PUBLISHED_HEADERS = {
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label"
    ),
    "mismnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label"
    ),
    "mrpc": HEADER,
    "rte": "index\tsentence1\tsentence2\tlabel",
    "sst-2": "sentence\tlabel",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "qnli": "index\tquestion\tsentence\tlabel",
    "wnli": "index\tsentence1\tsentence2\tlabel",
}


@pytest.mark.parametrize("name", ["cola", "mrpc", "sts-b"])
def test_features_are_golden(name, sample_tokenizer):
    task = TASKS[name]
    records = []
    for split in SPLITS:
        path = task.path(str(GOLDEN / "sample/glue"), task.files(split)[0])
        for example in read_examples(path, task, split):
            record = make_record(
                example.texts, example.label, sample_tokenizer, 40, do_lower_case=True
            )
            records.append((split, record))
    golden = golden_lines(f"glue_{name}")
    assert [split for split, _ in records] == [line["split"] for line in golden]
    for (_, record), line in zip(records, golden):
        padding = [0] * (40 - len(line["input_ids"]))
        assert record["input_ids"] == line["input_ids"] + padding
        assert record["input_mask"] == [1] * len(line["input_ids"]) + padding
        assert record["segment_ids"] == line["segment_ids"] + padding
        assert record["label_ids"] == [line["label_id"]]


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("MRPC", "mrpc"),
        ("sst2", "sst-2"),
        ("SST_2", "sst-2"),
        ("sts_b", "sts-b"),
        ("STSB", "sts-b"),
        ("mnli-mm", "mismnli"),
        ("MNLI_mismatched", "mismnli"),
        ("mnli-m", "mnli"),
        ("diagnostic", "ax"),
        *((name, name) for name in TASKS),
    ],
)
def test_task_names(name, task):
    assert find_task(name) is TASKS[task]


def test_an_unknown_task():
    with pytest.raises(
        InputError, match=r"--task_name squad: .* give one of cola, mnli, mismnli, "
    ):
        find_task("squad")


@pytest.mark.parametrize("name", ["MRPC", "mrpc", "Mrpc"])
def test_the_folder_of_a_task(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "RTE").mkdir()
    expected = str(tmp_path / name / "dev.tsv")
    assert MRPC.path(str(tmp_path), MRPC.dev_files[0]) == expected
    assert MRPC.path(str(tmp_path / name), MRPC.dev_files[0]) == expected


@pytest.mark.parametrize("name", PUBLISHED_HEADERS)
def test_files_in_the_published_layout(tmp_path, name):
    task, columns = TASKS[name], PUBLISHED_HEADERS[name].split("\t")
    lines = [PUBLISHED_HEADERS[name]]
    for number, label in enumerate(task.labels):
        row = {column: f"{column} of {number}" for column in columns}
        lines.append("\t".join({**row, task.label_column: label}.values()))
    (tmp_path / "x.tsv").write_text("\n".join(lines) + "\n")
    examples = read_examples(str(tmp_path / "x.tsv"), task, "train")
    for number, example in enumerate(examples):
        assert example.texts == tuple(f"{column} of {number}" for column in task.texts)
        assert example.label == number
    assert len(examples) == len(task.labels)


@pytest.mark.parametrize(
    ("name", "header", "row", "expected"),
    [
        ("cola", "index\tsentence", "7\tx", Example("7", ("x",), 0)),
        ("sst-2", "index\tsentence", "7\tx", Example("7", ("x",), 0)),
        ("qqp", "id\tquestion1\tquestion2", "7\tx\ty", Example("7", ("x", "y"), 0)),
        ("ax", "index\tsentence1\tsentence2", "7\tx\ty", Example("7", ("x", "y"), 0)),
        ("sst-2", "sentence\tlabel", "x\tlabels are not read", Example("0", ("x",), 0)),
    ],
)
def test_test_files(tmp_path, name, header, row, expected):
    (tmp_path / "x.tsv").write_text(f"{header}\n{row}\n")
    assert read_examples(str(tmp_path / "x.tsv"), TASKS[name], "test") == [expected]


def read_mrpc(tmp_path, content, split="dev"):
    path = tmp_path / "x.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_examples(str(path), MRPC, split)


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n1\t1\t2\ta\tb\n",
        f"{HEADER}\n1\t1\t2\ta\tb",
        f"\ufeff{HEADER}\n1\t1\t2\ta\tb\n",
        f"{HEADER}\r\n1\t1\t2\ta\tb\r\n",
        f"\ufeff{HEADER}\r\n\r\n1\t1\t2\ta\tb\r\n\r\n",
        "#1 String\t#2 String\tQuality\na\tb\t1\n",
    ],
    ids=["plain", "no last line end", "mark", "CRLF", "empty lines", "other order"],
)
def test_marks_and_line_ends(tmp_path, content):
    assert read_mrpc(tmp_path, content) == [Example("0", ("a", "b"), 1)]


@pytest.mark.parametrize(
    "text", ['"a', '""a" b"', "a\u2028b", "a\x0bb", "a\x85b", "a\rb", " a ", ""]
)
def test_fields_are_taken_as_they_are(tmp_path, text):
    examples = read_mrpc(tmp_path, f"{HEADER}\n0\t1\t2\t{text}\tb\n1\t1\t2\tc\td\n")
    assert [example.texts for example in examples] == [(text, "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\n1\t1\t2\ta\tb\n1\t1\t2\ta\n", "line 3 has 4 columns, not 5; correct the file"),
        (f"{HEADER}\n1\t1\t2\ta\tb\tc\n", "line 2 has 6 columns, not 5"),
        (f"{HEADER}\n\n2\t1\t2\ta\tb\n", "line 3: the label '2' is not one of 0, 1; correct"),
        (f"{HEADER}\n" + 7 * "x\n", "line 6 has 1 columns, .* and 2 more; correct"),
        ("index\tsentence\n", ", line 1: the header has no column #1 String, #2 String, Qual"),
        (f"{HEADER}\n", "the file has no rows"),
        ("", "the file has no rows"),
        (f"{HEADER}\n1\t1\t2\ta\tb\n".encode("utf-16"), ", line 1: not UTF-8"),
        (HEADER.encode() + b"\n1\t1\t2\tCaf\xe9\tb\n", ", line 2: not UTF-8: .*convert"),
    ],
)
def test_bad_files(tmp_path, content, message):
    with pytest.raises(InputError, match=f"^{tmp_path}/x.tsv.*{message}"):
        read_mrpc(tmp_path, content)


@pytest.mark.parametrize("score", ["x", "", "nan", "inf", "-0.1", "5.1", "2012"])
def test_bad_scores(tmp_path, score):
    task, path = TASKS["sts-b"], tmp_path / "x.tsv"
    path.write_text(f"index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.2\n1\ta\tb\t{score}\n")
    message = f"line 3: the score '{score}' is not a number from 0 to 5"
    with pytest.raises(InputError, match=message):
        read_examples(str(path), task, "dev")


def test_broken_rows_of_the_published_qqp_are_left_out_aloud(tmp_path, caplog):
    task, path = TASKS["qqp"], tmp_path / "train.tsv"
    path.write_text(f"{PUBLISHED_HEADERS['qqp']}\n1\t1\t2\ta\n2\tb\t0\n3\t1\t2\tc\td\t1\n")
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert read_examples(str(path), task, "train") == [Example("3", ("c", "d"), 1)]
    assert "skipped 2 broken rows" in caplog.text
    assert "line 2 has 4 columns, not 6; line 3 has 3 columns, not 6" in caplog.text
    with pytest.raises(InputError, match="line 2 has 4 columns, not 6"):
        read_examples(str(path), task, "dev")

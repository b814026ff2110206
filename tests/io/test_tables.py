"""CSV, TSV and JSON Lines files: rows and their lines, read again, and broken ones."""

from __future__ import annotations

import gzip
import json

import pytest

from albert_tf.io.errors import InputError
from albert_tf.io.tables import RowProblems, Table, as_text


def write(tmp_path, name, content):
    path = tmp_path / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


def rows_of(tmp_path, name, content, **options):
    table = Table(write(tmp_path, name, content), **options)
    return [(row.line, row.problem or row.values) for row in table.rows()]


CSV = 'text,label\nA lamp.,on\n"A ""fog"",\nthick.",off\n\n\u201cé\u201d \u2028 x,on\n'
TSV = 'text\tlabel\nA lamp.\ton\n"A fog"\toff\n'
JSONL = '{"text": "A lamp.", "label": "on"}\n\n{"text": "A\\nfog", "label": 1, "id": [2]}\n'


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_rows_of_each_format(tmp_path, suffix):
    assert rows_of(tmp_path, f"x.csv{suffix}", CSV) == [
        (2, {"text": "A lamp.", "label": "on"}),
        (3, {"text": 'A "fog",\nthick.', "label": "off"}),
        (6, {"text": "\u201cé\u201d \u2028 x", "label": "on"}),
    ]
    assert rows_of(tmp_path, f"x.tsv{suffix}", TSV) == [
        (2, {"text": "A lamp.", "label": "on"}),
        (3, {"text": '"A fog"', "label": "off"}),
    ]
    assert rows_of(tmp_path, f"x.jsonl{suffix}", JSONL) == [
        (1, {"text": "A lamp.", "label": "on"}),
        (3, {"text": "A\nfog", "label": 1, "id": [2]}),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "\ufefftext,label\r\na b,on\r\n"),
        ("x.csv", "text;label\na b;on"),
        ("x.csv", 'text;label\n"a b";"on"\n'),
        ("x.TAB", "\ufefftext\tlabel\r\na b\ton\r\n"),
        ("x.ndjson", '\ufeff{"text": "a b", "label": "on"}\r\n'),
    ],
)
def test_marks_line_ends_and_delimiters(tmp_path, name, content):
    table = Table(write(tmp_path, name, content))
    assert table.columns == ("text", "label")
    assert [dict(row.values) for row in table.rows()] == [{"text": "a b", "label": "on"}]


def test_the_format_can_be_given(tmp_path):
    assert rows_of(tmp_path, "x.txt", "a\tb\n1\t2\n", file_format="tsv") == [
        (2, {"a": "1", "b": "2"})
    ]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv.gz", "x.jsonl"])
def test_rows_are_read_again(tmp_path, name):
    values = [{"text": f"row {n} " + "é" * (n % 7), "n": str(n)} for n in range(300)]
    if "csv" in name:
        values[70]["text"] = 'two\nlines, "quoted"'
    table = Table(write(tmp_path, name, "".join(written(name, values))))
    first, second = table.rows(), table.rows()
    for _ in range(100):
        next(second)
    rows = list(first)
    assert [row.values for row in rows] == values
    assert list(second) == rows[100:]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv.gz", "x.jsonl"])
def test_a_file_that_changes_is_not_read_on(tmp_path, name):
    """Its rows would not be those that were checked."""
    values = [{"text": "a", "n": "1"}] * 3
    path = write(tmp_path, name, "".join(written(name, values)))
    table = Table(path)
    assert len(list(table.rows())) == 3
    write(tmp_path, name, "".join(written(name, values * 2)))
    with pytest.raises(InputError, match=f"^{path}: changed since it was checked; start again"):
        next(table.rows())


def written(name, values):
    """Lines of a file with some values."""
    if "jsonl" in name:
        return [json.dumps(row) + "\n" for row in values]
    if "tsv" in name:
        return ["\t".join(row) + "\n" for row in [values[0], *(v.values() for v in values)]]
    quoted = [['"' + x.replace('"', '""') + '"' for x in v.values()] for v in values]
    return ["text,n\n", *(",".join(row) + "\n" for row in quoted)]


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("x.csv", b"a", "1 fields where the header has 2"),
        ("x.csv", b"a,b,c", "3 fields where the header has 2"),
        ("x.csv", b'"a"b,c', "broken CSV: ',' expected after '\"'"),
        ("x.csv", b'"a,b', "broken CSV: a quote is not closed"),
        ("x.csv", b"a\rb,c", "broken CSV: a carriage return outside of quotes"),
        ("x.csv", b"Caf\xe9,b", "not UTF-8"),
        ("x.tsv", b"a", "1 fields where the header has 2"),
        ("x.tsv", b"a\tCaf\xe9", "not UTF-8"),
        ("x.jsonl", b"[1]", "a JSON object was expected, not a list"),
        ("x.jsonl", b'{"a": 1, "a": 2}', 'not valid JSON: duplicate key "a" in an object'),
        ("x.jsonl", b'{"a": NaN}', "not valid JSON: NaN is not a finite number"),
        ("x.jsonl", b'{"a": "\\ud800"}', "a has half of a surrogate pair (\\ud800 to \\udfff)"),
        ("x.jsonl", b'{"a": "Caf\xe9"}', "not UTF-8"),
        ("x.jsonl", b"[" * 100_000, "not valid JSON: nested too deeply"),
    ],
)
def test_broken_rows_do_not_hide_the_others(tmp_path, name, line, problem):
    good = {"csv": b"a,b\n", "tsv": b"a\tb\n", "jsonl": b'{"a": "x", "b": "y"}\n'}[name[2:]]
    found = rows_of(tmp_path, name, good + good + line + b"\n" + good)
    (broken,) = [row for row in found if isinstance(row[1], str)]
    assert broken[0] == 3
    assert broken[1].startswith(problem)
    if b'"a,b' not in line:  # the quote takes the rest of the file
        assert found[-1][0] == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "a", ": the name does not tell the format: it should end in"),
        ("x.csv", "a,b,a\n", ", line 1: the header has a more than once"),
        ("x.csv", b"a,\xff\n", ", line 1: not UTF-8; correct the header"),
        ("x.csv", 'a,"b', ", line 1: broken CSV: a quote is not closed"),
        ("x.csv", "a,b\n".encode("utf-16"), ", line 1: not UTF-8"),
    ],
)
def test_bad_headers(tmp_path, name, content, message):
    with pytest.raises(InputError, match=f"^{tmp_path}/{name}{message}"):
        Table(write(tmp_path, name, content))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"x\.csv: cannot read the file: No such file"):
        Table(str(tmp_path / "x.csv"))
    path = tmp_path / "x.csv.gz"
    for data in (gzip.compress(b"a,b\n" * 9)[:-9], b"\x1f\x8b\x08 no gzip", b"\x1f\x8b"):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"x\.csv\.gz: the gzip file is damaged: .*; copy it"):
            list(Table(str(path)).rows())
    path.write_bytes(gzip.compress(b"a,b\n")[:9])
    with pytest.raises(InputError, match=r"x\.csv\.gz: the gzip file is damaged: .*; copy it"):
        Table(str(path))


def test_a_semicolon_in_a_quoted_header_is_no_delimiter(tmp_path):
    table = Table(write(tmp_path, "x.csv", '"a;b"\nx;y\n'))
    assert table.columns == ("a;b",)


def test_an_empty_file_has_no_columns(tmp_path):
    for name in ("x.csv", "x.tsv", "x.jsonl"):
        table = Table(write(tmp_path, name, "\n\n"))
        assert table.columns == ()
        assert list(table.rows()) == []


def test_problems_are_counted_by_kind(tmp_path):
    problems = RowProblems()
    table = Table(write(tmp_path, "x.csv", CSV))
    assert not problems
    for line in range(2, 9):
        problems.add(line, f"not valid JSON: at {line}")
    problems.add(30, "no label")
    assert problems.messages(table) == [
        f"{table.path}, lines 2, 3, 4, 5, 6 and 2 more: not valid JSON: at 2",
        f"{table.path}, line 30: no label",
    ]


def test_kinds_beyond_the_first_twenty_are_one(tmp_path):
    problems = RowProblems()
    table = Table(write(tmp_path, "x.csv", CSV))
    for line in range(2, 25):
        problems.add(line, f"the label {line} is not known")
    assert problems.messages(table)[19:] == [
        f"{table.path}, line 21: the label 21 is not known",
        f"{table.path}, lines 22, 23, 24: other problems",
    ]


@pytest.mark.parametrize(("name", "content"), [("x.csv", CSV), ("x.tsv", TSV), ("x.jsonl", JSONL)])
def test_rows_are_written_in_the_format_of_the_table(tmp_path, name, content):
    table = Table(write(tmp_path, name, content))
    rows = [{**row.values, "new": 'a "b", c'} for row in table.rows()]
    text = "".join(as_text(table.format, [*table.columns, "new"], rows))
    again = Table(write(tmp_path, f"again.{table.format}", text))
    assert [dict(row.values) for row in again.rows()] == rows
    assert "é" in text or name != "x.csv"

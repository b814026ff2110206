"""Mutations of users' own files: each gives rows that can be used and written, or messages."""

from __future__ import annotations

import gzip

import pytest

from albert_tf.io.tables import Table, as_text
from albert_tf.tasks.classification.features import make_record
from albert_tf.tasks.custom import rows
from albert_tf.tasks.custom.columns import find_columns
from albert_tf.tasks.custom.settings import CustomSettings
from mutations import COUNT, check_reader

TEXT = 'A lamp "in" the fog, é\u2028 1874'
FILES = {
    "x.csv": '\ufefftext,label,id\n"A ""lamp"",\nlit",on,1\nfog,off,2\r\n\nÉdith’s 東京,on,3\n',
    "x.tsv": f"text\tlabel\n{TEXT}\ton\nfog\toff\r\n\nx y\ton\n",
    "x.jsonl": (
        '{"text": "A lamp\\n", "label": "on", "id": [1, null]}\n'
        '{"label": 1, "text": "\\u00e9 é", "id": {"x": 2.5}}\n{"text": "fog", "label": "on"}\n'
    ),
    "x.csv.gz": "text,score\nA lamp,1.5\nfog,-2\nx,1e3\n",
}


@pytest.mark.parametrize("name", FILES)
def test_own_files(tmp_path, sample_tokenizer, name):
    path, again = tmp_path / name, tmp_path / f"again.{name.split('.')[1]}"
    data = FILES[name].encode()
    is_regression = "score" in FILES[name]
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    def read():
        table = Table(str(path))
        columns = find_columns(table, CustomSettings(), is_regression, needs_label=True)
        check = rows.check_scores if is_regression else rows.check_labels
        return check(table, columns)

    def check(checked):
        examples = list(checked)
        assert len(examples) == len(checked) > 0
        for example in examples[:10]:
            assert is_regression or 0 <= example.label < len(checked.names)
            record = make_record(example.texts, example.label, sample_tokenizer, 32, True)
            assert len(record["input_ids"]) == 32
        values = [{**example.values, "prediction": "x"} for example in examples]
        columns = list(dict.fromkeys([*checked.table.columns, "prediction"]))
        table = checked.table
        text = "".join(as_text(table.format, columns, values, table.delimiter))
        again.write_bytes(text.encode())
        assert [dict(row.values) for row in Table(str(again)).rows()] == values

    results, errors = check_reader(path, read, check, count=COUNT, most_lines=21)
    assert results
    assert errors

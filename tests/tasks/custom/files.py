"""Files of own data made for tests."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Sequence

from golden import GOLDEN
from scripts import CLASSIFIER_FLAGS

OWN_DATA_FLAGS = {
    name: value
    for name, value in CLASSIFIER_FLAGS.items()
    if name not in ("data_dir", "task_name", "init_checkpoint")
}
GLUE_FOLDERS = {"mrpc": "MRPC", "cola": "CoLA", "sts-b": "STS-B"}


def write_rows(path: Path, rows: Sequence[dict]) -> str:
    """Write rows in the format of the path's name."""
    name, columns = path.name.replace(".gz", ""), list(rows[0])
    text = io.StringIO()
    if name.endswith(".jsonl"):
        text.writelines(json.dumps(row) + "\n" for row in rows)
    elif name.endswith(".tsv"):
        lines = [columns, *([row[column] for column in columns] for row in rows)]
        text.writelines("\t".join(map(str, line)) + "\n" for line in lines)
    else:
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return str(path)


def glue_sample(task: str, split: str) -> Path:
    """Path of a GLUE task's file in the sample."""
    return GOLDEN / f"sample/glue/{GLUE_FOLDERS[task]}/{split}.tsv"

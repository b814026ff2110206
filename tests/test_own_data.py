"""End-to-end tests of run_classifier.py on users' own files."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest

from own_data.files import OWN_DATA_FLAGS, write_rows
from scripts import fail, load, run_script, succeed

TEXTS = {
    "bright": ["bright", "warm", "lovely", "calm", "gentle", "happy"],
    "dark": ["dark", "cold", "awful", "loud", "harsh", "sad"],
}
TEST = [
    {"id": number, "text": f"the {word} lamp, of the keeper"}
    for number, word in enumerate(TEXTS["dark"][:3] + TEXTS["bright"][:3])
]


def run(output_dir, **flags):
    return run_script("run_classifier.py", {**OWN_DATA_FLAGS, "output_dir": output_dir, **flags})


def training_rows():
    words = ["lamp", "keeper", "sea", "tower"]
    return [
        {"text": f"a {word} {words[n % 4]}", "label": label}
        for n in range(8)
        for label, found in TEXTS.items()
        for word in found
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished run on a CSV file, with its export, and the log."""
    folder = tmp_path_factory.mktemp("own_data")
    log = succeed(
        run(
            folder / "run",
            train_file=write_rows(folder / "train.csv", training_rows()),
            test_file=write_rows(folder / "test.csv", TEST),
            dev_share=0.25,
            train_batch_size=16,
            train_step=60,
            learning_rate=1e-3,
            save_checkpoints_steps=30,
            class_weights="balanced",
            all_probabilities=True,
            export_dir=folder / "exported",
        )
    )
    return folder, log


def predictions(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_on_a_csv_file(finished):
    folder, log = finished
    assert "train.csv: text: text, label: label" in log
    assert "train.csv: 2 labels: bright (48), dark (48)" in log
    results = load(folder / "run/eval_results.json")
    assert results["metric"] == "accuracy"
    assert results["accuracy"] == 1.0
    matrix = load(folder / "run/confusion_matrix.json")
    assert matrix["labels"] == ["bright", "dark"]
    assert matrix["matrix"] == [[12, 0], [0, 12]]
    assert matrix["by_label"]["dark"]["f1"] == results["f1_macro"] == 1.0
    assert "dark         1.0000  1.0000  1.0000    12" in (
        folder / "run/confusion_matrix.txt"
    ).read_text(encoding="utf-8")


def test_predictions_stand_beside_the_rows(finished):
    folder, _ = finished
    predicted = predictions(folder / "run/predictions.csv")
    assert [(row["id"], row["text"]) for row in predicted] == [
        (str(row["id"]), row["text"]) for row in TEST
    ]
    assert [row["prediction"] for row in predicted] == ["dark"] * 3 + ["bright"] * 3
    for row in predicted:
        assert list(row) == [
            *("id", "text", "prediction", "probability"),
            *("probability_bright", "probability_dark"),
        ]
        assert row["probability"] == row[f"probability_{row['prediction']}"]
        both = float(row["probability_bright"]) + float(row["probability_dark"])
        assert both == pytest.approx(1, abs=1e-6)


def test_the_labels_are_kept(finished):
    folder, _ = finished
    expected = {
        "regression": False,
        "labels": ["bright", "dark"],
        "counts": [48, 48],
        "text_columns": ["text"],
    }
    (exported,) = (folder / "exported").iterdir()
    assert load(folder / "run/labels.json") == expected
    assert load(exported / "assets.extra/labels.json") == expected


def test_later_prediction_of_a_gzipped_file(finished, tmp_path):
    folder, _ = finished
    rows = [{"text": row["text"], "note": [row["id"], None]} for row in TEST]
    log = succeed(
        run(
            tmp_path / "run",
            init_checkpoint=folder / "run",
            test_file=write_rows(tmp_path / "test.jsonl.gz", rows),
            do_train=False,
            do_eval=False,
            all_probabilities=True,
        )
    )
    assert "predicted 6 records" in log
    lines = (tmp_path / "run/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    expected = predictions(folder / "run/predictions.csv")
    for line, row, earlier in zip(lines, rows, expected):
        predicted = json.loads(line)
        probabilities = predicted.pop("probabilities")
        assert list(probabilities) == ["bright", "dark"]
        assert predicted.pop("probability") == probabilities[predicted["prediction"]]
        assert predicted.pop("prediction") == earlier["prediction"]
        assert predicted == row
        for label, value in probabilities.items():
            assert value == pytest.approx(float(earlier[f"probability_{label}"]), abs=1e-6)
    assert len(lines) == len(expected)


def test_regression_on_gzipped_files(tmp_path):
    rows = [{"text": "dark " * (n % 5), "score": -1.5 * (n % 5)} for n in range(1, 41)]
    log = succeed(
        run(
            tmp_path / "run",
            train_file=write_rows(tmp_path / "train.tsv.gz", rows),
            dev_file=write_rows(tmp_path / "dev.jsonl.gz", rows[:10]),
            test_file=write_rows(tmp_path / "test.tsv.gz", rows[:10]),
            regression=True,
            train_batch_size=16,
            train_step=80,
            learning_rate=3e-3,
            save_checkpoints_steps=80,
        )
    )
    assert "train.tsv.gz: text: text, label: score" in log
    assert "lines 6, 11, 16, 21, 26 and 3 more: the text text is empty" in log
    lines = (tmp_path / "run/predictions.tsv").read_text(encoding="utf-8").splitlines()
    header, *predicted = (line.split("\t") for line in lines)
    assert header == ["text", "score", "prediction"]
    scores = np.array([float(row[2]) for row in predicted])
    truth = [row["score"] for row in rows[:10]]
    results = load(tmp_path / "run/eval_results.json")
    assert results["metric"] == "pearson"
    assert results["pearson"] == pytest.approx(np.corrcoef(scores, truth)[0, 1], abs=1e-4)
    assert results["pearson"] > 0.9
    assert load(tmp_path / "run/labels.json")["regression"] is True
    assert not (tmp_path / "run/confusion_matrix.txt").exists()


def test_all_problems_of_all_files_at_once(tmp_path):
    files = {
        "train_file": "text,label\na,x\nb\nc,y\nd,\n",
        "dev_file": "text,label\na,x\n",
        "test_file": "a,b\n1,2\n",
    }
    for flag, content in files.items():
        (tmp_path / f"{flag}.csv").write_text(content)
    paths = {flag: tmp_path / f"{flag}.csv" for flag in files}
    assert fail(run(tmp_path / "run", **paths)) == [
        f"error: {tmp_path}/train_file.csv, line 3: 1 fields where the header has 2; correct the "
        "file",
        f"error: {tmp_path}/train_file.csv, line 5: no label; correct the file",
    ]
    with gzip.open(tmp_path / "train_file.csv", "wt") as file:
        file.write("text,label\na,x\nb,x\nc,y\n")
    (tmp_path / "dev_file.csv").write_bytes(b"text,label\na,z\n\xff,x\nc,y\n")
    assert fail(run(tmp_path / "run", **paths)) == [
        f'error: {tmp_path}/dev_file.csv, line 2: the label "z" is not one of the model\'s, which '
        "are x, y; correct the file",
        f"error: {tmp_path}/dev_file.csv, line 3: not UTF-8; correct the file",
        f"error: {tmp_path}/test_file.csv: cannot tell the column of the text among a, b: no name "
        "tells it; give --text_column",
    ]

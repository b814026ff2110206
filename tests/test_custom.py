"""End-to-end tests of run_classifier.py on users' own files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from tensorflow import lite

from albert_tf.tasks.base import MODEL_INPUTS
from albert_tf.tasks.classification.features import make_record
from golden import checkpoint_of
from scripts import load, run_script, succeed
from tasks.custom.files import OWN_DATA_FLAGS, write_rows

WORDS = {"bright": ("sun", "gold"), "dark": ("fog", "night")}
TEST = [
    {"id": number, "text": f"{word}, {word}: {word}"}
    for number, word in enumerate(WORDS["dark"] + WORDS["bright"])
]


def run(output_dir, **flags):
    return run_script("run_classifier.py", {**OWN_DATA_FLAGS, "output_dir": output_dir, **flags})


def training_rows():
    return [
        {"text": f"{word} {word} {word} {n}", "label": label}
        for n in range(24)
        for label, words in WORDS.items()
        for word in words
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
            export_tflite=folder / "model.tflite",
        )
    )
    return folder, log


def predictions(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.tensorflow
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
    assert "dark       1.0000  1.0000  1.0000    12" in (
        folder / "run/confusion_matrix.txt"
    ).read_text(encoding="utf-8")


def test_predictions_stand_beside_the_rows(finished):
    folder, _ = finished
    predicted = predictions(folder / "run/predictions.csv")
    assert [(row["id"], row["text"]) for row in predicted] == [
        (str(row["id"]), row["text"]) for row in TEST
    ]
    assert [row["prediction"] for row in predicted] == ["dark"] * 2 + ["bright"] * 2
    for row in predicted:
        assert list(row) == [
            "id",
            "text",
            "prediction",
            "probability",
            "probability_bright",
            "probability_dark",
        ]
        assert row["probability"] == row[f"probability_{row['prediction']}"]
        both = float(row["probability_bright"]) + float(row["probability_dark"])
        assert both == pytest.approx(1, abs=1e-6)


def test_the_labels_are_kept(finished):
    folder, _ = finished
    expected = {
        "format": 1,
        "regression": False,
        "labels": ["bright", "dark"],
        "counts": [48, 48],
        "text_columns": ["text"],
    }
    (exported,) = (folder / "exported").iterdir()
    assert load(folder / "run/labels.json") == expected
    assert load(exported / "assets.extra/labels.json") == expected


def test_the_file_for_tflite_predicts_alike(finished, sample_tokenizer):
    folder, _ = finished
    runner = lite.Interpreter(model_path=str(folder / "model.tflite")).get_signature_runner()
    for row in predictions(folder / "run/predictions.csv"):
        record = make_record((row["text"],), 0, sample_tokenizer, 40, True)
        inputs = {name: np.array([record[name]], np.int32) for name in MODEL_INPUTS}
        (probabilities,) = runner(**inputs)["probabilities"]
        expected = [float(row[f"probability_{label}"]) for label in WORDS]
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-4)


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
    assert "predicted 4 records" in log
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
    rows = [{"text": "fog " * (n % 5), "score": -1.5 * (n % 5)} for n in range(1, 41)]
    log = succeed(
        run(
            tmp_path / "run",
            train_file=write_rows(tmp_path / "train.tsv.gz", rows),
            dev_file=write_rows(tmp_path / "dev.jsonl.gz", rows[:10]),
            test_file=write_rows(tmp_path / "test.tsv.gz", rows[:10]),
            init_checkpoint=checkpoint_of("regression"),
            regression=True,
            train_step=4,
        )
    )
    assert "train.tsv.gz: text: text, label: score" in log
    assert "lines 6, 11, 16, 21, 26 and 3 more: the text text is empty" in log
    lines = (tmp_path / "run/predictions.tsv").read_text(encoding="utf-8").splitlines()
    header, *predicted = (line.split("\t") for line in lines)
    assert header == ["text", "score", "prediction"]
    scores = np.array([float(row[2]) for row in predicted])
    results = load(tmp_path / "run/eval_results.json")
    assert results["metric"] == "pearson"
    # Evaluation and prediction are two passes, whose scores agree to float32's rounding only.
    rounding = 4 * np.spacing(np.float32(abs(scores).max())) / scores.std()
    expected = np.corrcoef(scores, [row["score"] for row in rows[:10]])[0, 1]
    assert results["pearson"] == pytest.approx(expected, abs=rounding)
    assert load(tmp_path / "run/labels.json")["regression"] is True
    assert not (tmp_path / "run/confusion_matrix.txt").exists()

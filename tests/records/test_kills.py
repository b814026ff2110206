"""Record files after a kill at any moment: the next run reads the records of its own inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albert_tf.io.errors import InputError
from albert_tf.records import conversion, manifests, record_files
from albert_tf.records.manifests import Origin
from albert_tf.tasks.pretraining import writing
from albert_tf.tasks.pretraining.settings import RecordSettings
from file_operation_kills import kills
from golden import GOLDEN
from scripts import SAMPLE_MODEL, SAMPLE_TRAIN
from task_factory import make_context

OLD, NEW = (Origin({}, {"text": text}) for text in ("old", "new"))
CONTENTS = {"old": [b"old-1", b"old-2"], "new": [b"new-1", b"new-2"]}  # of the same size


def write(paths, origin):
    """Write the same records to each path, unless they are there."""
    if not all(manifests.is_made(path, origin) for path in paths):
        with manifests.record_writers(paths, origin) as writers:
            for writer in writers:
                for record in CONTENTS[origin.inputs["text"]]:
                    writer.write(record)


def contents(path):
    return list(record_files.read_records(path))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def paths(tmp_path):
    return [str(tmp_path / name) for name in ("features", "companions")]


@pytest.mark.parametrize("earlier", [None, OLD])
@pytest.mark.parametrize("later", [OLD, NEW])
def test_the_same_or_another_command_after_a_kill(tmp_path, paths, earlier, later):
    """Files are made for the first time, or in place of older ones; the process is killed."""
    moments = 0
    if earlier:
        write(paths, earlier)
    for _ in kills(lambda: write(paths, NEW), tmp_path):
        moments += 1
        for path in paths:
            assert not manifests.is_foreign(path)
        usable = [manifests.usable_manifest(path, later) for path in paths]
        assert [manifests.is_made(path, later) for path in paths] == list(map(bool, usable))
        for path, manifest in zip(paths, usable):
            if manifest:
                assert contents(path) == CONTENTS[later.inputs["text"]]
        write(paths, later)
        for path in paths:
            assert contents(path) == CONTENTS[later.inputs["text"]]
            manifests.usable_manifest(path, later)
        assert names(tmp_path) == sorted(
            f"{name}{end}" for name in ("features", "companions") for end in ("", ".manifest.json")
        )
        for path in tmp_path.iterdir():
            path.unlink()
        if earlier:
            write(paths, earlier)
    assert moments > 15
    assert [contents(path) for path in paths] == [CONTENTS["new"]] * 2


@pytest.fixture
def changed_questions(tmp_path):
    """The sample's questions in reverse order, whose records have the same sizes."""
    articles = json.loads(SAMPLE_TRAIN.read_text(encoding="utf-8"))
    for article in articles["data"]:
        for paragraph in article["paragraphs"]:
            paragraph["qas"].reverse()
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(articles), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["train", "dev"])
@pytest.mark.parametrize("are_given", [False, True])
def test_questions_that_have_changed(tmp_path, changed_questions, name, are_given):
    """Features, and features with their windows, of a changed file; the process is killed.

    Files with given names are replaced. Others have names of their own for each content.
    """
    directory, given = tmp_path / "run", {}
    if are_given:
        flags = ("train_feature_file", "predict_feature_file", "predict_feature_left_file")
        given = {flag: directory / flag for flag in flags}

    def shard(**changes):
        context = make_context("squad", directory, **given, **changes)
        return context.train if name == "train" else context.dev[0]

    old, changes = shard(), {"train_file": changed_questions, "predict_file": changed_questions}
    old.prepare()
    before = [contents(path) for path in old.paths]
    files_before = {path.name: path.read_bytes() for path in directory.iterdir()}
    killed = shard(**changes)
    assert (killed.paths == old.paths) == are_given
    same_command = []
    for _ in kills(killed.prepare, directory, every=5):
        again = shard(**changes)
        again.prepare()
        after = [contents(path) for path in again.paths]
        assert all(new != old for new, old in zip(after, before))
        assert not same_command or after == same_command
        same_command = after
        if not are_given:
            assert [contents(path) for path in old.paths] == before
        for path in directory.iterdir():
            path.unlink()
        for file, content in files_before.items():
            (directory / file).write_bytes(content)
    assert same_command
    assert [contents(path) for path in killed.paths] == same_command


def test_pretraining_records_of_a_text_that_has_changed(tmp_path):
    """Two record files of a changed text; the process is killed, and the files are read."""
    text, directory = tmp_path / "text", tmp_path / "records"
    sentences = (GOLDEN / "sample/sample_corpus.txt").read_text(encoding="utf-8")
    settings = RecordSettings(
        spm_model_file=str(SAMPLE_MODEL),
        input_file=str(text),
        output_file=f"{directory}/a,{directory}/b",
        max_seq_length=64,
        max_predictions_per_seq=10,
        dupe_factor=1,
    )

    def made(lines):
        text.write_text("\n".join(lines), encoding="utf-8")
        writing.make_records(settings)
        return [contents(str(directory / name)) for name in ("a", "b")]

    lines = sentences.splitlines()[:60]
    new = made(lines[::-1])
    old = made(lines)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    text.write_text("\n".join(lines[::-1]), encoding="utf-8")
    for _ in kills(lambda: writing.make_records(settings), directory, every=5):
        try:
            context = make_context(
                "pretraining", tmp_path / "run", input_file=f"{directory}/*", do_eval=False
            )
            assert [contents(path) for path in context.train.paths] in (old, new)
        except InputError as error:  # between the renames of the manifests and of the files
            assert "remove both and rebuild the file" in str(error)  # noqa: PT017
        writing.make_records(settings)
        assert [contents(str(directory / name)) for name in ("a", "b")] == new
        left = [name for name in names(directory) if not name.endswith(".lock")]
        assert left == ["a", "a.manifest.json", "b", "b.manifest.json"]
        for name, content in before.items():
            (directory / name).write_bytes(content)
    assert [contents(str(directory / name)) for name in ("a", "b")] == new


def test_files_of_an_earlier_version_of_the_conversion(tmp_path, monkeypatch):
    def features():
        context = make_context("squad", tmp_path / "run", train_feature_file=tmp_path / "features")
        context.train.prepare()
        return context.train.paths[0]

    path = features()
    settings = json.loads(manifests.manifest_path(path).read_text())["settings"]
    assert settings["records_version"] == 1
    before = Path(path).stat().st_mtime_ns
    features()
    assert Path(path).stat().st_mtime_ns == before
    monkeypatch.setattr(conversion, "VERSION", 2)
    features()
    assert Path(path).stat().st_mtime_ns != before

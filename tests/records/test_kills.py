"""Record files after a kill at any moment: the next run reads the records of its own inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albert_tf.io.errors import InputError
from albert_tf.records import manifests, record_files
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
    if not manifests.is_made(paths, origin):
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


@pytest.mark.parametrize("shard_name", ["train_shards", "eval_shards"])
def test_questions_that_have_changed(tmp_path, changed_questions, shard_name):
    """Features, and features with their windows, of a changed file; the process is killed."""

    def shard(**changes):
        (shard,) = getattr(make_context("squad", tmp_path / "run", **changes), shard_name)
        return shard

    old, changes = shard(), {"train_file": changed_questions, "predict_file": changed_questions}
    old.prepare()
    before = [contents(path) for path in old.paths]
    files_before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    del old
    killed = shard(**changes)
    same_command = 0
    for _ in kills(killed.prepare, tmp_path / "run", every=5):
        again = shard(**changes)
        again.prepare()
        after = [contents(path) for path in again.paths]
        assert all(new != old for new, old in zip(after, before))
        if same_command:
            assert after == same_command
        same_command = after
        del again
        for name, content in files_before.items():
            (tmp_path / "run" / name).write_bytes(content)
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
            setup = make_context(
                "pretraining", tmp_path / "run", input_file=f"{directory}/*", do_eval=False
            )
            (shard,) = setup.train_shards
            assert [contents(path) for path in shard.paths] in (old, new)
            del setup, shard
        except InputError as error:
            assert "unfinished" in str(error)  # noqa: PT017  # the files may also be whole
        writing.make_records(settings)
        assert [contents(str(directory / name)) for name in ("a", "b")] == new
        assert names(directory) == ["a", "a.manifest.json", "b", "b.manifest.json"]
        for name, content in before.items():
            (directory / name).write_bytes(content)
    assert [contents(str(directory / name)) for name in ("a", "b")] == new


def test_files_of_an_earlier_version_of_the_conversion(tmp_path, monkeypatch):
    (shard,) = make_context("squad", tmp_path / "run").train_shards
    shard.prepare()
    version = json.loads(manifests.manifest_path(shard.paths[0]).read_text())["settings"]
    assert version["records_version"] == 1
    before = Path(shard.paths[0]).stat().st_mtime_ns
    monkeypatch.setattr(type(shard.task), "records_version", 2)
    del shard
    (shard,) = make_context("squad", tmp_path / "run").train_shards
    shard.prepare()
    assert Path(shard.paths[0]).stat().st_mtime_ns != before

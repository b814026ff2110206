"""README and the pages of docs/: each command belongs to a test, and each link leads somewhere."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from golden import checkpoint_of
from readme_commands import PAGES, commands_of, readme_blocks, run_as_printed
from scripts import (
    ROOT,
    SAMPLE_GLUE,
    SAMPLE_MODEL,
    SAMPLE_PREDICT,
    SAMPLE_RACE,
    SAMPLE_TRAIN,
    SAMPLE_V2_PREDICT,
    SAMPLE_V2_TRAIN,
    TINY_CONFIG,
)

HERE = "tests/test_pages.py::test_the_printed_commands_run"
# The test of each block, by a text that only this block has. It runs the commands as printed, or
# where they take days, other hardware or a network, the same scripts on less.
TESTS = {
    # README.md
    "make quickstart": "tests/readme/test_trainings.py::test_quickstart",
    "albert_models/ albert_base_v2": "tests/download/test_download_pretrained_model.py"
    "::test_download_prints_the_flags_to_pass_on",
    "--output_dir=squad_base --save_checkpoints_steps=1000\n": HERE,
    "Who built the tower?": HERE,
    "--task_name=mrpc --data_dir=glue --output_dir=mrpc_base": HERE,
    "--train_file=reviews.csv --dev_share=0.1 --output_dir": HERE,
    "run_race.py --init_checkpoint=albert_base_v2": HERE,
    "--output_file=records/train.0 \\\n": HERE,
    "--export_tflite=squad.tflite": HERE,
    # CONTRIBUTING.md
    "pre-commit install": "tests/test_pages.py::test_programs_and_targets_exist",
    # docs/classification.md
    "--data_dir=glue --task_name=mrpc \\\n": HERE,
    "--output_dir=mrpc_base --data_dir=glue --do_predict\n": HERE,
    "make_glue.py quickstart/glue": "tests/readme/test_trainings.py::test_mrpc",
    "--test_file=new.csv \\\n  --output_dir=reviews_base": HERE,
    "--test_file=more.jsonl": HERE,
    "make_csv.py quickstart": "tests/test_serving_examples.py::test_the_tour_ends_with_an_answer",
    # docs/distributed.md
    "apt-get install g++ openmpi-bin libopenmpi-dev   #": "tests/test_horovod.py"
    "::test_values_are_exchanged",
    "mpirun -np 8 --bind-to none": "tests/test_horovod.py::test_a_run_of_two",
    "mpirun -np 16": "tests/test_horovod.py::test_servers_that_share_nothing",
    # docs/gaudi.md
    "requirements-hpu.txt": "tests/test_pages.py::test_programs_and_targets_exist",
    "python run_squad_v1.py --device=hpu \\\n": "tests/test_examples.py"
    "::test_the_printed_flags_are_those_of_the_scripts",
    "--map-by socket:PE=6": "tests/test_examples.py"
    "::test_the_printed_flags_are_those_of_the_scripts",
    "--synapse_logger_start=100": "tests/test_examples.py"
    "::test_the_printed_flags_are_those_of_the_scripts",
    # docs/install.md
    "make setup\n. .venv/bin/activate": "tests/readme/test_trainings.py::test_quickstart",
    "requirements.lock": "tests/test_requirements.py::test_the_lock_file_fulfills_the_requirements",
    "squad squad-v2 race": "tests/download/test_download_dataset.py::test_data_sets",
    # docs/outputs.md
    "report.py --output_dir=squad_base": HERE,
    # docs/performance.md
    "benchmarks/features.py": "tests/test_benchmarks.py::test_features",
    "make compare": "tests/test_benchmarks.py::test_compare",
    # docs/pretraining.md
    "text_to_answers.py": "tests/readme/test_trainings.py::test_text_to_answers",
    "records/train.0,records/train.1": HERE,
    # docs/race.md
    "\n  --data_dir=RACE --output_dir=race_base \\\n": HERE,
    "make_race.py quickstart/RACE": "tests/readme/test_trainings.py::test_race",
    "--model=race_exported": HERE,
    # docs/serving.md
    "docker run": "tests/test_serving_examples.py::test_requests_fit_the_exported_signature",
    "saved_model_cli": "tests/test_serving_examples.py::test_wrong_requests_are_answered",
    # docs/squad.md
    "--train_batch_size=48 --num_train_epochs=2": HERE,
    "--predict_file=questions.json": HERE,
    "--model=exported --text_file=page.txt": HERE,
    "--questions_file=questions.csv": HERE,
    "--train_file=SQuAD-v2/train-v2.0.json": HERE,
    "make_squad.py quickstart/squad_v2": "tests/readme/test_trainings.py::test_squad_v2",
    # docs/transformers.md
    "--huggingface_dir=mrpc_base_hf": HERE,
}
# Programs of others in the blocks.
OTHERS = {
    *("apt-get", "curl", "docker", "head", "horovodrun", "mpirun", "pip", "pre-commit"),
    *("python3.10", "saved_model_cli", ".", ".venv-gaudi/bin/pip"),
}
OUR_PYTHON = re.compile(r"(\.venv(-gaudi)?/bin/)?python$")

# Flags with which the printed commands take seconds, on the tiny model.
_SQUAD = "--max_seq_length=96 --doc_stride=32 --max_query_length=24 --train_steps=2"
_SHORT = "--train_batch_size=2 --save_checkpoints_steps=1 --max_eval_examples=8 --device=cpu"
SHORT = {
    "run_squad_v1.py": f"{_SQUAD} {_SHORT} --max_train_examples=8",
    "run_squad_v2.py": f"{_SQUAD} {_SHORT} --max_train_examples=8",
    "run_classifier.py": f"{_SHORT} --max_seq_length=40 --train_step=2 --warmup_step=0 "
    "--write_report=false",
    "run_race.py": f"{_SHORT} --max_seq_length=64 --max_qa_length=24 --train_step=2 "
    "--warmup_step=0 --export_dir=race_exported",
    "create_pretraining_data.py": "--max_seq_length=64 --max_predictions_per_seq=10 "
    "--dupe_factor=1",
    "run_pretraining.py": f"{_SHORT} --max_seq_length=64 --max_predictions_per_seq=10 "
    "--num_train_steps=2 --num_warmup_steps=0 --gradient_accumulation_steps=1",
    "ask.py": "",
    "report.py": "",
    "convert_checkpoint.py": "",
}
_RUN_SHORT = """import runpy, sys
sys.path[0] = {root!r}
sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != "…"), *{flags!r}]
runpy.run_path({script!r}, run_name="__main__")
"""


def test_each_block_belongs_to_a_test():
    unclaimed = [block for block in readme_blocks() if not any(text in block for text in TESTS)]
    assert unclaimed == []
    counts = {text: sum(text in block for block in readme_blocks()) for text in TESTS}
    assert {text: count for text, count in counts.items() if count != 1} == {}
    for test in TESTS.values():
        file, _, name = test.partition("::")
        functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        assert name in {x.name for x in functions if isinstance(x, ast.FunctionDef)}, test


def test_programs_and_targets_exist():
    """Our programs, targets of the Makefile, and files of requirements."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in (words for block in readme_blocks() for words in commands_of(block)):
        while "=" in command[0]:  # environment variables
            command = command[1:]
        program, *arguments = command
        if OUR_PYTHON.match(program):
            assert (ROOT / arguments[0]).is_file(), command
        elif program == "make":
            assert arguments[0] in targets, command
        else:
            assert program in OTHERS, command
        for flag, file in zip(arguments, arguments[1:]):
            assert flag != "-r" or (ROOT / file).is_file(), command


def test_flags_of_programs_without_settings_exist():
    """Flags of benchmarks and examples, which the scripts' own test does not know."""
    for command in (words for block in readme_blocks() for words in commands_of(block)):
        for number, word in enumerate(command):
            if word.startswith(("benchmarks/", "examples/")):
                source = (ROOT / word).read_text() + (ROOT / "benchmarks/common.py").read_text()
                for flag in (x.partition("=")[0] for x in command[number + 1 :]):
                    assert not flag.startswith("--") or f'"{flag}"' in source, command


def test_readme_is_short():
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 250
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("page", [*PAGES, "CHANGES.md", "benchmarks/README.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)\s#]*)(?:#([^)\s]*))?\)", text)
    for path, anchor in links:
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_picture_of_the_report_is_small():
    assert (ROOT / "docs/report.png").stat().st_size < 150_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with what the printed commands take: scripts, and a tiny model and samples."""
    folder = tmp_path_factory.mktemp("printed")
    for name, flags in SHORT.items():
        values = {"root": str(ROOT), "script": str(ROOT / name), "flags": flags.split()}
        (folder / name).write_text(_RUN_SHORT.format(**values), encoding="utf-8")
    model = folder / "albert_base_v2"
    model.mkdir()
    shutil.copyfile(TINY_CONFIG, model / "albert_config.json")
    shutil.copyfile(SAMPLE_MODEL, model / "30k-clean.model")
    checkpoint = Path(checkpoint_of("pretraining"))
    for path in checkpoint.parent.glob(f"{checkpoint.name}.*"):
        shutil.copyfile(path, model / f"model.ckpt-best{path.name[len(checkpoint.name) :]}")
    for name, path in {
        "SQuAD/train-v1.1.json": SAMPLE_TRAIN,
        "SQuAD/dev-v1.1.json": SAMPLE_PREDICT,
        "SQuAD-v2/train-v2.0.json": SAMPLE_V2_TRAIN,
        "SQuAD-v2/dev-v2.0.json": SAMPLE_V2_PREDICT,
        "questions.json": SAMPLE_PREDICT,
        "glue": SAMPLE_GLUE,
        "RACE": SAMPLE_RACE,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(path)
    text = "The tower was built in 1320.\nIt rings each hour.\n\n" * 20
    for name in ("page.txt", "pages/page.txt", "corpus/text.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    rows = [("good", "A fine book."), ("bad", "A dull film."), ("good", "I liked it.")]
    csv = "".join(f"{text},{label}\n" for label, text in rows * 10)
    (folder / "reviews.csv").write_text(f"text,label\n{csv}", encoding="utf-8")
    (folder / "new.csv").write_text("text\nA fine film.\n", encoding="utf-8")
    (folder / "more.jsonl").write_text(json.dumps({"text": "A dull book."}), encoding="utf-8")
    questions = "question,text_file\nWhen was the tower built?,page.txt\n"
    (folder / "questions.csv").write_text(questions, encoding="utf-8")
    return folder


@pytest.mark.examples
def test_the_printed_commands_run(folder):
    """In the order of the pages, as some take what others leave."""
    for block in readme_blocks():
        if any(text in block for text, test in TESTS.items() if test == HERE):
            run_as_printed(re.sub(r"^pip .*", "", block, flags=re.MULTILINE), folder)
    for directory in ("squad_base", "squad_v2_base", "mrpc_base", "reviews_base", "race_base"):
        results = json.loads((folder / directory / "eval_results.json").read_text())
        assert results["checkpoints"].keys() == {"model.ckpt-1", "model.ckpt-2"}
    for file in (
        "squad_base/report.html",
        "squad_base/predictions/questions/predictions.json",
        "squad.tflite",
        "answers.csv",
        "mrpc_base/predictions/test/test_results.tsv",
        "more/predictions.jsonl",
        "race_base/test_results.tsv",
        "pretrained/eval_results.json",
        "squad_base_hf/model.safetensors",
        "mrpc_base_tf/albert_config.json",
    ):
        assert (folder / file).is_file(), file

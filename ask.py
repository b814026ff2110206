"""Answers questions about texts with a model of run_squad_v1.py or run_squad_v2.py.

python ask.py --model=exported --text_file=page.txt --question="Who built the tower?"
python ask.py --model=exported --questions_file=questions.csv --answers_file=answers.csv
python ask.py --model=exported --text_dir=pages --question="Who built the tower?"

With --options, a model of run_race.py chooses among them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Iterable, List, Optional, Sequence

from absl import logging
from tqdm import tqdm

from albert_tf.cli.launch import launch, load_tensorflow
from albert_tf.cli.paths import CHECKPOINT_PATH
from albert_tf.cli.settings import Group, path_setting, setting
from albert_tf.inference import many_questions
from albert_tf.io import files, tables
from albert_tf.io.errors import InputError
from albert_tf.tasks.race.settings import ChoiceSettings
from albert_tf.tasks.squad.settings import NullAnswerSettings

if TYPE_CHECKING:
    from albert_tf.inference.choosing import ScoredOption
    from albert_tf.inference.question_answering import FoundAnswer


_NEEDED = {
    "model": "the output directory of a run, or an exported model",
    "text_file": "the text, or - for standard input",
    "question": "a question about the text",
}


@dataclass(frozen=True)
class Settings(NullAnswerSettings, ChoiceSettings):
    """Model, texts and questions.

    Settings of text and answers that are None come from the model.
    """

    model: Optional[str] = path_setting(
        "SavedModel, the --export_dir that contains it, a checkpoint, or the output directory of a "
        "run.",
        kind=CHECKPOINT_PATH,
        must_exist=True,
    )
    text_file: Optional[str] = path_setting(
        "Text file, in UTF-8; - for standard input.", must_exist=True
    )
    question: Optional[str] = setting(None, "Question about the text.", group=Group.FILES)
    questions_file: Optional[str] = path_setting(
        "Many questions: CSV, TSV or JSON Lines with question, text or text_file, and perhaps id.",
        must_exist=True,
    )
    text_dir: Optional[str] = path_setting(
        "Directory with text files to ask the question of; the answers are ranked.", must_exist=True
    )
    answers_file: Optional[str] = path_setting(
        "File for the answers to many questions: CSV, TSV or JSON Lines, by its name. Default: "
        "JSON Lines on the standard output."
    )
    options: Optional[List[str]] = setting(
        None,
        "Options to choose from with a model of run_race.py, separated by commas. Options with a "
        "comma stand in double quotes.",
        group=Group.FILES,
    )
    num_answers: int = setting(
        1, "Number of answers to show, best first.", lower=1, group=Group.FILES
    )
    json: bool = setting(False, "Whether to print the answers as JSON.", group=Group.FILES)
    albert_config_file: Optional[str] = path_setting(
        "Config of a checkpoint. Default: albert_config.json next to the checkpoint.",
        must_exist=True,
    )
    if not TYPE_CHECKING:  # a subclass must not widen the types of fields
        max_seq_length: Optional[int] = None
        do_lower_case: Optional[bool] = None
        doc_stride: Optional[int] = None
        max_query_length: Optional[int] = None
        max_qa_length: Optional[int] = None
        n_best_size: Optional[int] = None
        max_answer_length: Optional[int] = None


def main(settings: Settings) -> None:
    """Answer the question, and print the answers with their locations."""
    if settings.questions_file or settings.text_dir:
        _ask_many(settings)
        return
    missing = [name for name in _NEEDED if not (getattr(settings, name) or "").strip()]
    if missing:
        raise InputError(*(f"--{name} is missing: give {_NEEDED[name]}" for name in missing))
    given = _given(settings)
    load_tensorflow()
    if settings.options:
        options = _chosen(settings, given)[: settings.num_answers]
        _print_json(options) if settings.json else _print_options(options)
    else:
        answers = _found(settings, given)[: settings.num_answers]
        _print_json(answers) if settings.json else _print_answers(answers, given["text_file"])


def _given(settings: Settings) -> dict[str, Any]:
    """Values of the settings that are given, by name."""
    return {name: value for name, value in asdict(settings).items() if value is not None}


def _found(settings: Settings, given: dict[str, Any]) -> list[FoundAnswer]:
    """Find answers in the text, best first."""
    from albert_tf.inference import question_answering, trained_model

    text = trained_model.read_text(given["text_file"])
    model = question_answering.load_model(
        given["model"], settings.albert_config_file, settings.spm_model_file, given
    )
    return model.answer(given["question"], text)


def _chosen(settings: Settings, given: dict[str, Any]) -> list[ScoredOption]:
    """Score the options, best first."""
    from albert_tf.inference import trained_model
    from albert_tf.inference.choosing import choose, load_scorer

    text = trained_model.read_text(given["text_file"])
    model = trained_model.load(
        given["model"], ChoiceSettings, settings.albert_config_file, settings.spm_model_file, given
    )
    return choose(
        given["question"],
        given["options"],
        text,
        model.tokenizer,
        load_scorer(model),
        model.settings,
    )


def _ask_many(settings: Settings) -> None:
    """Answer the questions of a file, or one question about each file of a directory."""
    if not settings.model:
        raise InputError("--model is missing: give the model to ask")
    if bool(settings.questions_file) == bool(settings.text_dir) or settings.text_file:
        raise InputError("give one of --text_file, --questions_file and --text_dir")
    if bool(settings.question) != bool(settings.text_dir):
        raise InputError(
            "--question: give it with --text_dir; the questions of --questions_file are in the file"
        )
    if settings.answers_file:
        file_format = tables.format_of(settings.answers_file)
        files.check_file(settings.answers_file)
    else:
        file_format = "jsonl"
    given = _given(settings)
    if settings.text_dir:
        asked = many_questions.questions_of_files(settings.text_dir, given["question"])
    else:
        asked = many_questions.read_questions(given["questions_file"])
    load_tensorflow()
    from albert_tf.inference.question_answering import load_model
    from albert_tf.inference.trained_model import read_text

    for _ in many_questions.with_texts(asked, read_text):
        pass  # reads all texts, so that a missing one is known before the model is loaded
    questions = many_questions.with_texts(asked, read_text)
    model = load_model(settings.model, settings.albert_config_file, settings.spm_model_file, given)
    found = tqdm(
        model.answer_all(questions), "answering", len(asked), unit=" questions", disable=None
    )
    rows: Iterable[dict[str, Any]] = (
        row
        for question, answers in zip(asked, found)
        for row in many_questions.answer_rows(question, answers[: settings.num_answers])
    )
    if settings.text_dir:
        rows = many_questions.ranked(rows)
    lines = tables.as_text(file_format, many_questions.ANSWER_COLUMNS, rows)
    if settings.answers_file:
        files.write_text(settings.answers_file, lines)
        logging.info("%s: answers to %d questions", settings.answers_file, len(asked))
    else:
        for line in lines:
            print(line, end="")


def _print_json(answers: Sequence[FoundAnswer | ScoredOption]) -> None:
    print(json.dumps([asdict(answer) for answer in answers], ensure_ascii=False, indent=2))


def _print_options(options: Sequence[ScoredOption]) -> None:
    for option in options:
        print(f"{option.text}\n  probability {option.probability:.3f}")


def _print_answers(answers: list[FoundAnswer], text_file: str) -> None:
    text_file = "standard input" if text_file == "-" else text_file
    for answer in answers:
        if answer.is_none:
            print(f"no answer\n  probability {answer.probability:.3f}")
            continue
        print(answer.text)
        print(
            f"  probability {answer.probability:.3f}; {text_file}, line {answer.line}, column "
            f"{answer.column} (characters {answer.start} to {answer.end})"
        )
    if not answers:
        print("No answer found in the text.")


if __name__ == "__main__":
    launch(main, Settings)

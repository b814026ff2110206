"""Answers a question about a text file with a model trained or exported by run_squad_v1.py.

python ask.py --model=exported --text_file=page.txt --question="Who built the tower?"
"""

from __future__ import annotations

if __name__ == "__main__":
    from albert_tf import stopping

    stopping.end_quietly()  # a signal while the modules below load

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from albert_tf.errors import InputError
from albert_tf.runs.launch import launch
from albert_tf.runs.paths import CHECKPOINT_PATH
from albert_tf.runs.settings import FILES, path_setting, setting
from albert_tf.squad.settings import AnswerSettings

if TYPE_CHECKING:
    from albert_tf.squad.question_answering import FoundAnswer


_NEEDED = {
    "model": "the output directory of a run, or an exported model",
    "text_file": "the text, or - for standard input",
    "question": "a question about the text",
}


@dataclass(frozen=True)
class Settings(AnswerSettings):
    """Model, text and question.

    Settings of text and answers that are None come from the model.
    """

    HELP_GROUPS: ClassVar = {
        FILES: ("model", "text_file", "question", "num_answers", "json", "albert_config_file"),
    }

    model: str | None = path_setting(
        "SavedModel, the --export_dir that contains it, a checkpoint, or the output directory of a "
        "run.",
        kind=CHECKPOINT_PATH,
    )
    albert_config_file: str | None = path_setting(
        "Config of a checkpoint. Default: albert_config.json next to the checkpoint."
    )
    text_file: str | None = path_setting("Text file, in UTF-8; - for standard input.")
    question: str | None = setting(None, "Question about the text.")
    num_answers: int = setting(1, "Number of answers to show, best first.", lower=1)
    json: bool = setting(False, "Whether to print the answers as JSON.")
    max_seq_length: int | None = None
    do_lower_case: bool | None = None
    doc_stride: int | None = None
    max_query_length: int | None = None
    n_best_size: int | None = None
    max_answer_length: int | None = None


def main(settings: Settings) -> None:
    """Answer the question, and print the answers with their locations."""
    missing = [name for name in _NEEDED if not (getattr(settings, name) or "").strip()]
    if missing:
        raise InputError(*(f"--{name} is missing: give {_NEEDED[name]}" for name in missing))
    from albert_tf.squad import question_answering  # imports TensorFlow

    text = question_answering.read_text(settings.text_file)
    given = {name: value for name, value in asdict(settings).items() if value is not None}
    model = question_answering.load_model(
        settings.model, settings.albert_config_file, settings.spm_model_file, given
    )
    answers = model.answer(settings.question, text, settings.predict_batch_size)
    answers = answers[: settings.num_answers]
    if settings.json:
        print(json.dumps([asdict(answer) for answer in answers], ensure_ascii=False, indent=2))
    else:
        _print_answers(answers, settings.text_file)


def _print_answers(answers: list[FoundAnswer], text_file: str) -> None:
    text_file = "standard input" if text_file == "-" else text_file
    for answer in answers:
        print(answer.text)
        print(
            f"  probability {answer.probability:.3f}; {text_file}, line {answer.line}, column "
            f"{answer.column} (characters {answer.start} to {answer.end})"
        )
    if not answers:
        print("No answer found in the text.")


if __name__ == "__main__":
    launch(main, Settings)

"""Question answering on a text of any length, with a checkpoint or an exported model."""

from __future__ import annotations

import collections
import itertools
import math
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Mapping

import tokenization
from albert_tf.inference import trained_model
from albert_tf.inference.trained_model import Scorer
from albert_tf.records.splits import Splits
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.base import Task
from albert_tf.tasks.squad import features as squad_features
from albert_tf.tasks.squad import v1, v2
from albert_tf.tasks.squad.answers import AnswerCollector, SpanCollector, TopListCollector
from albert_tf.tasks.squad.data import Question
from albert_tf.tasks.squad.settings import NullAnswerSettings, SquadSettings, SquadV2Settings
from modeling import AlbertConfig


@dataclass(frozen=True)
class FoundAnswer:
    """An answer and its location in the text, or that the text has no answer.

    Attributes:
      text: text of the answer, a span of the whole text; "" for "no answer".
      probability: probability among the n best; of "no answer", its probability.
      line: line of the answer, from 1; None without an answer, as all that follow.
      column: column of the answer's first character, from 1.
      start: offset of the answer's start in the text, in characters.
      end: offset of the answer's end (exclusive), in characters.
      score: sum of the scores of its start and its end, to compare answers from several texts.
    """

    text: str
    probability: float
    line: int | None = None
    column: int | None = None
    start: int | None = None
    end: int | None = None
    score: float | None = None

    @property
    def is_none(self) -> bool:
        """Whether this says that the text has no answer."""
        return self.start is None


@dataclass(frozen=True)
class Model:
    """A question-answering model.

    Attributes:
      tokenizer: tokenizer with a SentencePiece model.
      scorer: function from the inputs of a batch of windows to the outputs of the head: see
        `trained_model.Scorer`, `SquadV1Task.outputs` and `v2.Head.outputs`.
      settings: lengths of windows and answers, and size of the batches.
    """

    tokenizer: tokenization.FullTokenizer
    scorer: Scorer
    settings: NullAnswerSettings

    def answer(self, question: str, text: str) -> list[FoundAnswer]:
        """Find the answers to a question in a text; see `answer_all`."""
        (answers,) = self.answer_all([Question("question", question, text)])
        return answers

    def answer_all(self, questions: Iterable[Question]) -> Iterator[list[FoundAnswer]]:
        """Find the answers to questions in texts. Batches have windows of several questions.

        A model of SQuAD v2.0 may find that there is none; then that comes first, before the spans
        that would be the best otherwise.

        Args:
          questions: questions with texts of any length; those about one text should be consecutive.

        Yields:
          The answers to each question, best first; empty if no span is valid.

        Raises:
          InputError: if a question is not text, or `max_seq_length` leaves no room for the text.
        """
        settings = self.settings
        squad_features.check_room(settings.max_seq_length, settings.max_query_length)
        # Number and text of each question that has no answers yet.
        waiting: collections.deque[tuple[int, str]] = collections.deque()
        collector: AnswerCollector | None = None

        def asked() -> Iterator[Question]:
            for number, question in enumerate(questions):
                trained_model.check_text("question", question.text)
                waiting.append((number, question.paragraph))
                yield question

        def found() -> list[FoundAnswer]:
            number, text = waiting.popleft()
            return self._found_answers(text, collector.answer(number)) if collector else []

        features = squad_features.make_features(asked(), self.tokenizer, settings)
        # In batches as they are made: a long text has thousands of windows.
        for batch in iter(
            lambda: list(itertools.islice(features, settings.predict_batch_size)), []
        ):
            rows = [(feature.input_ids, feature.segment_ids) for feature in batch]
            outputs = self.scorer(trained_model.padded_rows(rows))
            if collector is None:
                kind = TopListCollector if "cls_logits" in outputs else SpanCollector
                collector = kind(settings.n_best_size, settings.max_answer_length)
            texts = dict(waiting)
            for row, feature in enumerate(batch):
                row_outputs = {name: values[row] for name, values in outputs.items()}
                collector.add(feature.window, texts[feature.window.question], row_outputs)
            while waiting[0][0] < batch[-1].window.question:
                yield found()
        while waiting:
            yield found()

    def _found_answers(self, text: str, answer: Mapping[str, Any]) -> list[FoundAnswer]:
        """The n-best answers of a question, and before them "no answer" if it has none."""
        found: list[FoundAnswer] = []
        threshold = self.settings.null_score_diff_threshold
        threshold = v2.DEFAULT_THRESHOLD if threshold is None else threshold
        null_score = answer.get("null_score", -math.inf)
        if null_score >= threshold:
            found.append(FoundAnswer("", (1 + math.tanh(null_score / 2)) / 2))
        for entry, start in zip(answer["n_best"], answer["starts"]):
            if start is not None:
                before = text[:start]
                found.append(
                    FoundAnswer(
                        entry["text"],
                        entry["probability"],
                        line=before.count("\n") + 1,
                        column=len(before) - before.rfind("\n"),
                        start=start,
                        end=start + len(entry["text"]),
                        score=entry["start_log_prob"] + entry["end_log_prob"],
                    )
                )
        return found


def load_model(
    path: str,
    albert_config_file: str | None = None,
    spm_model_file: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Model:
    """Load a question-answering model.

    Example:

      model = load_model("exported")
      model.answer("Who built the tower?", text)[0].text

    Args:
      path: path of a SavedModel or its parent directory, or of a checkpoint or its directory.
      albert_config_file: config of the model; by default the one next to the checkpoint.
      spm_model_file: SentencePiece model; by default the one next to the checkpoint.
      settings: values of `NullAnswerSettings` by name, to override the settings stored with the
        model. Unknown names are ignored.

    Raises:
      InputError: if files are missing or do not belong together.
    """
    model = trained_model.load(
        path, NullAnswerSettings, albert_config_file, spm_model_file, settings
    )
    if model.is_exported:
        scorer = trained_model.saved_model_scorer(model.path)
    else:
        scorer = checkpoint_scorer(model.config, model.path)
    return Model(model.tokenizer, scorer, model.settings)


def checkpoint_scorer(config: AlbertConfig, checkpoint: str) -> Scorer:
    """Build the model and restore a checkpoint.

    Raises:
      InputError: if the checkpoint is damaged or was not fine-tuned on SQuAD.
    """
    task: Task
    if v2.ANSWERABILITY_KERNEL in checkpoints.shapes_in(checkpoint):
        task = v2.SquadV2Task(SquadV2Settings(), config, None, Splits())
    else:
        task = v1.SquadV1Task(SquadSettings(), config, None, Splits())
    return trained_model.checkpoint_scorer(task, checkpoint)

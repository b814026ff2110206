"""Question answering on a text of any length, with a checkpoint or an exported model."""

from __future__ import annotations

import collections
import itertools
import math
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Mapping

import numpy as np
import tensorflow.compat.v1 as tf

import tokenization
from albert_tf.graph.model import model_inputs
from albert_tf.inference import trained_model
from albert_tf.run_dir import checkpoints
from albert_tf.tasks.squad import features as squad_features
from albert_tf.tasks.squad import v1, v2
from albert_tf.tasks.squad.answers import (
    AnswerCollector,
    Candidate,
    SpanCollector,
    TopListCollector,
    softmax,
)
from albert_tf.tasks.squad.data import Question
from albert_tf.tasks.squad.features import FeatureConverter, FeatureSettings
from albert_tf.tasks.squad.settings import NullAnswerSettings, SquadV2Settings
from modeling import AlbertConfig, AlbertModel

Inputs = Mapping[str, np.ndarray]
Outputs = Mapping[str, np.ndarray]
Scorer = Callable[[Inputs], Outputs]


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
        `saved_model_scorer`.
      settings: keyword arguments for `answer_questions`.
    """

    tokenizer: tokenization.FullTokenizer
    scorer: Scorer
    settings: Mapping[str, Any]

    def answer(self, question: str, text: str, batch_size: int = 8) -> list[FoundAnswer]:
        """Find the answers to a question in a text; see `answer_questions`."""
        return answer_question(
            question, text, self.tokenizer, self.scorer, batch_size, **self.settings
        )

    def answer_all(
        self, questions: Iterable[Question], batch_size: int = 8
    ) -> Iterator[list[FoundAnswer]]:
        """Find the answers to many questions; see `answer_questions`."""
        return answer_questions(questions, self.tokenizer, self.scorer, batch_size, **self.settings)


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
      settings: keyword arguments for `answer_questions`, to override the settings stored with the
        model. Unknown names are ignored.

    Raises:
      InputError: if files are missing or do not belong together.
    """
    model = trained_model.load(
        path, NullAnswerSettings, albert_config_file, spm_model_file, given=settings
    )
    if model.saved_model:
        scorer = saved_model_scorer(model.saved_model)
    else:
        assert model.checkpoint is not None
        scorer = checkpoint_scorer(model.config, model.checkpoint)
    return Model(model.tokenizer, scorer, model.arguments(answer_questions))


def saved_model_scorer(path: str) -> Scorer:
    """Load an exported model.

    Returns:
      A function from the model's inputs, int32 [B, S] by name, to the outputs of its head, [B, ...]
      by name: see `v1.span_outputs` and `v2.Head.outputs`.
    """
    model = trained_model.load_saved_model(path)
    signature = model.signatures["serving_default"]

    def scores(inputs: Inputs) -> Outputs:
        outputs = signature(**{name: tf.constant(values) for name, values in inputs.items()})
        _ = model  # a reference, to keep the variables alive
        return {name: values.numpy() for name, values in outputs.items()}

    return scores


def checkpoint_scorer(config: AlbertConfig, checkpoint: str) -> Scorer:
    """Build the model and restore a checkpoint.

    Returns:
      A function like that of `saved_model_scorer`.

    Raises:
      InputError: if the checkpoint is damaged or was not fine-tuned on SQuAD.
    """
    with tf.Graph().as_default():
        inputs = model_inputs()
        input_ids, input_mask, segment_ids = inputs.values()
        encoder = AlbertModel(
            config, False, input_ids, input_mask, segment_ids, compute_padding=False
        )
        hidden = encoder.get_sequence_output()
        if v2.ANSWERABILITY_KERNEL in checkpoints.shapes_in(checkpoint):
            head = v2.Head(config, hidden, v2.answer_mask(inputs))
            outputs = head.outputs(SquadV2Settings.start_n_top, SquadV2Settings.end_n_top)
        else:
            outputs = v1.span_outputs(hidden, encoder.output_mask)
        session = trained_model.restored_session(checkpoint)

    def scores(values: Inputs) -> Outputs:
        return session.run(outputs, {inputs[name]: value for name, value in values.items()})

    return scores


def answer_questions(
    questions: Iterable[Question],
    tokenizer: tokenization.FullTokenizer,
    scorer: Scorer,
    batch_size: int = 8,
    *,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    max_query_length: int = 64,
    do_lower_case: bool = True,
    n_best_size: int = 20,
    max_answer_length: int = 30,
    null_score_diff_threshold: float = v2.DEFAULT_THRESHOLD,
) -> Iterator[list[FoundAnswer]]:
    """Find the answers to questions in texts. Batches are filled with windows of several questions.

    A model of SQuAD v2.0 may find that there is none; then that comes first, before the spans that
    would be the best otherwise.

    Args:
      questions: questions with texts of any length; those about one text should be consecutive.
      tokenizer: tokenizer with a SentencePiece model.
      scorer: function of the model: see `saved_model_scorer`.
      batch_size: number of windows in a batch.
      max_seq_length: maximum length of the model's input, in pieces.
      doc_stride: distance between the starts of consecutive windows, in pieces.
      max_query_length: maximum length of a question, in pieces; a longer one is truncated.
      do_lower_case: whether to lower-case the text.
      n_best_size: maximum number of answers.
      max_answer_length: maximum length of an answer, in pieces.
      null_score_diff_threshold: score (logit) from which on a question has no answer.

    Yields:
      The answers to each question, best first; empty if no span is valid.

    Raises:
      InputError: if a question is not text, or `max_seq_length` leaves no room for the text.
    """
    squad_features.check_room(max_seq_length, max_query_length)
    settings = FeatureSettings(max_seq_length, doc_stride, max_query_length, do_lower_case)
    converter = FeatureConverter(tokenizer, settings)
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
        if collector is None:
            return []
        return _found_answers(number, text, collector, null_score_diff_threshold)

    features = converter.features(asked(), for_training=False)
    # In batches as they are made: a long text has thousands of windows.
    for batch in iter(lambda: list(itertools.islice(features, batch_size)), []):
        outputs = scorer(
            trained_model.padded_rows(
                [(feature.input_ids, feature.segment_ids) for feature in batch]
            )
        )
        if collector is None:
            kind = TopListCollector if "cls_logits" in outputs else SpanCollector
            collector = kind(n_best_size, max_answer_length)
        texts = dict(waiting)
        for row, feature in enumerate(batch):
            row_outputs = {name: values[row] for name, values in outputs.items()}
            collector.add(feature.window, texts[feature.window.question], row_outputs)
        while waiting[0][0] < batch[-1].window.question:
            yield found()
    while waiting:
        yield found()


def answer_question(
    question: str,
    text: str,
    tokenizer: tokenization.FullTokenizer,
    scorer: Scorer,
    batch_size: int = 8,
    **settings: Any,
) -> list[FoundAnswer]:
    """Find the answers to one question in a text; see `answer_questions`."""
    asked = [Question("question", question, text)]
    (answers,) = answer_questions(asked, tokenizer, scorer, batch_size, **settings)
    return answers


def _found_answers(
    number: int, text: str, collector: AnswerCollector, threshold: float
) -> list[FoundAnswer]:
    """The n-best answers of a question, and before them "no answer" if it has none."""
    found: list[FoundAnswer] = []
    candidates = collector.n_best(number)
    if isinstance(collector, TopListCollector) and collector.null_score(number) >= threshold:
        found.append(FoundAnswer("", (1 + math.tanh(collector.null_score(number) / 2)) / 2))
    if candidates != [collector.no_span]:
        probabilities = softmax([candidate.score for candidate in candidates])
        found += [_found(text, *pair) for pair in zip(candidates, probabilities)]
    return found


def _found(text: str, candidate: Candidate, probability: float) -> FoundAnswer:
    before = text[: candidate.start]
    return FoundAnswer(
        candidate.text,
        probability,
        line=before.count("\n") + 1,
        column=len(before) - before.rfind("\n"),
        start=candidate.start,
        end=candidate.start + len(candidate.text),
        score=float(candidate.score),
    )

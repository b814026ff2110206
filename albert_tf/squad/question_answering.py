"""Question answering on a text of any length, with a checkpoint or an exported model."""

from __future__ import annotations

import inspect
import itertools
import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

import tokenization
from albert_tf.errors import InputError
from albert_tf.runs import calibration, checkpoints, model_files, model_folder, serving
from albert_tf.runs.checkpoint_files import BEST_CHECKPOINT
from albert_tf.runs.model import model_inputs
from albert_tf.squad import features as squad_features
from albert_tf.squad import v1, v2
from albert_tf.squad.answers import SpanCollector, TopListCollector, softmax
from albert_tf.squad.data import Question
from albert_tf.squad.features import FeatureConverter, FeatureSettings
from albert_tf.squad.settings import NullAnswerSettings, SquadV2Settings
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
    """

    text: str
    probability: float
    line: int | None = None
    column: int | None = None
    start: int | None = None
    end: int | None = None

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
      settings: keyword arguments for `answer_question`.
    """

    tokenizer: tokenization.FullTokenizer
    scorer: Scorer
    settings: Mapping[str, Any]

    def answer(self, question: str, text: str, batch_size: int = 8) -> list[FoundAnswer]:
        """Find the answers to a question in a text; see `answer_question`."""
        return answer_question(
            question, text, self.tokenizer, self.scorer, batch_size, **self.settings
        )


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
      settings: keyword arguments for `answer_question`, to override the settings stored with the
        model. Unknown names are ignored.

    Raises:
      InputError: if files are missing or do not belong together.
    """
    saved_model = serving.find_saved_model(path)
    if saved_model:
        checkpoint = str(Path(saved_model) / serving.ASSETS / BEST_CHECKPOINT)
        remedy, saved = "export the model again with --export_dir", {}
    else:
        checkpoint, remedy = checkpoints.find_checkpoint(path), None
        saved = calibration.read(checkpoint)
    folder = Path(checkpoint).parent
    saved = {**saved, **model_folder.read_settings(folder, NullAnswerSettings, remedy)}
    config_file, spm_model_file = model_files.beside_checkpoint(
        checkpoint, albert_config_file, spm_model_file
    )
    config = AlbertConfig.from_json_file(config_file)
    merged = {**saved, **(settings or {})}
    longest = merged.get("max_seq_length", 0)
    if longest > config.max_position_embeddings:
        raise InputError(
            f"--max_seq_length is {longest}, but the model of {config_file} reads at most "
            f"{config.max_position_embeddings} pieces (max_position_embeddings): lower it"
        )
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=spm_model_file)
    model_files.check_vocabulary(spm_model_file, tokenizer, config_file, config)
    if saved_model:
        scorer = saved_model_scorer(saved_model)
    else:
        scorer = checkpoint_scorer(config, checkpoint)
    known = inspect.signature(answer_question).parameters
    arguments = {
        name: merged[name]
        for name, parameter in known.items()
        if parameter.kind == parameter.KEYWORD_ONLY and name in merged
    }
    return Model(tokenizer, scorer, arguments)


def _check_question(question: str) -> None:
    """Check that a question is text; its bytes on a command line may be anything."""
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"--question is not UTF-8: {error}; correct its encoding") from error


def read_text(path: str) -> str:
    """Read a text file.

    Args:
      path: path of the file; "-" for standard input.

    Raises:
      InputError: if the file cannot be read, is not UTF-8, or has no text.
    """
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the text: {error.strerror}; correct the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the text is not UTF-8: {error}; convert the file") from error
    if not text.strip():
        raise InputError(f"{path}: the file has no text; give another")
    return text


def saved_model_scorer(path: str) -> Scorer:
    """Load an exported model.

    Returns:
      A function from the model's inputs, int32 [B, S] by name, to the outputs of its head, [B, ...]
      by name: see `v1.span_outputs` and `v2.Head.outputs`.
    """
    with _without_fingerprint_lines():
        model = tf.saved_model.load_v2(path)
    signature = model.signatures["serving_default"]

    def scores(inputs):
        outputs = signature(**{name: tf.constant(values) for name, values in inputs.items()})
        _ = model  # a reference, to keep the variables alive
        return {name: values.numpy() for name, values in outputs.items()}

    return scores


@contextmanager
def _without_fingerprint_lines():
    """Keep TensorFlow from telling that an Estimator's export has no fingerprint."""

    def is_other(record):
        return not record.getMessage().startswith("Fingerprint not found")

    logger = logging.get_absl_logger()
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def checkpoint_scorer(config: AlbertConfig, checkpoint: str) -> Scorer:
    """Build the model and restore a checkpoint.

    Returns:
      A function like that of `saved_model_scorer`.

    Raises:
      InputError: if the checkpoint is damaged or was not fine-tuned on SQuAD.
    """
    with tf.Graph().as_default():
        inputs = model_inputs()
        encoder = AlbertModel(config, False, *inputs.values(), compute_padding=False)
        hidden = encoder.get_sequence_output()
        if v2.ANSWERABILITY_KERNEL in checkpoints.shapes_in(checkpoint):
            head = v2.Head(config, hidden, v2.answer_mask(inputs))
            outputs = head.outputs(SquadV2Settings.start_n_top, SquadV2Settings.end_n_top)
        else:
            outputs = v1.span_outputs(hidden, encoder.output_mask)
        variables = tf.trainable_variables()
        shapes = {variable.op.name: variable.shape.as_list() for variable in variables}
        checkpoints.check_fits(checkpoint, shapes, all_needed=True)
        session = tf.Session()
        with checkpoints.named_if_damaged(checkpoint):
            tf.train.Saver(variables).restore(session, checkpoint)

    def scores(values):
        return session.run(outputs, {inputs[name]: value for name, value in values.items()})

    return scores


def answer_question(
    question: str,
    text: str,
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
) -> list[FoundAnswer]:
    """Find the answers to a question in a text.

    A model of SQuAD v2.0 may find that there is none; then that comes first, before the spans that
    would be the best otherwise.

    Args:
      question: text of the question.
      text: text of any length.
      tokenizer: tokenizer with a SentencePiece model.
      scorer: function of the model: see `saved_model_scorer`.
      batch_size: number of windows in a batch.
      max_seq_length: maximum length of the model's input, in pieces.
      doc_stride: distance between the starts of consecutive windows, in pieces.
      max_query_length: maximum length of the question, in pieces; a longer one is truncated.
      do_lower_case: whether to lower-case the text.
      n_best_size: maximum number of answers.
      max_answer_length: maximum length of an answer, in pieces.
      null_score_diff_threshold: score (logit) from which on a question has no answer.

    Returns:
      The answers, best first; empty if no span is valid.

    Raises:
      InputError: if the question is not text, or `max_seq_length` leaves no room for the text.
    """
    _check_question(question)
    squad_features.check_room(max_seq_length, max_query_length)
    settings = FeatureSettings(max_seq_length, doc_stride, max_query_length, do_lower_case)
    converter = FeatureConverter(tokenizer, settings)
    features = converter.features([Question("question", question, text)], for_training=False)
    collector = None
    # In batches as they are made: a long text has thousands of windows.
    for batch in iter(lambda: list(itertools.islice(features, batch_size)), []):
        outputs = scorer(_padded(batch))
        if collector is None:
            kind = TopListCollector if "cls_logits" in outputs else SpanCollector
            collector = kind(n_best_size, max_answer_length)
        for row, feature in enumerate(batch):
            row_outputs = {name: values[row] for name, values in outputs.items()}
            collector.add(feature.window, text, row_outputs)
    return _found_answers(text, collector, null_score_diff_threshold) if collector else []


def _found_answers(text, collector, threshold):
    """The n-best answers of the only question, and before them "no answer" if it has none."""
    found, candidates = [], collector.n_best(0)
    if isinstance(collector, TopListCollector) and collector.null_score(0) >= threshold:
        found.append(FoundAnswer("", (1 + math.tanh(collector.null_score(0) / 2)) / 2))
    if candidates != [collector.no_span]:
        probabilities = softmax([candidate.score for candidate in candidates])
        found += [_found(text, *pair) for pair in zip(candidates, probabilities)]
    return found


def _padded(features):
    """Model inputs of a batch, padded to the longest feature: int32 [B, S] by name."""
    length = max(len(feature.input_ids) for feature in features)
    rows = [
        tokenization.padded_inputs(feature.input_ids, feature.segment_ids, length)
        for feature in features
    ]
    return {name: np.array([row[name] for row in rows], np.int32) for name in rows[0]}


def _found(text, candidate, probability):
    before = text[: candidate.start]
    return FoundAnswer(
        candidate.text,
        probability,
        line=before.count("\n") + 1,
        column=len(before) - before.rfind("\n"),
        start=candidate.start,
        end=candidate.start + len(candidate.text),
    )

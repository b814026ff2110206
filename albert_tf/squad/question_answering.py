"""Answers a question about a text file with a model that run_squad_v1.py trained or exported.

python ask.py --model=exported --text_file=page.txt --question="Who built the tower?"
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Mapping

from albert_tf.runs import training  # isort: skip  # before TensorFlow, whose log it quiets

import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags

import run_squad_v1  # defines the flags that are the same here
import tokenization
from albert_tf.errors import InputError
from albert_tf.runs import checkpoints, model_files, serving, startup, tasks
from albert_tf.squad import data as squad_data
from albert_tf.squad import metrics as squad_metrics
from modeling import AlbertConfig, AlbertModel

FLAGS = flags.FLAGS
training.define_string(
    "model",
    None,
    "A SavedModel, or the --export_dir that holds it; or the output directory of a run, or a "
    "checkpoint.",
)
training.define_string("text_file", None, "The text, UTF-8.")
training.define_string("question", None, "The question.")
training.define_integer("num_answers", 1, "How many answers are shown.", lower_bound=1)
training.define_boolean("json", False, "Whether the answers are printed as JSON.")
# A SavedModel brings these with it.
_SETTINGS = (
    "max_seq_length",
    "do_lower_case",
    "doc_stride",
    "max_query_length",
    "n_best_size",
    "max_answer_length",
)
for name in ("albert_config_file", "spm_model_file", "predict_batch_size", *_SETTINGS):
    flags.declare_key_flag(name)

Inputs = Mapping[str, np.ndarray]
Scorer = Callable[[Inputs], "tuple[np.ndarray, np.ndarray]"]


@dataclass(frozen=True)
class FoundAnswer:
    """An answer and where it stands.

    Attributes:
      text: the answer, a part of the text.
      probability: its probability among the n best.
      line: number of its line, from 1.
      column: number of its first character in the line, from 1.
      start: number of the text's characters before it.
      end: number of the text's characters up to its end.
    """

    text: str
    probability: float
    line: int
    column: int
    start: int
    end: int


def main(_):
    """Answers the question that the flags ask."""
    for name in ("model", "text_file", "question"):
        if not (FLAGS[name].value or "").strip():
            raise InputError(f"--{name} is missing")
    text = read_text(FLAGS.text_file)
    saved_model = serving.find_saved_model(FLAGS.model)
    if saved_model:
        checkpoint = str(Path(saved_model) / serving.ASSETS / checkpoints.BEST_CHECKPOINT)
        settings = serving.settings_of(saved_model)
    else:
        checkpoint, settings = checkpoints.find_checkpoint(FLAGS.model), {}
    config_file, spm_model_file = model_files.beside_checkpoint(
        checkpoint, FLAGS.albert_config_file, FLAGS.spm_model_file
    )
    settings = {name: _setting(name, settings) for name in _SETTINGS}
    config = AlbertConfig.from_json_file(config_file)
    tokenizer = tokenization.FullTokenizer(None, spm_model_file=spm_model_file)
    startup.check_vocabulary(spm_model_file, tokenizer, config_file, config)
    scorer = (
        saved_model_scorer(saved_model) if saved_model else checkpoint_scorer(config, checkpoint)
    )
    answers = answer_question(
        FLAGS.question, text, tokenizer, scorer, FLAGS.predict_batch_size, **settings
    )
    _print_answers(answers[: FLAGS.num_answers])


def _setting(name, settings):
    """The value of a setting: the flag's, if it was given, or else the exported model's."""
    flag = FLAGS[name]
    return flag.value if flag.present else settings.get(name, flag.value)


def _print_answers(answers):
    if FLAGS.json:
        print(json.dumps([asdict(answer) for answer in answers], ensure_ascii=False, indent=2))
        return
    for answer in answers:
        print(answer.text)
        print(
            f"  probability {answer.probability:.3f}; {FLAGS.text_file}, line {answer.line}, "
            f"column {answer.column} (characters {answer.start} to {answer.end})"
        )
    if not answers:
        print("There is no answer in the text.")


def read_text(path: str) -> str:
    """Reads a text file.

    Raises:
      InputError: if it cannot be read, is not UTF-8, or holds nothing.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot read the text: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the text is not UTF-8: {error}; convert the file") from error
    if not text.strip():
        raise InputError(f"{path}: there is no text in the file")
    return text


def saved_model_scorer(path: str) -> Scorer:
    """Loads an exported model.

    Returns:
      A function from the model's inputs, int32 [B, S] by name, to the scores of starts and ends,
      float [B, S].
    """
    model = tf.saved_model.load_v2(path)
    signature = model.signatures["serving_default"]

    def scores(inputs):
        outputs = signature(**{name: tf.constant(values) for name, values in inputs.items()})
        _ = model  # its variables are there as long as it is
        return outputs["start_log_prob"].numpy(), outputs["end_log_prob"].numpy()

    return scores


def checkpoint_scorer(config: AlbertConfig, checkpoint: str) -> Scorer:
    """Builds the model and restores a checkpoint; returns the same as `saved_model_scorer`.

    Raises:
      InputError: if the checkpoint is not one of SQuAD, or damaged.
    """
    with tf.Graph().as_default():
        inputs = tasks.model_inputs()
        encoder = AlbertModel(config, False, *inputs.values())
        outputs = run_squad_v1.span_logits(encoder.get_sequence_output())
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
) -> list[FoundAnswer]:
    """Finds the answers to a question in a text.

    Args:
      question: the question.
      text: the text, of any length.
      tokenizer: a tokenizer with a SentencePiece model.
      scorer: the model: see `saved_model_scorer`.
      batch_size: windows scored at once.
      max_seq_length: longest input of the model, in pieces.
      doc_stride: pieces from one window to the next.
      max_query_length: longest question; what is longer is cut.
      do_lower_case: whether text is lower-cased.
      n_best_size: number of answers.
      max_answer_length: longest answer, in pieces.

    Returns:
      The answers, best first; none if the text has none.

    Raises:
      InputError: if the text cannot be aligned with its pieces.
    """
    if max_seq_length < max_query_length + 4:
        raise InputError(
            f"--max_seq_length {max_seq_length} leaves no room for the text beside "
            f"--max_query_length {max_query_length} and 3 marks"
        )
    settings = squad_data.FeatureSettings(
        max_seq_length, doc_stride, max_query_length, do_lower_case
    )
    converter = squad_data.FeatureConverter(tokenizer, settings)
    paragraph = squad_data.Paragraph(text, (squad_data.Question("question", question, ()),))
    features = list(converter.features([paragraph], for_training=False))
    if converter.dropped:
        raise InputError("the text differs too much from its pieces in the vocabulary")

    collector = squad_metrics.AnswerCollector(n_best_size, max_answer_length)
    for start in range(0, len(features), batch_size):
        batch = features[start : start + batch_size]
        scores = scorer(_padded(batch))
        for feature, start_scores, end_scores in zip(batch, *scores):
            length = feature.window.num_positions
            collector.add(feature.window, text, start_scores[:length], end_scores[:length])
    candidates = collector.n_best(0)
    if candidates == [squad_metrics.NO_ANSWER]:
        return []
    probabilities = squad_metrics.softmax([candidate.score for candidate in candidates])
    return [_found(text, *pair) for pair in zip(candidates, probabilities)]


def _padded(features):
    """The model's inputs for a batch, padded to its longest feature: int32 [B, S] by name."""
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


if __name__ == "__main__":
    training.launch(main)

"""Choice among options for a question about a text, with a checkpoint or an exported model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np
from absl import logging
from scipy import special

import tokenization
from albert_tf.inference import trained_model
from albert_tf.inference.trained_model import TrainedModel
from albert_tf.io.errors import InputError
from albert_tf.records.record_files import serialize_example
from albert_tf.records.splits import Splits
from albert_tf.tasks.race.data import LETTERS, Example
from albert_tf.tasks.race.features import Feature, check_room, make_features
from albert_tf.tasks.race.settings import ChoiceSettings, RaceSettings
from albert_tf.tasks.race.task import RaceTask

# From features, each of four options, to the scores of the options: float [features, 4].
Scorer = Callable[[Sequence[Feature]], np.ndarray]


@dataclass(frozen=True)
class ScoredOption:
    """An option, and its probability among those given."""

    text: str
    probability: float


def choose(
    question: str,
    options: Sequence[str],
    text: str,
    tokenizer: tokenization.FullTokenizer,
    scorer: Scorer,
    settings: ChoiceSettings,
) -> list[ScoredOption]:
    """Choose among options for a question about a text.

    Example:

      model = trained_model.load("race_exported", ChoiceSettings)
      options = choose(
          "Who built the tower?",
          ["Ada", "Bela", "Clara"],
          text,
          model.tokenizer,
          load_scorer(model),
          model.settings,
      )

    Args:
      question: text of the question; the option fills its gaps, "_", or follows it.
      options: two options or more.
      text: text; what does not fit into `max_seq_length` is cut off at its end, with a warning.
      tokenizer: tokenizer with a SentencePiece model.
      scorer: function of the model: see `load_scorer`.
      settings: maximum lengths, and case of the text.

    Returns:
      The options, the most probable first.

    Raises:
      InputError: if question or options are not text, there is one option only, or
        `max_seq_length` leaves no room for the text.
    """
    trained_model.check_text("question", question)
    trained_model.check_text("options", " ".join(options))
    if len(options) < 2:
        raise InputError("--options: give two options or more, separated by commas")
    max_seq_length, max_qa_length = settings.max_seq_length, settings.max_qa_length
    check_room(max_seq_length, max_qa_length)
    chunks = [options[n : n + len(LETTERS)] for n in range(0, len(options), len(LETTERS))]
    examples = [_example(question, chunk, text) for chunk in chunks]
    features = list(
        make_features(examples, tokenizer, max_seq_length, max_qa_length, settings.do_lower_case)
    )
    if any(len(ids) == max_seq_length for feature in features for ids, _ in feature.sequences):
        logging.warning(
            "the end of the text is cut off: an input has at most %d tokens", max_seq_length
        )
    scores = np.float64(scorer(features)).reshape(-1)[: len(options)]
    scored = map(ScoredOption, options, special.softmax(scores).tolist())
    return sorted(scored, key=lambda option: -option.probability)


def _example(question: str, options: Sequence[str], text: str) -> Example:
    """Example of up to four options; the last one fills up the others."""
    filled_up = [*options, *[options[-1]] * len(LETTERS)][: len(LETTERS)]
    return Example("", "", text, question, tuple(filled_up), None)


def load_scorer(model: TrainedModel) -> Scorer:
    """Load the function that scores the options with a model.

    Raises:
      InputError: if the model is damaged, or of another task.
    """
    if model.is_exported:
        return _saved_model_scorer(model)
    task = RaceTask(RaceSettings(), model.config, None, Splits())
    score = trained_model.checkpoint_scorer(task, model.path)

    def scores(features: Sequence[Feature]) -> np.ndarray:
        rows = [sequence for feature in features for sequence in feature.sequences]
        return score(trained_model.padded_rows(rows))["logits"]

    return scores


def _saved_model_scorer(model: TrainedModel) -> Scorer:
    if "max_qa_length" not in model.found_settings:
        raise InputError(
            f"{model.path}: not a model of multiple choice; give one that run_race.py has "
            "exported, or leave out --options"
        )
    length = model.found_settings["max_seq_length"]
    score = trained_model.saved_model_scorer(model.path)

    def scores(features: Sequence[Feature]) -> np.ndarray:
        records = [serialize_example(feature.record(length)) for feature in features]
        return score({"input": records})["logits"]

    return scores

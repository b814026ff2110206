"""Asks a server of TensorFlow Serving's REST API about texts.

python examples/serving/client.py --model=exported --url=http://localhost:8501/v1/models/facts \
  --text="The Orlan was built in Mirefold."

The exported model's vocabulary, settings and labels, which lie in its `assets.extra/`, turn a text
into the request, and the response into a label. The server has the weights.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # folder of albert_tf

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()

import numpy as np

from albert_tf.export import serving
from albert_tf.inference import question_answering
from albert_tf.records.record_files import serialize_example
from albert_tf.run_dir import model_folder
from albert_tf.tasks.classification.features import make_record
from albert_tf.tasks.squad.settings import NullAnswerSettings
from tokenization import FullTokenizer

_MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")
_TIMEOUT_SECONDS = 60
_START_SECONDS = 60.0  # in which a server that refuses connections may still be loading the model
_PAUSE_SECONDS = 0.2


class Client:
    """Client for a model on a server.

    Attributes:
      url: address of the model on the server.
      assets: folder of the exported model's extra files.
      settings: settings that turn a text into model inputs, by name.
      tokenizer: the model's tokenizer.
    """

    def __init__(self, model: str, url: str):
        """Read what the model needs to know of texts.

        Args:
          model: SavedModel, or the directory with it; its weights are not read.
          url: address of the model on the server, such as `http://localhost:8501/v1/models/facts`.
        """
        directory = serving.find_saved_model(model)
        if not directory:
            sys.exit(f"error: {model}: no SavedModel; give the --export_dir of a training")
        self.url = url
        self.assets = Path(directory) / serving.ASSETS
        self.settings = json.loads((self.assets / "settings.json").read_text(encoding="utf-8"))
        self.tokenizer = FullTokenizer(None, spm_model_file=str(self.assets / "30k-clean.model"))


class TextClient(Client):
    """Client for a model that labels or scores texts."""

    def request(self, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Make the request about some rows of one or two texts."""
        return {"instances": [{"b64": base64.b64encode(self._record(x)).decode()} for x in rows]}

    def _record(self, texts):
        """Serialized `tf.train.Example` of one or two texts."""
        length = self.settings["max_seq_length"]
        lower = self.settings["do_lower_case"]
        record = make_record(texts, 0, self.tokenizer, length, lower)
        return serialize_example({name: record[name] for name in _MODEL_INPUTS})

    def predict(self, rows: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """Ask the server about some rows of one or two texts.

        Returns:
          For each row the `label` and the `probabilities` by label, or the `score`.
        """
        response = post(f"{self.url}:predict", self.request(rows))
        return [self._shown(outputs) for outputs in response["predictions"]]

    def _shown(self, outputs):
        if "probabilities" not in outputs:
            return {"score": outputs["predictions"]}
        values, path = outputs["probabilities"], self.assets / "labels.json"
        labels = [str(number) for number in range(len(values))]
        if path.exists():
            labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        return {
            "label": labels[outputs["predictions"]],
            "probabilities": dict(zip(labels, values)),
        }


class QuestionClient(Client):
    """Client for a model that answers questions about texts."""

    def answer(self, question: str, text: str) -> list[question_answering.FoundAnswer]:
        """Ask about a text of any length; see `question_answering.Model.answer`."""
        known = model_folder.read_settings(self.assets, NullAnswerSettings)
        settings = NullAnswerSettings(**known)
        return question_answering.Model(self.tokenizer, self._scores, settings).answer(
            question, text
        )

    def _scores(self, inputs):
        """Outputs of the model for a batch of inputs, arrays [B, ...] by name."""
        columns = {name: values.tolist() for name, values in inputs.items()}
        instances = [dict(zip(columns, values)) for values in zip(*columns.values())]
        rows = post(f"{self.url}:predict", {"instances": instances})["predictions"]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def post(url: str, value: Any, start_seconds: float = _START_SECONDS) -> Any:
    """Send a JSON value, and return the JSON value of the response.

    Args:
      url: address to send it to.
      value: the value.
      start_seconds: time in seconds to wait for a server that refuses connections, as one does that
        has been started just before.
    """
    request = urllib.request.Request(url, json.dumps(value).encode())
    end, is_told = time.monotonic() + start_seconds, False
    while True:
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            sys.exit(f"error: {url}: {error.code}: {error.read().decode(errors='replace')}")
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > end:
                sys.exit(f"error: {url}: {error.reason}; start the server, or correct the address")
        if not is_told:
            print(f"waiting for the server at {url}", file=sys.stderr, flush=True)
            is_told = True
        time.sleep(_PAUSE_SECONDS)


def main() -> None:
    """Ask about a text, or a question about it, from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="SavedModel, or the --export_dir with it")
    parser.add_argument("--url", required=True, help="address of the model on the server")
    parser.add_argument("--text", required=True, help="the text, or the first of two")
    parser.add_argument("--second_text", help="the second text of a pair")
    parser.add_argument("--question", help="question about the text, for a model of SQuAD")
    args = parser.parse_args()
    if args.question:
        answers = QuestionClient(args.model, args.url).answer(args.question, args.text)
        answer = asdict(answers[0]) if answers else None
    else:
        texts = [args.text, *([args.second_text] if args.second_text is not None else [])]
        (answer,) = TextClient(args.model, args.url).predict([texts])
    print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    main()

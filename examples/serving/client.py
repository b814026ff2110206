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
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # folder of albert_tf

from albert_tf.runs.launch import prepare_environment

prepare_environment()  # before the import of TensorFlow

from albert_tf.classification.features import make_feature
from albert_tf.records.record_files import serialize_example
from albert_tf.runs import model_files, model_folder, serving
from tokenization import FullTokenizer

_MODEL_INPUTS = ("input_ids", "input_mask", "segment_ids")
_TIMEOUT_SECONDS = 60


class TextClient:
    """Client for a model that labels or scores texts."""

    def __init__(self, model: str, url: str):
        """Read what the model needs to know of texts.

        Args:
          model: SavedModel, or the directory with it; its weights are not read.
          url: address of the model on the server, such as `http://localhost:8501/v1/models/facts`.
        """
        directory = serving.find_saved_model(model)
        if not directory:
            sys.exit(f"error: {model}: no SavedModel; give the --export_dir of a training")
        assets = Path(directory) / serving.ASSETS
        self._url = url
        self._settings = json.loads(
            (assets / model_folder.SETTINGS_FILE).read_text(encoding="utf-8")
        )
        labels = assets / "labels.json"
        self._labels = json.loads(labels.read_text())["labels"] if labels.exists() else []
        self._tokenizer = FullTokenizer(
            None, spm_model_file=str(assets / model_files.SPM_MODEL_FILE)
        )

    def request(self, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Make the request about some rows of one or two texts."""
        return {"instances": [{"b64": base64.b64encode(self._record(x)).decode()} for x in rows]}

    def _record(self, texts):
        """Serialized `tf.train.Example` of one or two texts."""
        length = self._settings["max_seq_length"]
        lower = self._settings["do_lower_case"]
        record = make_feature(texts, 0, self._tokenizer, length, lower).record(length)
        return serialize_example({name: record[name] for name in _MODEL_INPUTS})

    def predict(self, rows: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """Ask the server about some rows of one or two texts.

        Returns:
          For each row the `label` and the `probabilities` by label, or the `score`.
        """
        response = post(f"{self._url}:predict", self.request(rows))
        return [self._shown(outputs) for outputs in response["predictions"]]

    def _shown(self, outputs):
        if "probabilities" not in outputs:
            return {"score": outputs["predictions"]}
        values = outputs["probabilities"]
        labels = self._labels or [str(number) for number in range(len(values))]
        return {
            "label": labels[outputs["predictions"]],
            "probabilities": dict(zip(labels, values)),
        }


def post(url: str, value: Any) -> Any:
    """Send a JSON value, and return the JSON value of the response."""
    request = urllib.request.Request(url, json.dumps(value).encode())
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {url}: {error.code}: {error.read().decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"error: {url}: {error.reason}; start the server, or correct the address")


def main() -> None:
    """Ask about one row from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="SavedModel, or the --export_dir with it")
    parser.add_argument("--url", required=True, help="address of the model on the server")
    parser.add_argument("--text", required=True, help="the text, or the first of two")
    parser.add_argument("--second_text", help="the second text of a pair")
    args = parser.parse_args()
    texts = [args.text, *([args.second_text] if args.second_text is not None else [])]
    (answer,) = TextClient(args.model, args.url).predict([texts])
    print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    main()

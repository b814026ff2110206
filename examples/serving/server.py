"""Answers requests of TensorFlow Serving's REST API with an exported model, on one machine.

python examples/serving/server.py --model=exported --port=8501

For trying a client where TensorFlow Serving is not installed. It takes the row format of
`POST /v1/models/<name>:predict`, and tells of its state at `GET /v1/models/<name>`.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # folder of albert_tf

from albert_tf.cli.launch import load_tensorflow

load_tensorflow()

import tensorflow as tf

from albert_tf.export import serving


class ServedModel:
    """An exported model, as TensorFlow Serving's REST API shows it.

    Attributes:
      version: name of the SavedModel's directory.
    """

    def __init__(self, path: str):
        """Load a SavedModel, or the latest in a directory."""
        directory = serving.find_saved_model(path)
        if not directory:
            sys.exit(f"error: {path}: no SavedModel; give the --export_dir of a training")
        self.version = Path(directory).name
        self._model = tf.saved_model.load(directory)

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request in the row format.

        Args:
          request: `instances`, a list with the inputs of each row, and perhaps `signature_name`.

        Returns:
          `predictions`, a list with the outputs of each row.
        """
        signature = self._model.signatures[request.get("signature_name", "serving_default")]
        specs = signature.structured_input_signature[1]
        columns: dict[str, list] = {name: [] for name in specs}
        for instance in request["instances"]:
            row = instance
            if len(specs) == 1 and not (isinstance(row, dict) and set(row) == set(specs)):
                row = dict.fromkeys(specs, instance)
            for name in specs:
                columns[name].append(_decoded(row[name]))
        inputs = {name: tf.constant(columns[name], spec.dtype) for name, spec in specs.items()}
        outputs = {name: value.numpy().tolist() for name, value in signature(**inputs).items()}
        rows = [dict(zip(outputs, values)) for values in zip(*outputs.values())]
        return {"predictions": rows}


def _decoded(value):
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    return value


def make_handler(model: ServedModel) -> type[BaseHTTPRequestHandler]:
    """Make the class that handles the requests to a model."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = {"version": model.version, "state": "AVAILABLE"}
            self._answer(200, {"model_version_status": [status]})

        def do_POST(self):
            if not self.path.endswith(":predict"):
                self._answer(404, {"error": f"not found: {self.path}"})
                return
            try:
                length = int(self.headers.get("Content-Length", 0))
                answer = model.predict(json.loads(self.rfile.read(length)))
            except Exception as error:
                self._answer(400, {"error": f"{type(error).__name__}: {error}"})
            else:
                self._answer(200, answer)

        def _answer(self, code, value):
            data = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, template, *values):
            pass

    return Handler


def main() -> None:
    """Serve a model until the process is stopped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="SavedModel, or the --export_dir with it")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8501, help="0 for any that is free")
    args = parser.parse_args()
    handler = make_handler(ServedModel(args.model))
    try:
        server = ThreadingHTTPServer((args.host, args.port), handler)
    except OSError as error:
        address = f"--host={args.host} --port={args.port}"
        sys.exit(f"error: {address}: {error.strerror}; give others, or port 0 for a free one")
    print(f"serving {args.model} on {args.host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()

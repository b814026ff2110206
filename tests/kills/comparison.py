"""Comparison of the files that two runs leave."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

# Files of which only the presence is compared, with the reasons.
_PRESENT = {
    r"(^|/)graph\.pbtxt$": "the graph of a run that goes on starts from its own checkpoint, "
    "not from --init_checkpoint, and skips the records that it has seen",
    r"\.meta$": "holds the same graph",
    r"\.data-\d{5}-of-\d{5}$": "the variables are compared by their values",
    r"(^|/)log\.txt$": "tells of each start, with times",
    r"(^|/)run\.json$": "has an entry for each start, with times",
}
# Files that differ in name and number: TensorFlow names them after time, host and process, and
# starts one for each process.
_IGNORED = r"(^|/)events\.out\.tfevents\.[^/]*$"
_EXPORT_TIME = r"(^|/)export/(\d{10})/"


def contents(root: Path) -> dict[str, Any]:
    """Read the comparable contents of all files under a folder.

    Exported models lie in folders named after the time of the export. These names are replaced by
    `export/1`, `export/2`, ….

    Returns:
      Contents by path: bytes; variables by name for an `.index` file; "present" for files that
      differ from start to start. Folders without files count too.
    """
    exports = sorted({m[2] for p in _paths(root) for m in [re.search(_EXPORT_TIME, p + "/")] if m})
    found = {}
    for path in _paths(root):
        if re.search(_IGNORED, path):
            continue
        name = path
        for number, export in enumerate(exports, 1):
            name = name.replace(f"export/{export}", f"export/{number}")
        found[name] = _content(root, path)
    return found


def _paths(root):
    """Relative paths of all files, and of empty folders with a slash behind."""
    paths = []
    for path in sorted(root.rglob("*")):
        if not path.is_dir():
            paths.append(str(path.relative_to(root)))
        elif not any(path.iterdir()):
            paths.append(f"{path.relative_to(root)}/")
    return paths


def _content(root, path):
    full = root / path
    if path.endswith("/"):
        return "empty folder"
    if any(re.search(pattern, path) for pattern in _PRESENT):
        return "present"
    if path.endswith(".index"):
        return _variables(str(full)[: -len(".index")])
    if full.name == "checkpoint":
        state = tf.train.get_checkpoint_state(str(full.parent))
        return None if state is None else list(state.all_model_checkpoint_paths)
    if full.name == "saved_model.pb":
        return _signatures(full)
    return full.read_bytes()


def _variables(prefix):
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        return f"damaged: {error}"


def _signatures(path):
    """Signatures of a SavedModel; its graph has the order and names of no fixed program."""
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    return {
        name: text_format.MessageToString(signature)
        for graph in model.meta_graphs
        for name, signature in graph.signature_def.items()
    }


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Describe the differences between the contents of two folders."""
    lines = [f"{path} is missing" for path in expected if path not in found]
    lines += [f"{path} is left over" for path in found if path not in expected]
    for path in expected:
        if path in found:
            difference = _difference(found[path], expected[path])
            if difference:
                lines.append(f"{path}: {difference}")
    return lines


def _difference(found, expected):
    if isinstance(expected, dict) and isinstance(found, dict):
        if set(found) != set(expected):
            return f"other names: {sorted(set(found) ^ set(expected))}"
        unequal = [n for n in expected if not np.array_equal(found[n], expected[n])]
        if unequal and isinstance(expected[unequal[0]], np.ndarray):
            largest = max(float(np.abs(found[n] - expected[n]).max()) for n in unequal)
            return f"{len(unequal)} of {len(expected)} variables differ, by up to {largest:.3g}"
        return f"other {', '.join(unequal)}" if unequal else None
    if type(found) is type(expected) and found == expected:
        return None
    return f"{_short(found)} instead of {_short(expected)}"


def _short(content):
    text = repr(content)
    return text if len(text) < 400 else f"{text[:400]}… ({len(text)} characters)"

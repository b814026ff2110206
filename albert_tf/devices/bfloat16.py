"""Mixed precision: the ops that run in bfloat16, listed in one JSON file for all devices.

TF_BF16_CONVERSION names the file. On an HPU, Habana's package reads it. On a CPU, the same lists
configure TensorFlow's own graph rewrite, which inserts casts around the ops. The rewrite selects
ops by type only; a session hook adds selection by name. On a GPU, TensorFlow has no bfloat16
rewrite.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import tensorflow.compat.v1 as tf
from absl import logging
from tensorflow.core.protobuf import rewriter_config_pb2

from albert_tf.io import json_files
from albert_tf.io.errors import InputError, listed
from albert_tf.io.json_files import shown

VARIABLE = "TF_BF16_CONVERSION"

# TensorFlow's names for the lists. It converts an op of "CLEARLIST" next to a converted op, and an
# op of "INFERLIST" only if all of its inputs come from converted ops.
_TENSORFLOW_LISTS = {
    "allowlist": "ALLOWLIST",
    "conditional_list": "CLEARLIST",
    "strict_conditional_list": "INFERLIST",
}
_TENSORFLOW_VARIABLE = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_"
_ADDED_OPS = ("Habana", "Horovod", "_")  # name prefixes of ops that TensorFlow's API does not list
_ANY_TYPE = ""

Exceptions = Sequence[Sequence[str]]  # pairs: regular expression for the name, op type or ""


@dataclass(frozen=True)
class ConversionConfig:
    """Contents of a conversion file.

    Attributes:
      allowlist: op types to convert.
      conditional_list: op types to convert next to a converted op.
      strict_conditional_list: op types to convert if all inputs come from converted ops.
      non_convertible_exceptions: ops to keep in float32, whatever their type.
      convertible_exceptions: ops to convert, whatever their type.
    """

    allowlist: Sequence[str] = ()
    conditional_list: Sequence[str] = ()
    strict_conditional_list: Sequence[str] = ()
    non_convertible_exceptions: Exceptions = ()
    convertible_exceptions: Exceptions = ()


def config_from_environment() -> ConversionConfig | None:
    """Read and log the file named by TF_BF16_CONVERSION; None if the variable is 0 or unset.

    Raises:
      InputError: if the file is missing or malformed.
    """
    path = os.environ.get(VARIABLE, "0")
    if path in ("", "0"):
        return None
    config = read_config(path)
    for name, values in dataclasses.asdict(config).items():
        logging.info("bfloat16 by %s: %s: %s", path, name, json.dumps(values))
    return config


def read_config(path: str) -> ConversionConfig:
    """Read a conversion file.

    Raises:
      InputError: if the file cannot be read, or has an unknown list, an unknown op type or an
        invalid regular expression.
    """
    remedy = f"set {VARIABLE} to a file such as bf16_config/albert.json, or to 0 for float32"
    lists = json_files.read(path, f"the file of {VARIABLE}", remedy).values
    problems = _problems(lists)
    if problems:
        raise InputError(
            f"{path} ({VARIABLE}): {listed(problems, separator='; ')}; correct the file"
        )
    return ConversionConfig(**lists)


def _problems(lists: dict[str, Any]) -> list[str]:
    """Problems in the JSON value of a conversion file."""
    names = [field.name for field in dataclasses.fields(ConversionConfig)]
    problems = [f"{name!r} is not one of {', '.join(names)}" for name in lists if name not in names]
    list_of: dict[str, str] = {}
    for name in names:
        if not isinstance(lists.get(name, []), list):
            problems.append(f"{name} should be a list")
            continue
        for number, entry in enumerate(lists.get(name, ()), start=1):
            if name not in _TENSORFLOW_LISTS:
                found = _exception_problems(entry)
            elif not _is_op_type(entry):
                found = [f"unknown op type {shown(entry)}"]
            elif list_of.setdefault(entry, name) != name:
                found = [f"{entry!r} is also in {list_of[entry]}"]
            else:
                continue
            problems += [f"{name}, entry {number}: {problem}" for problem in found]
    return problems


def _exception_problems(entry: Any) -> list[str]:
    if not (isinstance(entry, list) and [type(part) for part in entry] == [str, str]):
        return [f'{shown(entry)} is not a pair ["regular expression", "op type"]']
    pattern, op_type = entry
    is_known = op_type == _ANY_TYPE or _is_op_type(op_type)
    problems = [] if is_known else [f"unknown op type {shown(op_type)}"]
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        problems.append(f"{shown(pattern)} is not a regular expression: {error}")
    return problems


def _is_op_type(value: Any) -> bool:
    return isinstance(value, str) and (value in _tensorflow_ops() or value.startswith(_ADDED_OPS))


@functools.lru_cache(maxsize=None)
def _tensorflow_ops() -> frozenset[str]:
    return frozenset(name for name in dir(tf.raw_ops) if not name.startswith("_"))


_NEW_REWRITE, _OLD_REWRITE = "auto_mixed_precision_onednn_bfloat16", "auto_mixed_precision_mkl"
_PROCESSOR_FILE = Path("/proc/cpuinfo")
_NEEDED_BY_OLD_ONEDNN = "avx512bw"


def _rewrite_name() -> str:
    """Name of the rewrite in this TensorFlow's session configuration."""
    fields = rewriter_config_pb2.RewriterConfig.DESCRIPTOR.fields_by_name
    return _NEW_REWRITE if _NEW_REWRITE in fields else _OLD_REWRITE


def is_computable() -> bool:
    """Whether this TensorFlow's oneDNN computes bfloat16 on this processor.

    The oneDNN of TensorFlow 2.8 ends the process on processors without AVX-512.
    """
    if _rewrite_name() == _NEW_REWRITE or not _PROCESSOR_FILE.exists():
        return True
    return _NEEDED_BY_OLD_ONEDNN in _PROCESSOR_FILE.read_text(encoding="utf-8").split()


def enable_rewrite(session_config: tf.ConfigProto) -> None:
    """Enable TensorFlow's bfloat16 graph rewrite, which uses the lists set by `ConversionHook`.

    The rewrite needs oneDNN, which must be on when TensorFlow is loaded.

    Args:
      session_config: session configuration, changed in place.

    Raises:
      InputError: if oneDNN is switched off, or does not compute bfloat16 on this processor.
    """
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        raise InputError(
            f"TF_ENABLE_ONEDNN_OPTS=0 disables TensorFlow's bfloat16 rewrite: unset it, or unset "
            f"{VARIABLE}"
        )
    if not is_computable():
        raise InputError(
            f"TensorFlow {tf.__version__} computes bfloat16 only on processors with AVX-512, and "
            f"this one has none: unset {VARIABLE}, or install a newer TensorFlow"
        )
    rewrite_options = session_config.graph_options.rewrite_options
    setattr(rewrite_options, _rewrite_name(), rewriter_config_pb2.RewriterConfig.ON)


class ConversionHook(tf.train.SessionRunHook):
    """Session hook that passes the op types and the exceptions to TensorFlow's rewrite.

    The rewrite does not convert fetched ops. To keep an op in float32, the hook fetches it in each
    run that computes it anyway. To convert an op by name, the hook lists its type for conversion
    and keeps all other ops of that type in float32.
    """

    def __init__(self, config: ConversionConfig):
        """Create the hook."""
        self._config = config
        self._kept_by_fetches: dict[tuple[tf.Operation, ...], list[tf.Operation]] = {}

    def begin(self) -> None:
        self._graph = tf.get_default_graph()
        types = {name: set(getattr(self._config, name)) for name in _TENSORFLOW_LISTS}
        self._types_by_name = {
            op.type
            for op in self._graph.get_operations()
            if _matches(op, self._config.convertible_exceptions)
        } - types["allowlist"]
        for name in types:
            types[name] -= self._types_by_name
        types["allowlist"] |= self._types_by_name
        self._types = frozenset().union(*types.values())
        self._variables = _list_variables("DENYLIST", set())  # types in no list stay in float32
        for name, tensorflow_name in _TENSORFLOW_LISTS.items():
            self._variables.update(_list_variables(tensorflow_name, types[name]))

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs:
        os.environ.update(self._variables)  # another graph may have run in between
        fetches = tf.nest.flatten(run_context.original_args.fetches)
        ops = tuple(_operation(self._graph.as_graph_element(fetch)) for fetch in fetches)
        if ops not in self._kept_by_fetches:
            self._kept_by_fetches[ops] = [op for op in needed_ops(ops) if self._is_kept(op)]
        return tf.train.SessionRunArgs(self._kept_by_fetches[ops])

    def _is_kept(self, op: tf.Operation) -> bool:
        if op.type not in self._types or not self._graph.is_fetchable(op):
            return False
        if _matches(op, self._config.non_convertible_exceptions):
            return True
        is_by_name = op.type in self._types_by_name
        return is_by_name and not _matches(op, self._config.convertible_exceptions)


def _list_variables(tensorflow_name: str, types: set[str]) -> dict[str, str]:
    """Variables that make one of TensorFlow's lists exactly these op types."""
    variable = f"{_TENSORFLOW_VARIABLE}{tensorflow_name}"
    return {
        f"{variable}_ADD": ",".join(sorted(types)),
        f"{variable}_REMOVE": ",".join(sorted(_tensorflow_ops() - types)),
    }


def _matches(op: tf.Operation, exceptions: Exceptions) -> bool:
    return any(
        op_type in (_ANY_TYPE, op.type) and re.search(pattern, op.name)
        for pattern, op_type in exceptions
    )


def _operation(element: Any) -> tf.Operation:
    return element if isinstance(element, tf.Operation) else element.op


def needed_ops(ops: Sequence[tf.Operation]) -> set[tf.Operation]:
    """All ops that a session runs to compute `ops`, themselves included."""
    needed, waiting = set(ops), list(ops)
    while waiting:
        op = waiting.pop()
        sources = {tensor.op for tensor in op.inputs} | set(op.control_inputs)
        waiting += sources - needed
        needed |= sources
    return needed

"""Estimators: TensorFlow's own up to 2.15, and from 2.16 on the package `tensorflow-estimator`.

Version 2.15.0 of the package is pure Python. It stands on TF1's sessions, savers and hooks, which
TensorFlow still has, but also imports four modules for TPUs and old distribution strategies that
TensorFlow no longer has. Nothing here needs them, so stand-ins replace them while the package
loads.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any, Iterator

import tensorflow.compat.v1 as tf

from albert_tf.io.errors import InputError

_ESTIMATOR_API = "estimator"
_MISSING_MODULES = (
    "tensorflow.python.distribute.estimator_training",
    "tensorflow.python.tpu.session_support",
    "tensorflow.python.tpu.tpu_embedding",
    "tensorflow.python.tpu.tpu_embedding_gradient",
)


def load_estimators() -> Any:
    """The module that `tf.estimator` is, or was.

    Raises:
      InputError: if TensorFlow has no Estimators and their package is missing or cannot be loaded.
    """
    if hasattr(tf, "estimator"):
        return tf.estimator
    try:
        with _stand_ins(), _export_names():
            return importlib.import_module("tensorflow_estimator._api.v1.estimator")
    except ImportError as error:
        raise InputError(
            f"TensorFlow {tf.__version__} has no Estimators, and their package cannot be loaded "
            f"({error}): pip install tensorflow-estimator==2.15.0"
        ) from error


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Stand-ins for the missing modules, which nothing finds after the block."""
    missing = [name for name in _MISSING_MODULES if importlib.util.find_spec(name) is None]
    for name in missing:
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name])["__getattr__"] = _empty_class
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def _empty_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


@contextlib.contextmanager
def _export_names() -> Iterator[None]:
    """The table entries by which TensorFlow's exporter named the symbols of Estimators."""
    exporter: Any = importlib.import_module("tensorflow.python.util.tf_export")
    attributes = exporter._Attributes
    exporter.ESTIMATOR_API_NAME = _ESTIMATOR_API
    exporter.API_ATTRS[_ESTIMATOR_API] = attributes(
        "_estimator_api_names", "_estimator_api_constants"
    )
    exporter.API_ATTRS_V1[_ESTIMATOR_API] = attributes(
        "_estimator_api_names_v1", "_estimator_api_constants_v1"
    )
    try:
        yield
    finally:
        del exporter.ESTIMATOR_API_NAME
        del exporter.API_ATTRS[_ESTIMATOR_API]
        del exporter.API_ATTRS_V1[_ESTIMATOR_API]


_module = load_estimators()

Estimator = _module.Estimator
EstimatorSpec = _module.EstimatorSpec
ModeKeys = _module.ModeKeys
RunConfig = _module.RunConfig

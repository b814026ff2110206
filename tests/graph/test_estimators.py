"""Estimators of any TensorFlow: TensorFlow's own, or those of the package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.graph import estimators
from scripts import ROOT

pytestmark = pytest.mark.tensorflow

HAS_ESTIMATORS = hasattr(tf, "estimator")
from_package = pytest.mark.skipif(HAS_ESTIMATORS, reason="TensorFlow has Estimators of its own")


@pytest.mark.skipif(not HAS_ESTIMATORS, reason="this TensorFlow has no Estimators")
def test_estimators_of_tensorflow_come_first():
    assert estimators.Estimator is tf.estimator.Estimator
    assert estimators.ModeKeys.TRAIN == tf.estimator.ModeKeys.TRAIN


def test_an_estimator_trains(tmp_path):
    def model_fn(features, labels, mode):
        weight = tf.get_variable("weight", [], initializer=tf.zeros_initializer())
        loss = tf.square(weight - 1.0)
        step = tf.train.get_global_step()
        train_op = tf.train.GradientDescentOptimizer(0.25).minimize(loss, step)
        return estimators.EstimatorSpec(mode, loss=loss, train_op=train_op)

    def input_fn():
        return tf.data.Dataset.from_tensors({"x": 0.0}).repeat()

    estimator = estimators.Estimator(model_fn, str(tmp_path))
    estimator.train(input_fn, max_steps=3)
    # Each step halves the distance to 1.
    assert estimator.get_variable_value("weight") == pytest.approx(1 - 0.5**3)


@from_package
def test_no_stand_in_is_left():
    for name in estimators._MISSING_MODULES:
        assert name not in sys.modules
        assert importlib.util.find_spec(name) is None
    exporter = importlib.import_module("tensorflow.python.util.tf_export")
    assert not hasattr(exporter, "ESTIMATOR_API_NAME")
    assert "estimator" not in exporter.API_ATTRS
    assert "estimator" not in exporter.API_ATTRS_V1


@from_package
def test_a_missing_package_is_named():
    program = (
        "import sys; sys.modules['tensorflow_estimator'] = None\n"
        "from albert_tf.io.errors import InputError\n"
        "try:\n    import albert_tf.graph.estimators\n"
        "except InputError as error:\n    print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "has no Estimators, and their package cannot be loaded" in result.stdout
    assert result.stdout.endswith("pip install tensorflow-estimator==2.15.0\n")

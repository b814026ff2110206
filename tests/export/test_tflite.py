"""TensorFlow Lite files: their interpreter gives the scores of the checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import lite

from albert_tf.devices.device import PORTABLE
from albert_tf.export import tflite
from albert_tf.graph.model import build_predictions
from albert_tf.tasks.base import MODEL_INPUTS, input_fields
from task_factory import make_context

pytestmark = pytest.mark.tensorflow

ROWS = 4


def inputs_of(context):
    """Inputs of the first records of the split to evaluate, int32 [ROWS, S] by name."""
    (shard,) = context.dev
    shard.prepare()
    dataset = shard.prediction_dataset([context.settings.max_seq_length])
    batches = tf.data.make_one_shot_iterator(dataset)
    with tf.Session() as session:
        batch = session.run(batches.get_next())
    return {name: batch[name][:ROWS].astype(np.int32) for name in MODEL_INPUTS}


def scores_of_checkpoint(context, inputs):
    placeholders = {
        name: tf.placeholder(tf.int32, [None, *field.shape], name)
        for name, field in input_fields(context.task).items()
    }
    outputs = build_predictions(context.task, PORTABLE, placeholders)
    with tf.Session() as session:
        tf.train.Saver(tf.trainable_variables()).restore(session, context.init_checkpoint)
        return session.run(outputs, {placeholders[name]: inputs[name] for name in inputs})


def scores_of_interpreter(path, inputs):
    """Outputs of the rows, one after the other."""
    runner = lite.Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    rows = [
        runner(**{name: values[row : row + 1] for name, values in inputs.items()})
        for row in range(ROWS)
    ]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.filterwarnings("ignore:.*Interpreter is deprecated")
@pytest.mark.parametrize("script", ["squad", "squad_v2", "classifier", "race"])
def test_scores_are_those_of_the_checkpoint(script, tmp_path):
    context = make_context(script, tmp_path / "run", do_train=False, compute_padding=True)
    with tf.Graph().as_default():
        inputs = inputs_of(context)
        expected = scores_of_checkpoint(context, inputs)
        num_weights = sum(variable.shape.num_elements() for variable in tf.trainable_variables())
    sizes = []
    for is_float16, tolerance in ((False, 1e-4), (True, 1e-2)):
        path = tmp_path / "model.tflite"
        tflite.export(context.task, context.init_checkpoint, str(path), is_float16)
        sizes.append(path.stat().st_size)
        found = scores_of_interpreter(path, inputs)
        assert set(found) == set(expected)
        for name, values in expected.items():
            if values.dtype.kind == "i":  # float16 may exchange places of almost the same score
                assert np.mean(found[name] != values) <= (0.05 if is_float16 else 0), name
                continue
            np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=name)
    assert sizes[0] - sizes[1] > 1.6 * num_weights  # bytes: two for each, vectors apart
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("model")] == [
        "model.tflite"
    ]

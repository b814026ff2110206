"""Dynamic masking, compared with the rules and statistics of static masking."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from albert_tf.records import datasets
from albert_tf.records.record_files import serialize_example
from albert_tf.tasks.pretraining import masking
from albert_tf.tasks.pretraining.instances import (
    InstanceMaker,
    Vocabulary,
    encode,
    read_blocks,
)
from albert_tf.tasks.pretraining.settings import RecordSettings
from albert_tf.tasks.pretraining.task import record_fields

LENGTH, ROOM, MASK = 64, 10, 4
SETTINGS = RecordSettings(max_seq_length=LENGTH, max_predictions_per_seq=ROOM, random_seed=1)


@pytest.fixture(scope="module")
def instances(corpus, sample_tokenizer):
    """Instances with static masks."""
    (block,) = read_blocks([corpus])
    documents = encode(block, sample_tokenizer, True)
    maker = InstanceMaker(SETTINGS, Vocabulary(sample_tokenizer))
    return maker.block_instances(documents, 0, 0)


def original(instance):
    ids = np.array(instance.input_ids)
    ids[instance.positions] = instance.labels
    return ids


def masked(instances, tokenizer, first_number=0, budget=ROOM):
    """Features of instances after dynamic masking."""
    serialized = [serialize_example(instance.record(SETTINGS)) for instance in instances]
    with tf.Graph().as_default(), tf.Session() as session:
        spec = record_fields(LENGTH, ROOM)
        spec["token_boundary"] = spec["input_ids"]
        features = datasets.parse_examples(tf.constant(serialized), spec)
        numbers = tf.range(first_number, first_number + len(instances), dtype=tf.int64)
        return session.run(masking.Masker(tokenizer, budget).mask_batch(numbers, features))


@pytest.fixture(scope="module")
def again(instances, sample_tokenizer):
    """Features of all instances after dynamic masking."""
    return masked(instances, sample_tokenizer)


def rows(features):
    """Yield each record's ids, and the positions and labels of its predictions."""
    for row, ids in enumerate(features["input_ids"]):
        count = int(features["masked_lm_weights"][row].sum())
        positions = features["masked_lm_positions"][row, :count]
        yield ids, positions, features["masked_lm_ids"][row, :count]


def test_labels_are_the_original_pieces(instances, again):
    for instance, (ids, positions, labels) in zip(instances, rows(again)):
        expected = original(instance)
        np.testing.assert_array_equal(labels, expected[positions])
        restored = ids.copy()
        restored[positions] = labels
        np.testing.assert_array_equal(restored[: len(expected)], expected)
        assert not restored[len(expected) :].any()
        assert (np.diff(positions) > 0).all()


def test_words_are_masked_whole_and_special_pieces_never(instances, again):
    for instance, (_, positions, labels) in zip(instances, rows(again)):
        assert not {0, 1, 2, 3, MASK} & set(labels.tolist())
        starts = [i for i, boundary in enumerate(instance.token_boundary) if boundary]
        for start, end in zip(starts, [*starts[1:], len(instance.input_ids)]):
            assert len(set(positions) & set(range(start, end))) in (0, end - start)


def test_share_and_replacements(instances, again):
    counts, total_length = collections.Counter(), 0
    for instance, (ids, positions, labels) in zip(instances, rows(again)):
        length = len(instance.input_ids)
        assert len(positions) <= max(1, round(0.15 * length))
        total_length += length
        for piece, label in zip(ids[positions], labels):
            counts["mask" if piece == MASK else "kept" if piece == label else "random"] += 1
    total = sum(counts.values())
    assert 0.13 < total / total_length <= 0.155
    shares = {kind: count / total for kind, count in counts.items()}
    assert shares == pytest.approx({"mask": 0.8, "kept": 0.1, "random": 0.1}, abs=0.02)


def test_a_smaller_budget(instances, sample_tokenizer):
    features = masked(instances[:50], sample_tokenizer, budget=3)
    assert features["masked_lm_weights"].sum(axis=1).max() == 3


def test_the_number_of_a_record_makes_the_mask(instances, again, sample_tokenizer):
    """A resumed run makes the same masks of a record, another epoch other masks."""
    part = masked(instances[5:15], sample_tokenizer, first_number=5)
    for name, value in part.items():
        np.testing.assert_array_equal(value, again[name][5:15], err_msg=name)
    other = masked(instances[5:15], sample_tokenizer, first_number=1005)
    assert (other["masked_lm_positions"] != part["masked_lm_positions"]).any(axis=1).all()


def test_ngrams(graph, sample_tokenizer):
    """The n-gram lengths of a long sequence of one-piece words follow p(n) ~ 1/n."""
    masker = masking.Masker(sample_tokenizer, ROOM)
    words = tf.range(1, 3001)
    with tf.Session() as session:
        draws = tf.constant(np.random.RandomState(1).uniform(size=3000), tf.float32)
        may_be_masked = tf.not_equal(words % 500, 0)
        ngrams = session.run(masker._ngrams(words, may_be_masked, draws))
    sizes = collections.Counter(collections.Counter(ngrams).values())
    total = sum(sizes.values())
    shares = {n: count / total for n, count in sizes.items()}
    assert shares == pytest.approx({1: 6 / 11, 2: 3 / 11, 3: 2 / 11}, abs=0.03)
    for number in range(499, 3000, 500):  # a special token is alone
        assert (ngrams == ngrams[number]).sum() == 1

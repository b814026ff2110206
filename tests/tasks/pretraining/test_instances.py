"""Pre-training instances: statistics of 20,000 instances, and tests of each rule."""

from __future__ import annotations

import collections
import dataclasses
import random

import numpy as np
import pytest

import tokenization
from albert_tf.io.errors import InputError
from albert_tf.tasks.pretraining.instances import (
    Instance,
    InstanceMaker,
    NgramChooser,
    Vocabulary,
    encode,
    ngram_limits,
    read_blocks,
    starts_word,
)
from albert_tf.tasks.pretraining.settings import RecordSettings
from golden import GOLDEN

SETTINGS = RecordSettings(max_seq_length=128, random_seed=1)
NUM_INSTANCES = 20_000
CLS, SEP, MASK = 2, 3, 4


@pytest.fixture(scope="module")
def documents(corpus, sample_tokenizer):
    """Documents of the generated corpus, joined in pairs to make them longer."""
    (block,) = read_blocks([corpus])
    documents = encode(block, sample_tokenizer, do_lower_case=True)
    return [first + second for first, second in zip(documents[::2], documents[1::2])]


@pytest.fixture(scope="module")
def vocabulary(sample_tokenizer):
    return Vocabulary(sample_tokenizer)


def make_instances(documents, vocabulary, count=2000, **changes):
    maker = InstanceMaker(dataclasses.replace(SETTINGS, **changes), vocabulary)
    instances, number = [], 0
    while len(instances) < count:
        instances += maker.block_instances(documents, 0, number)
        number += 1
    return instances[:count]


@pytest.fixture(scope="module")
def instances(documents, vocabulary):
    """20,000 instances."""
    return make_instances(documents, vocabulary, NUM_INSTANCES)


def original(instance):
    """Ids of the pieces before masking."""
    ids = list(instance.input_ids)
    for position, label in zip(instance.positions, instance.labels):
        ids[position] = label
    return ids


def segments(ids):
    """Segments A and B of `[CLS] A [SEP] B [SEP]`."""
    assert ids[0] == CLS
    assert ids[-1] == SEP
    cut = ids.index(SEP)
    return ids[1:cut], ids[cut + 1 : -1]


def word_starts(instance):
    return [i for i, boundary in enumerate(instance.token_boundary) if boundary]


def test_lengths(instances):
    lengths = [len(instance.input_ids) for instance in instances]
    assert max(lengths) == 128
    assert min(lengths) >= 5
    for instance in instances:
        segment_a, segment_b = segments(original(instance))
        assert segment_a
        assert segment_b
        assert instance.segment_ids == [0] * (len(segment_a) + 2) + [1] * (len(segment_b) + 1)
        assert len(instance.token_boundary) == len(instance.input_ids)


def test_masked_share(instances):
    masked = sum(len(instance.positions) for instance in instances)
    assert masked / sum(len(x.input_ids) for x in instances) == pytest.approx(0.15, abs=0.003)
    for instance in instances:
        assert 1 <= len(instance.positions) <= 20
        assert len(instance.positions) <= max(1, round(0.15 * len(instance.input_ids)))
        assert instance.positions == sorted(set(instance.positions))


def test_what_masked_pieces_become(instances, vocabulary):
    counts, random_ids = collections.Counter(), collections.Counter()
    for instance in instances:
        for position, label in zip(instance.positions, instance.labels):
            piece = instance.input_ids[position]
            kind = "mask" if piece == MASK else "kept" if piece == label else "random"
            counts[kind] += 1
            random_ids[piece] += kind == "random"
    total = sum(counts.values())
    shares = {kind: count / total for kind, count in counts.items()}
    assert shares == pytest.approx({"mask": 0.8, "kept": 0.1, "random": 0.1}, abs=0.005)
    assert set(+random_ids) == set(vocabulary.ordinary_ids)


def test_swap_rate(instances):
    swapped = sum(instance.next_sentence_label for instance in instances)
    assert swapped / len(instances) == pytest.approx(0.5, abs=0.015)


def test_no_special_piece_is_masked(instances):
    assert not {0, 1, CLS, SEP, MASK} & {label for x in instances for label in x.labels}


def test_no_word_is_masked_in_part(instances):
    for instance in instances:
        masked = set(instance.positions)
        starts = [*word_starts(instance), len(instance.input_ids)]
        for start, end in zip(starts, starts[1:]):
            assert len(masked & set(range(start, end))) in (0, end - start)


def test_ngram_lengths(instances, documents, vocabulary):
    """p(n) is proportional to 1/n, exactly so for the first n-gram, which fits any budget.

    The last n-grams of an instance are shorter if the budget runs out.
    """
    maker = InstanceMaker(SETTINGS, vocabulary)
    limits = np.cumsum([6 / 11, 3 / 11])
    first, every = collections.Counter(), collections.Counter()
    rng = random.Random(1)
    for instance in instances:
        ids = original(instance)
        if len(ids) < 100:
            continue
        chooser = NgramChooser(maker.words(ids), limits, rng)
        sizes = [len(ngram) for ngram in chooser.ngrams(19)]
        first[sizes[0]] += 1
        every.update(sizes)
    for counts, tolerance in ((first, 0.015), (every, 0.08)):
        shares = {n: count / sum(counts.values()) for n, count in counts.items()}
        assert shares == pytest.approx({1: 6 / 11, 2: 3 / 11, 3: 2 / 11}, abs=tolerance)


def test_runs_of_masked_words(instances):
    """Most runs of masked words are single words, and longer runs are rarer."""
    runs = collections.Counter()
    for instance in instances:
        masked = set(instance.positions)
        run = 0
        for start in [*word_starts(instance), None]:
            if start in masked:
                run += 1
            elif run:
                runs[run] += 1
                run = 0
    assert runs[1] > runs[2] > runs[3] > runs[4]
    assert sum(runs[n] for n in (1, 2, 3)) / sum(runs.values()) > 0.9


def test_labels_are_the_pieces_of_the_text(instances, documents):
    """With the labels restored, both segments are in one document, in the order of the label."""
    texts = [f" {' '.join(str(i) for s in document for i in s)} " for document in documents]
    for instance in instances[:2000]:
        pair = [f" {' '.join(map(str, segment))} " for segment in segments(original(instance))]
        if instance.next_sentence_label:
            pair.reverse()
        offsets = [(text.find(pair[0]), text.rfind(pair[1])) for text in texts]
        assert any(0 <= before < after for before, after in offsets)


def test_short_instances(documents, vocabulary):
    lengths = [len(x.input_ids) for x in make_instances(documents, vocabulary, short_seq_prob=0.0)]
    shorter = [len(x.input_ids) for x in make_instances(documents, vocabulary, short_seq_prob=1.0)]
    assert np.mean(shorter) < 0.85 * np.mean(lengths)


def test_longest_ngrams_may_be_favored():
    assert ngram_limits(3) == pytest.approx([6 / 11, 9 / 11])
    assert ngram_limits(2, favors_shorter=False) == pytest.approx([1 / 3])
    assert ngram_limits(1) == []


def test_without_whole_words(documents, vocabulary):
    made = make_instances(documents, vocabulary, do_whole_word_mask=False, ngram=1)
    in_part = 0
    for instance in made:
        masked = set(instance.positions)
        starts = [*word_starts(instance), len(instance.input_ids)]
        for start, end in zip(starts, starts[1:]):
            in_part += 0 < len(masked & set(range(start, end))) < end - start
    assert in_part > len(made)
    for instance in made:
        assert instance.token_boundary == [vocabulary.starts_word[i] for i in original(instance)]


def test_without_masks(documents, vocabulary):
    for instance in make_instances(documents, vocabulary, masked_lm_prob=0.0):
        assert instance.positions == instance.labels == []
        assert MASK not in instance.input_ids


def test_permutation(documents, vocabulary):
    """As many pieces again are permuted, and are predicted as well."""
    made = make_instances(documents, vocabulary, do_permutation=True)
    plain = make_instances(documents, vocabulary)
    share, plain_share = (
        sum(len(x.positions) for x in group) / sum(len(x.input_ids) for x in group)
        for group in (made, plain)
    )
    assert share == pytest.approx(2 * plain_share, rel=0.02)
    moved = 0
    for instance in made:
        assert len(instance.positions) <= 40
        pieces = list(zip(instance.positions, instance.labels))
        others = [(p, label) for p, label in pieces if instance.input_ids[p] not in (MASK, label)]
        labels = {label for _, label in pieces}
        moved += sum(instance.input_ids[p] in labels for p, _ in others)
    assert moved > 5 * len(made)
    record = made[0].record(dataclasses.replace(SETTINGS, do_permutation=True))
    assert len(record["masked_lm_positions"]) == len(record["masked_lm_weights"]) == 40


def test_random_next_sentences(documents, vocabulary):
    """With label 1, segment B is from another document; with label 0 it follows A."""
    made = make_instances(documents, vocabulary, random_next_sentence=True)
    labels = [instance.next_sentence_label for instance in made]
    assert np.mean(labels) == pytest.approx(0.5, abs=0.05)
    texts = [f" {' '.join(str(i) for s in document for i in s)} " for document in documents]
    together = collections.Counter()
    for instance in made[:500]:
        pair = [f" {' '.join(map(str, segment))} " for segment in segments(original(instance))]
        in_one = any(0 <= text.find(pair[0]) < text.rfind(pair[1]) for text in texts)
        together[instance.next_sentence_label, in_one] += 1
    assert together[0, False] == 0
    assert together[1, True] < 0.1 * together[1, False]


def test_record(vocabulary):
    instance = Instance(
        input_ids=[CLS, 9, SEP, MASK, SEP],
        segment_ids=[0, 0, 0, 1, 1],
        token_boundary=[1, 1, 1, 0, 1],
        positions=[3],
        labels=[20],
        next_sentence_label=1,
    )
    assert instance.record(RecordSettings(max_seq_length=7, max_predictions_per_seq=2)) == {
        "input_ids": [CLS, 9, SEP, MASK, SEP, 0, 0],
        "input_mask": [1, 1, 1, 1, 1, 0, 0],
        "segment_ids": [0, 0, 0, 1, 1, 0, 0],
        "token_boundary": [1, 1, 1, 0, 1, 0, 0],
        "masked_lm_positions": [3, 0],
        "masked_lm_ids": [20, 0],
        "masked_lm_weights": [1.0, 0.0],
        "next_sentence_labels": [1],
    }


@pytest.mark.parametrize(
    ("piece", "starts"),
    [
        ("▁the", True),
        ("▁", True),
        ("ing", False),
        ("th", False),
        ("ING", False),
        ("s.", False),  # letters and punctuation in one piece continue a word
        (",", True),
        (".", True),
        ("-", True),
        ("(", True),
        ("'", True),
        ("–", True),
        ("£", True),
        ("1", True),
        ("19", True),
        ("4th", True),
        ("é", True),
        ("味", True),
        ("[CLS]", True),
        ("[SEP]", True),
        ("<unk>", True),
    ],
)
def test_where_words_begin_in_a_sentencepiece_vocabulary(piece, starts):
    assert starts_word(piece, is_sentencepiece=True) is starts


@pytest.mark.parametrize(
    ("piece", "starts"), [("un", True), ("##able", False), ("##1", False), (",", True)]
)
def test_where_words_begin_in_a_wordpiece_vocabulary(piece, starts):
    assert starts_word(piece, is_sentencepiece=False) is starts


def test_words_of_a_sentence(sample_tokenizer, vocabulary):
    """Digits and punctuation are separate words; a word with an unknown piece is not masked."""
    ids = sample_tokenizer.ids_of_text("finished in 1874, nine\u2603ty", do_lower_case=True)
    ids = [CLS, *ids, SEP]
    pieces = sample_tokenizer.convert_ids_to_tokens(ids)
    words = InstanceMaker(SETTINGS, vocabulary).words(ids)
    texts = ["".join(pieces[start:end]) for start, end in words]
    assert texts[:2] == ["▁finished", "▁in"]
    assert "".join(texts[2:-2]) == "▁1874"
    assert texts[-2:] == [",", "▁nine"]
    assert "<unk>" in pieces


def test_the_pieces_of_a_segment_do_not_begin_within_a_word(instances, vocabulary):
    for instance in instances:
        for segment in segments(original(instance)):
            assert vocabulary.starts_word[segment[0]]


def test_a_last_sentence_goes_with_the_one_before(vocabulary):
    sentence = [i for i in vocabulary.ordinary_ids if vocabulary.starts_word[i]][:70]
    maker = InstanceMaker(dataclasses.replace(SETTINGS, short_seq_prob=0.0), vocabulary)
    three = maker.block_instances([[sentence, sentence[::-1], sentence[:10]]], 0, 0)
    assert len(three) == 2
    assert len(three[0].input_ids) + len(three[1].input_ids) == 128 + 83
    assert maker.block_instances([[sentence]], 0, 0) == []


def test_a_word_that_is_longer_than_the_instance(sample_tokenizer, vocabulary):
    documents = encode([["x" * 300, "y" * 300]], sample_tokenizer, True)
    maker = InstanceMaker(SETTINGS, vocabulary)
    for number in range(20):
        (instance,) = maker.block_instances(documents, 0, number)
        assert len(instance.input_ids) <= 128
        assert all(segments(original(instance)))


def test_the_seed_the_pass_and_the_block_make_the_instances(documents, vocabulary):
    def made(seed, block, number):
        settings = dataclasses.replace(SETTINGS, random_seed=seed)
        return InstanceMaker(settings, vocabulary).block_instances(documents, block, number)

    assert made(1, 0, 0) == made(1, 0, 0)
    for other in ((2, 0, 0), (1, 1, 0), (1, 0, 1)):
        assert made(1, 0, 0) != made(*other)


def test_blocks(tmp_path):
    paths = [str(tmp_path / name) for name in "ab"]
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\n two \r\n\n\n\nthree\n\t\nfour")
    (tmp_path / "b").write_text("five\n")
    whole = [["one", "two"], ["three"], ["four"], ["five"]]
    assert list(read_blocks(paths)) == [whole]
    assert list(read_blocks(paths, block_characters=8)) == [
        [["one", "two"], ["three"]],
        [["four"], ["five"]],
    ]
    assert list(read_blocks(paths, block_characters=4)) == [
        [["one", "two"]],
        [["three"]],
        [["four"]],
        [["five"]],
    ]


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"one\ntw\xffo\n")
    with pytest.raises(InputError, match=f"{path}, line 2: not UTF-8 .*--input_file_mode=rb"):
        list(read_blocks([str(path)]))
    assert list(read_blocks([str(path)], strict=False)) == [[["one", "two"]]]


def test_encoded_blocks(sample_tokenizer):
    block = [["It was finished.", "\u200b", "What is it?"], ["\u200b"], ["Supplies."]]
    encoded = encode(block, sample_tokenizer, do_lower_case=True)
    ids = [sample_tokenizer.ids_of_text(t, True) for t in (block[0][0], block[0][2], block[2][0])]
    zero_width = sample_tokenizer.ids_of_text("\u200b", True)
    expected = [[ids[0], zero_width, ids[1]], [zero_width], [ids[2]]]
    assert encoded == [[s for s in d if s] for d in expected if any(d)]


def test_wordpiece_vocabularies(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##able", "x"]))
    vocabulary = Vocabulary(tokenization.FullTokenizer(str(path)))
    assert vocabulary.starts_word == [1, 1, 1, 1, 1, 1, 0, 1]
    assert vocabulary.ordinary_ids == [5, 6, 7]


def test_the_sample_corpus_has_no_single_sentences(sample_tokenizer):
    (block,) = read_blocks([str(GOLDEN / "sample/sample_corpus.txt")])
    encoded = encode(block, sample_tokenizer, True)
    assert min(map(len, encoded)) > 1
    assert len(encoded) == len(block)

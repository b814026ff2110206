"""Tests of pre-training's sections of the report page."""

from __future__ import annotations

import math

from albert_tf.tasks.pretraining import report

METRICS = {
    "masked_lm_accuracy": 0.5,
    "masked_lm_loss": 2.0,
    "sentence_order_accuracy": 0.75,
    "sentence_order_loss": 0.5,
}


def record(tokenizer, hits):
    """Prediction of the sentence "the lamp": its second piece is masked."""
    pieces = ["[CLS]", "▁the", "▁l", "a", "[SEP]"]
    ids = tokenizer.convert_tokens_to_ids(pieces)
    mask, other = tokenizer.convert_tokens_to_ids(["[MASK]", "▁keeper"])
    best = [ids[2], other] if hits else [other, ids[2]]
    return {
        "input_ids": [*ids[:2], mask, *ids[3:]],
        "positions": [2],
        "true_ids": [ids[2]],
        "best_ids": [best],
        "best_log_probs": [[math.log(0.75), math.log(0.25)]],
        "order": 1,
        "order_is_right": hits,
    }


def test_sections_show_metrics_and_the_best_pieces_of_each_mask(sample_tokenizer):
    details = [record(sample_tokenizer, hits) for hits in (True, False)]
    figures, examples = report.sections(METRICS, details, sample_tokenizer)
    accuracy, loss = figures.blocks
    assert accuracy.series == {"accuracy": [0.5, 0.75]}
    assert loss.series == {"loss": [2.0, 0.5]}
    right, wrong = examples.blocks[0].items
    text = examples.blocks[0].passages[right["passage"]]
    assert text.split() == ["[CLS]", "the", "la", "[SEP]"]
    assert [text[start:end] for start, end, _ in right["spans"]] == ["l"]
    unknown = sample_tokenizer.convert_ids_to_tokens([details[0]["best_ids"][0][1]])[0]
    assert right["rows"] == [["▁l", "[MASK]", "▁l (75%)", f"{unknown} (25%)"]]
    assert right["facts"] == ["1 of 1 tokens right", "swapped, predicted swapped"]
    assert wrong["facts"] == ["0 of 1 tokens right", "swapped, predicted in order"]
    assert (right["state"], wrong["state"]) == ("right", "wrong")


def test_without_a_tokenizer_ids_are_shown(sample_tokenizer):
    details = [record(sample_tokenizer, True)]
    _, examples = report.sections(METRICS, details, None)
    (item,) = examples.blocks[0].items
    assert item["rows"][0][0].strip() == str(details[0]["true_ids"][0])
    assert "--spm_model_file" in examples.text

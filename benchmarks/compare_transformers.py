"""Worker of `compare.py` for ALBERT in `transformers`: training and prediction, in turns.

python compare_transformers.py train|predict features.npz config.json float32|bfloat16

This runs in the environment of `make compare`, which holds nothing of this project.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import torch
import transformers
import turns

PADDED, LONGEST, GROUPED = "padded", "longest", "grouped"
MAX_SEQ_LENGTH = 384
_GROUP = 50  # batches that are sorted by length together, as in transformers' sampler
_CLIP_NORM = 1.0


class Features:
    """Features of a data set, dealt out in batches.

    Attributes:
      lengths: number of tokens of each feature.
    """

    def __init__(self, path: str):
        """Read the features from a file of `compare_this.py`."""
        values = np.load(path)
        self.lengths = values["lengths"].tolist()
        ends = np.cumsum(self.lengths)[:-1]
        self._ids = np.split(values["input_ids"], ends)
        self._segments = np.split(values["segment_ids"], ends)
        self._positions = {
            name: values[name] for name in ("start_positions", "end_positions") if name in values
        }

    def batch(self, numbers: list[int], arrangement: str) -> dict[str, torch.Tensor]:
        """Arguments of the model for the features with these numbers."""
        longest = max(self.lengths[number] for number in numbers)
        length = MAX_SEQ_LENGTH if arrangement == PADDED else longest
        ids, mask, segments = np.zeros([3, len(numbers), length], np.int64)
        for row, number in enumerate(numbers):
            real = slice(self.lengths[number])
            ids[row, real] = self._ids[number]
            segments[row, real] = self._segments[number]
            mask[row, real] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
        inputs.update({name: values[numbers] for name, values in self._positions.items()})
        return {name: torch.from_numpy(value) for name, value in inputs.items()}

    def training_order(self, arrangement: str, batch_size: int) -> Iterator[list[int]]:
        """Yield batches for training, without end, in random order.

        Groups of batches are sorted by length if `arrangement` says so, like by transformers'
        sampler. Their batches then come in random order, so that each turn gets all lengths.
        """
        rng = random.Random(0)
        while True:
            numbers = list(range(len(self.lengths)))
            rng.shuffle(numbers)
            if arrangement == GROUPED:
                size = _GROUP * batch_size
                groups = [numbers[i : i + size] for i in range(0, len(numbers), size)]
                numbers = [n for group in groups for n in sorted(group, key=self._length)]
            batches = list(_in_batches(numbers, batch_size))
            rng.shuffle(batches)
            yield from batches

    def prediction_order(self, arrangement: str, batch_size: int) -> list[list[int]]:
        """Batches of all features, sorted by length if `arrangement` says so."""
        numbers = list(range(len(self.lengths)))
        if arrangement == GROUPED:
            numbers.sort(key=self._length)
        return list(_in_batches(numbers, batch_size))

    def _length(self, number):
        return self.lengths[number]


def _in_batches(numbers, size):
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


class Trainer:
    """Training: the whole step, with clipping and AdamW."""

    def __init__(self, model: Any, features: Features, dtype: torch.dtype):
        """Make the optimizer."""
        self._model = model.train()
        self._features = features
        self._dtype = dtype
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
        self._orders = {}

    def turn(self, arrangement: str, batch_size: int, batches: int) -> int:
        """Take steps, and return the number of tokens."""
        key, tokens = (arrangement, batch_size), 0
        if key not in self._orders:
            self._orders[key] = self._features.training_order(*key)
        for _ in range(batches):
            batch = self._features.batch(next(self._orders[key]), arrangement)
            is_mixed = self._dtype != torch.float32
            with torch.autocast("cpu", self._dtype, enabled=is_mixed):
                loss = self._model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP_NORM)
            self._optimizer.step()
            self._optimizer.zero_grad()
            tokens += int(batch["attention_mask"].sum())
        return tokens


class Predictor:
    """Prediction: the forward pass alone."""

    def __init__(self, model: Any, features: Features, dtype: torch.dtype):
        """Convert the weights to a dtype."""
        self._model = model.eval().to(dtype)
        self._features = features

    def turn(self, arrangement: str, batch_size: int, batches: int) -> int:
        """Predict all features, and return the number of tokens."""
        with torch.inference_mode():
            for numbers in self._features.prediction_order(arrangement, batch_size):
                self._model(**self._features.batch(numbers, arrangement))
        return sum(self._features.lengths)


def product_rate(dtype: torch.dtype, size: int = 2048, calls: int = 5) -> float:
    """Operations per second of a product of two matrices."""
    factors = [torch.randn(size, size).to(dtype) for _ in "ab"]
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        torch.matmul(*factors)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / float(np.median(seconds))


def main() -> None:
    """Build the model, and take turns."""
    job, features_path, config_path, dtype_name = sys.argv[1:]
    dtype = getattr(torch, dtype_name)
    values = json.loads(Path(config_path).read_text(encoding="utf-8"))
    values["hidden_act"] = "gelu_new"  # the name of the same function there
    config = transformers.AlbertConfig(**values, attn_implementation="sdpa")
    torch.manual_seed(0)
    model = transformers.AlbertForQuestionAnswering(config)
    kind = Trainer if job == "train" else Predictor
    program = kind(model, Features(features_path), dtype)
    for command in turns.commands():
        if command["do"] == "product":
            turns.answer(product_rate(dtype))
        else:
            turn = turns.Turn()
            arguments = (command[name] for name in ("arrangement", "batch_size", "batches"))
            turn.end(program.turn(*arguments))


if __name__ == "__main__":
    main()

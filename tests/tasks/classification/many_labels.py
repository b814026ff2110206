"""Rows of a classification with five thousand labels."""

from __future__ import annotations

import numpy as np

_SIZE = 5000
NAMES = [f"label {number}" for number in range(_SIZE)]

_random = np.random.RandomState(0)
_true, _other = _random.randint(0, _SIZE, [2, 20_000])
# Half of the rows are predicted rightly; 30 more have one label, and are all taken for another.
TRUTHS = np.append(_true, [17] * 30)
PREDICTIONS = np.append(np.where(_random.rand(20_000) < 0.5, _true, _other), [4000] * 30)

"""Bounds of numbers in flags and files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

LARGEST_INT = 2**31 - 1  # of TensorFlow's int32 tensors


@dataclass(frozen=True)
class Bounds:
    """Valid numbers of a setting: all finite numbers between two bounds.

    Attributes:
      is_whole: whether only integers are valid.
      lower: smallest valid number; None for no limit.
      upper: largest valid number; None for no limit.
      excludes_lower: whether numbers must be greater than `lower`.
      excludes_upper: whether numbers must be less than `upper`.
    """

    is_whole: bool
    lower: float | None = None
    upper: float | None = None
    excludes_lower: bool = False
    excludes_upper: bool = False

    def allow(self, value: Any) -> bool:
        """Whether a value of any type is a valid number."""
        types = (int,) if self.is_whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, types):
            return False
        # `math.isfinite` fails for integers that no float can hold; NaN compares as false.
        if not abs(value) <= sys.float_info.max:
            return False
        if self.lower is not None and (
            value < self.lower or (self.excludes_lower and value == self.lower)
        ):
            return False
        return self.upper is None or not (
            value > self.upper or (self.excludes_upper and value == self.upper)
        )

    def __str__(self) -> str:
        """The valid numbers in words, such as "an integer from 1 to 100"."""
        name = "an integer" if self.is_whole else "a number"
        above = "greater than" if self.excludes_lower else "of at least"
        below = "less than" if self.excludes_upper else "of at most"
        if self.lower is None:
            return name if self.upper is None else f"{name} {below} {_text(self.upper)}"
        if self.upper is None:
            return f"{name} {above} {_text(self.lower)}"
        if self.excludes_lower or self.excludes_upper:
            return f"{name} {above} {_text(self.lower)} and {below} {_text(self.upper)}"
        return f"{name} from {_text(self.lower)} to {_text(self.upper)}"


def _text(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"

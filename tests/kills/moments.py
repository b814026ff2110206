"""Moments in the life of a run at which to end it, drawn by a fixed seed."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Sequence

from kills.processes import Change, Strike

SEED = 20260131
_LONG_PAUSE_SECONDS = 0.01  # between two changes: the process computes

# The phase of a run by what it changes, and of a pause by the change that follows it.
_PHASES = (
    (r"(^|/)export(/|$)", "export"),
    (r"(^|/)model\.ckpt-best\.", "choice"),
    (r"(^|/)(model\.ckpt-\d|checkpoint|graph\.pbtxt)", "saving"),
    (
        r"(^|/)(\w*predictions\.|eval_results|\w+_results\w*\.tsv|eval$"
        r"|null_odds|thresholds|confusion_matrix|evaluations/)",
        "results",
    ),
    (r"\.tf_?record|(^|/)records-\d|^records$", "conversion"),
)
# Computing before a change of these phases has a name of its own.
_BEFORE = {"saving": "training", "choice": "judging", "results": "judging"}


@dataclass(frozen=True)
class Moment:
    """A moment in the life of a run.

    Attributes:
      phase: phase of the run.
      number: number of the change to files that the run is about to make, from 1.
      delay: seconds after that; 0 for the moment before the change.
      change: the change.
    """

    phase: str
    number: int
    delay: float
    change: Change

    def __str__(self) -> str:
        where = f"{self.change.operation} {self.change.path} (change {self.number})"
        if self.delay:
            return f"{self.phase}: {self.delay:.3f} s after {where}"
        return f"{self.phase}: before {where}"


def phase_of(change: Change) -> str:
    """Name the phase in which a run makes a change."""
    for pattern, phase in _PHASES:
        if re.search(pattern, change.path):
            return phase
    return "start"


def _is_log(change: Change) -> bool:
    """Whether a change is a line of the log or an event of TensorBoard, written in any phase."""
    return bool(re.search(r"(^|/)(log\.txt$|events\.out\.)", change.path))


def moments_of(
    changes: Sequence[Change], phase: str, while_workers_run: bool = False
) -> list[Moment]:
    """Moments of a phase, in an order drawn by the seed; half of them in long pauses if any.

    Args:
      changes: the changes of an undisturbed run.
      phase: name of the phase.
      while_workers_run: whether to take the moments of the longest pause alone.
    """
    if while_workers_run:
        return _moments_of_longest_pause(changes)
    generator = random.Random(f"{SEED} {phase}")
    at_changes, in_pauses = [], []
    for number, change in enumerate(changes, 1):
        if phase_of(change) == phase:
            at_changes.append(Moment(phase, number, 0.0, change))
    for number, (change, following) in enumerate(zip(changes, changes[1:]), 1):
        pause = following.seconds - change.seconds
        its_phase = phase_of(next((c for c in changes[number:] if not _is_log(c)), following))
        if pause > _LONG_PAUSE_SECONDS and _BEFORE.get(its_phase, its_phase) == phase:
            for _ in range(10):
                in_pauses.append(Moment(phase, number, pause * generator.random(), change))
    generator.shuffle(at_changes)
    generator.shuffle(in_pauses)
    drawn = []
    while at_changes or in_pauses:
        drawn += [moments.pop() for moments in (at_changes, in_pauses) if moments]
    return drawn


def _moments_of_longest_pause(changes):
    pauses = [after.seconds - before.seconds for before, after in zip(changes, changes[1:])]
    longest = max(pauses)
    number = pauses.index(longest) + 1
    generator = random.Random(SEED)
    phase = phase_of(changes[number])
    return [
        # Workers start after the beginning of the pause, and end before its end.
        Moment(phase, number, longest * generator.uniform(0.3, 0.8), changes[number - 1])
        for _ in range(100)
    ]


def strike_at(moment: Moment, **attributes) -> Strike:
    """Make the strike at a moment."""
    return Strike(moment.number, moment.delay, **attributes)


def second_strike(moment: Moment, changes: Sequence[Change], generator: random.Random) -> Strike:
    """Draw a kill of the run that goes on after a first one.

    Args:
      moment: moment of the first kill.
      changes: the changes of an undisturbed run.
      generator: random numbers.
    """
    return Strike(generator.randint(1, max(1, len(changes) - moment.number)))

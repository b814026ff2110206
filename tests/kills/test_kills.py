"""Runs that are killed at some moment of their life, and started again by the same command.

Each must end like an undisturbed run: the same files, answers and weights. The moments are drawn
by a fixed seed from the changes that an undisturbed run makes to its files, and from the pauses
between them. `make test` takes a share of them, `make test-kills` all (`ALL_KILLS=1`).
"""

from __future__ import annotations

import random
import signal

import pytest

from kills.comparison import contents, differences
from kills.moments import SEED, moments_of, second_strike, strike_at
from kills.processes import Runner, Strike
from kills.scenarios import SCENARIOS, TERMINATED, record
from scripts import ALL_KILLS

_SHARE = {
    "squad-saving-0",
    "squad-choice-1",
    "squad-again-conversion-2",
    "classifier-results-0",
    "squad-v2-results-0",
    "own-data-results-0",
    "race-saving-0",
    "pretraining-training-0",
    "records-workers-conversion-0",
}
_TERMINATED_SHARE = {"squad-training-0"}


def _parameters(counts_by_scenario, share):
    """Parameters of a test: scenario, phase and number of the moment. Scenarios stay together."""
    return [
        pytest.param(
            name, phase, number, id=test_id, marks=pytest.mark.xdist_group(f"kills-{name}")
        )
        for name, counts in counts_by_scenario.items()
        for phase, count in counts.items()
        for number in range(count)
        for test_id in [f"{name}-{phase}-{number}"]
        if ALL_KILLS or test_id in share
    ]


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    """Runner of the scripts; its fork server serves all tests of this process."""
    runner = Runner(tmp_path_factory.mktemp("kills"))
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def recordings(runner, tmp_path_factory):
    """Undisturbed runs by scenario, made when first asked for; resets the run's folder."""
    made = {}

    def recording_of(name):
        if name not in made:
            made[name] = record(runner, SCENARIOS[name], tmp_path_factory.mktemp(name))
        made[name].reset()
        return made[name]

    return recording_of


@pytest.mark.parametrize(
    ("name", "phase", "number"),
    _parameters({name: scenario.moments for name, scenario in SCENARIOS.items()}, _SHARE),
)
def test_a_killed_run_ends_like_an_undisturbed_one(
    runner, recordings, record_property, name, phase, number
):
    recording = recordings(name)
    hits_worker = recording.scenario.hits_workers
    moment = moments_of(recording.changes, phase, while_workers_run=hits_worker)[number]
    strikes = [strike_at(moment, hits_worker=hits_worker)]
    if number % 3 == 1:
        generator = random.Random(f"{SEED} {name} {phase} {number}")
        strikes.append(second_strike(moment, recording.changes, generator))
    _strike_and_finish(runner, recording, moment, strikes, number % 5 != 4, record_property)


@pytest.mark.parametrize(("name", "phase", "number"), _parameters(TERMINATED, _TERMINATED_SHARE))
def test_a_terminated_run_ends_like_an_undisturbed_one(
    runner, recordings, record_property, name, phase, number
):
    recording = recordings(name)
    moment = moments_of(recording.changes, phase)[~number]  # others than those of the kills
    strikes = [strike_at(moment, signal=signal.SIGTERM)]
    _strike_and_finish(runner, recording, moment, strikes, number % 2 == 0, record_property)


def _strike_and_finish(runner, recording, moment, strikes, forked, record_property):
    """Start a run, strike it, and start it again until it ends; compare what it leaves."""
    record_property("scenario", recording.scenario.script)
    record_property("phase", moment.phase)
    for number, strike in enumerate([*strikes, None]):
        ended = runner.run(
            recording.scenario.script, recording.flags, recording.root, strike, forked
        )
        record_property("status", ended.status)
        story = f"{moment}\nthis start: {strike}\n{ended.log}"
        assert "Traceback" not in ended.log, story
        if ended.status == 0:  # a start that goes on may end before its strike
            assert number or moment.delay, story
            break
        assert strike, f"the same command does not go on: {story}"
        assert ended.status == _expected_status(strike), story
        if strike.hits_worker:
            errors = [line for line in ended.log.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1, story
    found = differences(contents(recording.root), recording.contents)
    assert not found, "\n".join([*found, story])


def _expected_status(strike: Strike) -> int:
    if strike.hits_worker:
        return 1
    return -signal.SIGKILL if strike.signal == signal.SIGKILL else 128 + strike.signal

"""Report of the kills at the end of the tests."""

from __future__ import annotations

import collections


def pytest_terminal_summary(terminalreporter):
    """Print the number of moments, by script and phase, and how the starts ended."""
    moments, starts = collections.defaultdict(collections.Counter), collections.Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        properties = dict(report.user_properties)
        if report.when == "call" and "phase" in properties:
            script = properties["scenario"]
            moments[script][properties["phase"]] += 1
            starts.update((script, v) for name, v in report.user_properties if name == "status")
    if not moments:
        return
    terminalreporter.section("kills")
    for script, phases in sorted(moments.items()):
        listed = ", ".join(f"{phase} {count}" for phase, count in sorted(phases.items()))
        ends = ", ".join(
            f"{count} with {status}" for (s, status), count in sorted(starts.items()) if s == script
        )
        terminalreporter.line(f"{script}: {sum(phases.values())} moments ({listed}); ends: {ends}")

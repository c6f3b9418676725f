"""Progress of a whole benchmark, by a clock of the tests."""

from __future__ import annotations

import pytest

from al_loop.benchmark.run import progress
from al_loop.benchmark.run.progress import OverallProgress
from al_loop.core.console import Silent


def test_the_time_left_follows_from_runs_that_were_not_only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    overall = OverallProgress(Silent(), 10)
    assert str(overall) == "0 of 10"
    for seconds in (0.1, 0.1, 100.0, 200.0):
        clock[0] += seconds
        overall.step()
    # Two were only read; the others took 150 s each, and six are left.
    assert str(overall) == "4 of 10, about 15 min left"
    overall.add(6, [])
    assert str(overall) == "10 of 10"


def test_bars_show_it_and_lines_do_not() -> None:
    shown: list[str] = []

    class Recorder(Silent):
        def progress(self, description: str):  # type: ignore[no-untyped-def]
            shown.append(description)
            return super().progress(description)

    reporter = Recorder()
    overall = OverallProgress(reporter, 3)
    overall.line("hello")
    with overall.progress("train"):
        overall.step()
    assert (reporter.lines, shown) == (["hello"], ["0 of 3 · train"])


def test_parallel_runs_share_the_time() -> None:
    """16 runs of 10 min, 4 at a time: after the first four, three times ten minutes are left."""
    overall = OverallProgress(Silent(), 16, parallel=4)
    for _ in range(4):
        overall.add(1, [600.0])
    assert str(overall) == "4 of 16, about 30 min left"
    overall.add(10, [])  # only read
    assert str(overall) == "14 of 16, about 10 min left"

"""How far a sweep is, by a clock of ours."""

from __future__ import annotations

import pytest

from al_loop.benchmark import overall
from al_loop.benchmark.overall import Overall
from al_loop.console import Silent


def test_what_is_left_goes_by_what_was_worked_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(overall.time, "monotonic", lambda: clock[0])
    whole = Overall(Silent(), 10)
    assert str(whole) == "0 of 10"
    for seconds in (0.1, 0.1, 100.0, 200.0):
        clock[0] += seconds
        whole.step()
    # Two were only read; the others took 150 s each, and six are left.
    assert str(whole) == "4 of 10, about 15 min left"
    whole.skip(5)
    clock[0] += 150
    whole.step()
    assert str(whole) == "10 of 10"


def test_bars_say_it_and_lines_do_not() -> None:
    shown: list[str] = []

    class Told(Silent):
        def progress(self, description: str):  # type: ignore[no-untyped-def]
            shown.append(description)
            return super().progress(description)

    told = Told()
    whole = Overall(told, 3)
    whole.line("hello")
    with whole.progress("train"):
        whole.step()
    assert (told.lines, shown) == (["hello"], ["0 of 3 · train"])

"""The time that the model's boxes save, by hand."""

from __future__ import annotations

import pytest

from al_loop.report.time_saved import LEAST, compare_times
from al_loop.state.database.label_table import TimedLabel


def labels(prefix: str, *rows: tuple[float, int]) -> list[TimedLabel]:
    return [TimedLabel(f"{prefix}{n}", seconds, boxes) for n, (seconds, boxes) in enumerate(rows)]


def test_seconds_of_each_box() -> None:
    """Without the model's boxes 8 s each, with them 3 s; one image has no box."""
    shown = labels("s", *[(6.0, 2), (9.0, 3)] * 10, (20.0, 0))
    blind = labels("b", *[(8.0, 1), (16.0, 2)] * 4)
    found = compare_times([*shown, *blind], {label.image_id for label in blind})
    assert found is not None
    assert (found.shown, found.without, found.blind) == (3.0, 8.0, 8)
    assert found.saved == pytest.approx(5)
    assert found.low == pytest.approx(5)
    assert found.high == pytest.approx(5)


def test_boxes_that_cost_time_have_an_interval_around_0() -> None:
    shown = labels("s", *[(4.0, 1), (12.0, 1)] * 10)
    blind = labels("b", *[(4.0, 1), (12.0, 1)] * 5)
    found = compare_times([*shown, *blind], {label.image_id for label in blind})
    assert found is not None
    assert found.low < 0 < found.high
    assert found.saved == 0


@pytest.mark.parametrize(("blind", "shown"), [(LEAST - 1, 20), (20, LEAST - 1), (0, 0)])
def test_too_few_images_say_nothing(blind: int, shown: int) -> None:
    some = [*labels("s", *[(5.0, 1)] * shown), *labels("b", *[(5.0, 1)] * blind)]
    assert compare_times(some, {f"b{n}" for n in range(blind)}) is None

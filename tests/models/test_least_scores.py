"""The scores from which annotators see the model's boxes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from al_loop.core.console import Silent
from al_loop.models import evaluation
from al_loop.models.evaluation import least_scores
from al_loop.state.model_registry import get_model, register_model
from al_loop.state.workspace import Workspace
from strategies import Calibration, Prices

USEFUL = Calibration(1.5, (0.5, -0.5), 0.8, 0.1, 0.2)


@pytest.fixture
def known(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Calibration | None, float | str], tuple[float, ...]]:
    """Return a function: the scores, given what is known of the model and the setting."""
    register_model(workspace, "m0", "import", "0" * 64, None, None)

    def scores(calibration: Calibration | None, setting: float | str) -> tuple[float, ...]:
        monkeypatch.setattr(evaluation, "calibration_of", lambda *_: calibration)
        labels = structs.replace(workspace.config.label_studio, min_score=setting)
        here = workspace.with_settings(structs.replace(workspace.config, label_studio=labels))
        return least_scores(here, get_model(here, "m0"), Silent(), Prices())

    return scores


def test_boxes_that_save_time_are_shown(known: Callable[..., tuple[float, ...]]) -> None:
    found = known(USEFUL, "auto")
    assert found == USEFUL.least_scores(Prices().least_chance)
    assert 0 < found[0] < found[1] < 1


@pytest.mark.parametrize("calibration", [None, Calibration(1.5, (0.5, -0.5), 0.6, 0.1, 0.2)])
def test_where_nothing_is_known_of_the_boxes(
    known: Callable[..., tuple[float, ...]], calibration: Calibration | None
) -> None:
    assert known(calibration, "auto") == (0.3, 0.3)


def test_a_number_is_that_of_all_classes(known: Callable[..., tuple[float, ...]]) -> None:
    assert known(USEFUL, 0.45) == (0.45, 0.45)


def test_of_a_model_that_was_not_evaluated_nothing_is_known(workspace: Workspace) -> None:
    register_model(workspace, "m0", "import", "0" * 64, None, None)
    assert least_scores(workspace, get_model(workspace, "m0"), Silent(), Prices()) == (0.3, 0.3)

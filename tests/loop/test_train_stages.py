"""What a cycle trains on."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from support.factories import write_coco_set
from support.small_loop import small_loop

from al_loop.core.console import Silent
from al_loop.images import repository
from al_loop.loop.cycle_record import Cycle
from al_loop.loop.train_stages import train_stage
from al_loop.state import model_registry
from al_loop.state.workspace import Workspace


@pytest.mark.integration
def test_a_cycle_replays_rendered_images_and_trains_again_if_these_change(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(workspace, tmp_path, monkeypatch, images=12)
    here = loop.run(cycles=1)
    assert loop.rendered == [0]
    settings = structs.replace(here.config, train=structs.replace(here.config.train, replay=0.5))
    here = here.with_settings(settings)
    cycle = Cycle(1, 10, model_registry.get_model(here, "m0"), settings)
    for number in (1, 2):
        coco = write_coco_set(workspace.synthetic / f"set-{number}", 3, seed=10 + number)
        coco.rename(coco.with_name("annotations.json"))
        workspace.store.execute("INSERT INTO datasets VALUES (?, 'r', 3, 'now')", f"set-{number}")
        for _ in range(2):  # the second time nothing is trained
            train_stage(here, cycle, repository.labelled(here), Silent())
    assert loop.rendered == [0, 3, 6]

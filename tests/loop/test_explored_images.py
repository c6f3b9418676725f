"""Explored images differ from labelled images, which the model scores, too."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from support.small_loop import small_loop

from al_loop.core.files import read_json
from al_loop.loop import pool_scoring
from al_loop.loop.pool_scoring import LabelSummary
from al_loop.loop.verify import reproduce
from al_loop.state.file_hashes import shards_in
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace


def known_of(workspace: Workspace, cycle: int) -> LabelSummary:
    return LabelSummary.of(read_json(workspace.cycle_dir(cycle) / "select" / "known.json"))


def test_a_model_scores_some_labelled_images_to_compare_with(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first by id, for a strategy that reads none; the summary says that they were compared."""
    monkeypatch.setattr(pool_scoring, "_MOST_COMPARED", 4)
    loop = small_loop(workspace, tmp_path, monkeypatch, images=40)
    here = loop.run(strategy="margin", cycles=2, explore_fraction=0.2)
    known = known_of(workspace, 2)
    assert known.novelty == "maxima"
    folder = workspace.scores_dir(ScoreKey.of(here.config, "cycle-1"))
    assert set(shards_in(workspace, folder).image_ids()) & set(known.images) == set(sorted(known.images)[:4])
    assert not any(finding.changed for finding in reproduce(here, 2))
    # The summary of an older al-loop says nothing of it.
    stored = {name: value for name, value in asdict(known).items() if name != "novelty"}
    assert LabelSummary.of(stored).novelty is None
    assert LabelSummary.of(stored | {"novelty": True}).novelty == "embeddings"


@pytest.mark.parametrize(("strategy", "share"), [("margin", 0.0), ("random", 0.2)])
def test_where_nothing_is_explored_no_labelled_image_is_scored(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, share: float
) -> None:
    loop = small_loop(workspace, tmp_path, monkeypatch, images=40)
    here = loop.run(strategy=strategy, cycles=2, explore_fraction=share)
    known = known_of(workspace, 2)
    assert not known.novelty
    folder = workspace.scores_dir(ScoreKey.of(here.config, "cycle-1"))
    assert not set(shards_in(workspace, folder).image_ids()) & set(known.images)

"""From scores to a queue: the strategy's picks, the explore quota, a reason for each."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest
from pools import detections

from al_loop import picks
from al_loop.config import CycleConfig
from al_loop.picks import Context, pick
from al_loop.shards import ScoredImages
from strategies import STRATEGIES, margin_sum


def scored(n: int, seed: int = 0, silent: int = 0) -> ScoredImages:
    """Scores of n images; the model sees nothing in the last `silent`."""
    found = detections(n, seed)
    if silent:
        counts = np.where(np.arange(n) < n - silent, np.maximum(found.counts, 1), 0)
        found = detections(int(counts.sum()), seed, most=1).subset(np.arange(0))
        many = detections(4 * n, seed)
        rows = int(counts.sum())
        found = type(many)(
            np.concatenate([[0], np.cumsum(counts)]),
            *(getattr(many, f)[:rows] for f in ("distributions", "labels", "scores", "boxes", "features")),
        )
    rng = np.random.default_rng(seed)
    return ScoredImages(
        tuple(f"img{i:03d}" for i in range(n)),
        rng.normal(size=(n, 8)).astype(np.float32),
        found.offsets,
        np.asarray(found.boxes, np.float64),
        found.labels,
        np.asarray(found.scores, np.float64),
        np.asarray(found.distributions, np.float32),
        np.asarray(found.features, np.float16),
        margin_sum(found.distributions, found.offsets),
    )


def full(n: int) -> Context:
    return Context(
        np.random.default_rng(9).normal(size=(5, 8)).astype(np.float32),
        np.array([3.0, 1.0, 0.0]),
        (scored(n, 1), scored(n, 2)),
        np.array([0.9, 0.5, 0.2]),
    )


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_fills_the_queue_and_says_why(strategy: str) -> None:
    settings = msgspec.convert({"strategy": strategy}, CycleConfig)
    picks = pick(scored(40), 9, settings, 1, context=full(40))
    assert len({p.image_id for p in picks}) == 9
    assert [p.rank for p in picks] == list(range(9))
    assert all(p.reason for p in picks)
    assert [p.uncertainty for p in picks] == sorted((p.uncertainty for p in picks), reverse=True)
    again = pick(scored(40), 9, settings, 1, context=full(40))
    assert [p.image_id for p in again] == [p.image_id for p in picks]


def test_a_share_goes_to_what_the_model_does_not_see() -> None:
    found = scored(40, silent=12)
    for strategy, share, expected in (
        ("dbal", 0.2, 2),
        ("dbal", 0.0, 0),
        ("margin", 0.5, 5),
        ("random", 0.5, None),
    ):
        settings = msgspec.convert({"strategy": strategy, "explore": share}, CycleConfig)
        picks = pick(found, 10, settings, 1)
        explored = [p for p in picks if p.reason.startswith("explore")]
        assert len(picks) == 10
        assert len(explored) == (expected or 0)
        assert all(p.uncertainty == 0 for p in explored)


def test_more_than_there_are_takes_all() -> None:
    assert len(pick(scored(6), 25, CycleConfig(), 1)) == 6


def test_what_is_labelled_already_is_marked() -> None:
    picks = pick(scored(8), 8, CycleConfig(), 1, known={"img003"})
    assert [p.image_id for p in picks if p.known] == ["img003"]


def test_another_cycle_draws_anew() -> None:
    settings = msgspec.convert({"strategy": "random"}, CycleConfig)
    first, second = ({p.image_id for p in pick(scored(60), 10, settings, n)} for n in (1, 2))
    assert first != second


def test_in_a_large_pool_what_a_pick_stands_for_is_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = scored(300)
    rule = CycleConfig(k=5, strategy="dbal", explore=0, audit=0)

    def sizes() -> list[int]:
        said = [re.search(r"stands for (?:about )?(\d+) image", p.reason) for p in pick(pool, 5, rule, 1)]
        return [int(found[1]) for found in said if found]

    exact = sizes()
    monkeypatch.setattr(picks, "_ASKED", 200)
    monkeypatch.setattr(picks, "_PIECE", 20)
    about = sizes()
    assert all("stands for about " in p.reason for p in pick(pool, 5, rule, 1))
    assert sum(exact) == 300
    assert 290 <= sum(about) <= 310
    assert max(abs(a - b) for a, b in zip(exact, about, strict=True)) < 40

"""From scores to a queue: the strategy's picks, the explore quota, a reason for each."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from support.candidate_pools import detections

from al_loop.core.config import CycleConfig
from al_loop.core.errors import ModelError, WorkspaceError
from al_loop.evaluation.model_quality import ModelQuality
from al_loop.loop import selection as picks
from al_loop.loop.pool_scoring import quality_warning
from al_loop.loop.selection import Context, Novelty, compared_column, novelty_of, pick
from al_loop.structures.fingerprints import Fingerprints
from al_loop.structures.predictions import ScoredImages
from strategies import STRATEGIES, Calibration, Candidates, Ids, margin_sum, without_detections


def scored(n: int, seed: int = 0, empty: int = 0) -> ScoredImages:
    """Return scores of n images; the last `empty` have no detection."""
    shown = detections(n, seed)
    if empty:
        counts = np.where(np.arange(n) < n - empty, np.maximum(shown.counts, 1), 0)
        shown = detections(int(counts.sum()), seed, most=1).subset(np.arange(0))
        many = detections(4 * n, seed)
        rows = int(counts.sum())
        shown = type(many)(
            np.concatenate([[0], np.cumsum(counts)]),
            *(getattr(many, f)[:rows] for f in ("distributions", "labels", "scores", "boxes", "features")),
            mask_margins=many.scores[:rows],
        )
    rng = np.random.default_rng(seed)
    return ScoredImages(
        Ids.of(f"img{i:03d}" for i in range(n)),
        rng.normal(size=(n, 8)).astype(np.float32),
        shown.offsets,
        np.asarray(shown.boxes, np.float64),
        shown.labels,
        np.asarray(shown.scores, np.float64),
        np.asarray(shown.distributions, np.float32),
        np.asarray(shown.features, np.float16),
        margin_sum(shown.distributions, shown.offsets),
        mask_margins=np.asarray(shown.mask_margins),
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


def test_mask_margin_needs_a_model_that_predicts_masks() -> None:
    boxes = replace(scored(40), mask_margins=None)
    settings = msgspec.convert({"strategy": "mask-margin"}, CycleConfig)
    with pytest.raises(ModelError, match=r"predicts boxes alone, .* then: al-loop cycle --refreeze"):
        pick(boxes, 9, settings, 1)


def test_a_share_goes_to_what_the_model_does_not_see() -> None:
    pool = scored(40, empty=12)
    for strategy, share, expected in (
        ("dbal", 0.2, 2),
        ("dbal", 0.0, 0),
        ("margin", 0.5, 5),
        ("random", 0.5, None),
    ):
        settings = msgspec.convert({"strategy": strategy, "explore_fraction": share}, CycleConfig)
        picks = pick(pool, 10, settings, 1)
        explored = [p for p in picks if p.reason.startswith("explore")]
        assert len(picks) == 10
        assert len(explored) == (expected or 0)
        assert all(p.uncertainty == 0 for p in explored)


def test_of_many_images_without_detections_a_random_sample_is_compared() -> None:
    pool = scored(700, empty=500)
    settings = CycleConfig(k=10, explore_fraction=0.2, random_audit_fraction=0.0)
    explored = [
        {p.image_id for p in pick(pool, 10, settings, cycle) if p.reason.startswith("explore")}
        for cycle in range(1, 20)
    ]
    assert all(len(names) == 2 for names in explored)
    assert len(set.union(*explored)) > 10  # another sample in each cycle
    drawn = [drawn_of(pool, cycle) for cycle in (1, 2)]
    assert [len(names) for names in drawn] == [200, 200]
    assert 40 < len(drawn[0] & drawn[1]) < 120  # 80 are to be expected
    # Fewer images without detections do not change the other draws.
    fewer = pool.subset([name for name in pool.image_ids if name not in sorted(drawn[0])[::40]])
    assert len(drawn[0] - drawn_of(fewer, 1)) == 5


def drawn_of(pool: ScoredImages, cycle: int) -> set[str]:
    """Return the images without detections that are compared for two picks."""
    candidates = picks._candidates(pool, STRATEGIES["dbal"], Context())
    return {
        candidates.ids[i]
        for i in picks._sample(candidates, without_detections(candidates), 200, CycleConfig(), cycle)
    }


@pytest.mark.parametrize("novelty", ["embeddings", "maxima"])
def test_images_unlike_the_labelled_ones_are_explored(novelty: Novelty) -> None:
    """Farthest first, with detections or without; the second pick is also far from the first."""
    maxima = np.random.default_rng(5).normal(size=(40, 8)).astype(np.float32)
    pool = replace(scored(40, empty=12), maxima=maxima)
    assert novelty_of(pool) == "maxima"
    assert novelty_of(replace(pool, maxima=None)) == "embeddings"
    settings = CycleConfig(k=10, explore_fraction=0.2, random_audit_fraction=0.0)
    points = np.asarray(compared_column(pool, novelty)[:], np.float64)
    seen = points[[3, 30, 35]]
    nearest = ((points[:, None] - seen[None]) ** 2).sum(axis=2).min(axis=1)
    first = nearest.argmax()
    nearest = np.minimum(nearest, ((points - points[first]) ** 2).sum(axis=1))
    expected = {pool.image_ids[int(i)] for i in (first, nearest.argmax())}
    context = Context(novelty=novelty, compared=seen.astype(np.float32))
    for cycle in (1, 2):
        found = [p for p in pick(pool, 10, settings, cycle, (), context) if p.reason.startswith("explore")]
        assert {p.image_id for p in found} == expected
        assert {p.reason for p in found} == {"explore: different from the labelled images"}
    nothing = Context(compared=np.zeros((0, points.shape[1]), np.float32))
    spread = [p for p in pick(pool, 10, settings, 1, (), nothing) if p.reason.startswith("explore")]
    assert len(spread) == 2
    with pytest.raises(WorkspaceError, match="expected maxima"):
        compared_column(replace(pool, maxima=None), "maxima")


def test_an_audit_of_all_places_leaves_none_for_the_strategy() -> None:
    settings = msgspec.convert({"strategy": "dbal", "random_audit_fraction": 1.0}, CycleConfig)
    assert {p.reason.partition(":")[0] for p in pick(scored(40), 9, settings, 1)} == {"audit"}


def test_more_than_there_are_takes_all() -> None:
    assert len(pick(scored(6), 25, CycleConfig(), 1)) == 6


def test_what_is_labelled_already_is_marked() -> None:
    picks = pick(scored(8), 8, CycleConfig(), 1, labelled={"img003"})
    assert [p.image_id for p in picks if p.known] == ["img003"]


def test_another_cycle_draws_anew() -> None:
    settings = msgspec.convert({"strategy": "random"}, CycleConfig)
    first, second = ({p.image_id for p in pick(scored(60), 10, settings, n)} for n in (1, 2))
    assert first != second


def test_in_a_large_pool_what_a_pick_stands_for_is_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = scored(300)
    rule = CycleConfig(k=5, strategy="dbal", explore_fraction=0, random_audit_fraction=0)

    def sizes() -> list[int]:
        matches = [re.search(r"stands for (?:about )?(\d+) image", p.reason) for p in pick(pool, 5, rule, 1)]
        return [int(match[1]) for match in matches if match]

    exact = sizes()
    monkeypatch.setattr(picks, "_SAMPLE", 200)
    monkeypatch.setattr(picks, "_PIECE", 20)
    about = sizes()
    assert all("stands for about " in p.reason for p in pick(pool, 5, rule, 1))
    assert sum(exact) == 300
    assert 290 <= sum(about) <= 310
    assert max(abs(a - b) for a, b in zip(exact, about, strict=True)) < 40


def test_a_ranking_by_a_model_that_predicts_counts_badly_is_warned_of() -> None:
    warning = quality_warning("dbal", "pretrain-1", ModelQuality(0.249))
    assert warning is not None
    assert warning.startswith("note: pretrain-1 explains 25% of the variance of the number of boxes")
    assert warning.endswith(
        'Below 50%, "dbal" may do worse than random; consider cycle.strategy = "calibrated" or "typiclust"'
    )
    assert quality_warning("entropy-max", "m0", ModelQuality(0.0)) is not None
    for strategy, counted in (
        ("dbal", 0.5),
        ("dbal", None),
        ("coverage", 0.1),
        ("typiclust", 0.1),
        ("random", 0.1),
    ):
        assert quality_warning(strategy, "m0", ModelQuality(counted)) is None


def test_a_model_whose_scores_say_nothing_is_warned_of() -> None:
    def warning(auc: float | None) -> str:
        calibration = None if auc is None else Calibration(1.0, (0.0,), auc, 0.0, 0.0)
        return quality_warning("calibrated", "pretrain-1", ModelQuality(None, calibration)) or ""

    assert warning(0.649).startswith(
        "note: right and wrong boxes of pretrain-1 on the validation set have an AUC"
    )
    assert 'picks typical images, as "typiclust" does' in warning(0.5)
    assert "cannot be told" in warning(None)
    assert warning(0.65) == ""


@pytest.mark.parametrize("strategy", ["margin", "dbal", "kmeans"])
def test_no_two_picks_of_a_strategy_are_near_duplicates(strategy: str) -> None:
    """Ten scenes of four images each. Only what is drawn at random may be like another pick."""
    pool = scored(40)
    scene = np.arange(40) // 4
    prints = Fingerprints(
        np.random.default_rng(0).integers(0, 2**64, 10, dtype=np.uint64)[scene], np.ones(40, bool)
    )
    settings = msgspec.convert({"strategy": strategy, "explore_fraction": 0.0}, CycleConfig)
    found = pick(pool, 8, settings, 1, context=Context(fingerprints=prints))
    ids = list(pool.image_ids)
    seen = [scene[ids.index(p.image_id)] for p in found]
    assert len(found) == len(set(seen)) == 8
    assert len({p.image_id for p in pick(pool, 8, settings, 1)}) == 8
    more = pick(pool, 30, settings, 1, context=Context(fingerprints=prints))
    assert len({p.image_id for p in more}) == 30  # no scene is left: near-duplicates fill up
    assert len({scene[ids.index(p.image_id)] for p in more}) == 10


def test_a_random_sample_stays_one() -> None:
    prints = Fingerprints(np.zeros(40, np.uint64), np.ones(40, bool))
    rule = msgspec.convert({"strategy": "random"}, CycleConfig)
    found = pick(scored(40), 8, rule, 1, context=Context(fingerprints=prints))
    assert found == pick(scored(40), 8, rule, 1)


@pytest.mark.parametrize("strategy", ["margin", "typiclust", "coreset", "dbal"])
def test_a_film_of_three_scenes_takes_few_rounds(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most uncertain are those of three scenes. Later picks know the earlier ones as labelled."""
    pool = scored(400)
    values = np.random.default_rng(0).integers(0, 2**64, 100, dtype=np.uint64)
    scene = np.where(np.arange(400) < 300, np.arange(400) % 3, np.arange(400) - 300)
    order = np.argsort(-pool.uncertainty, kind="stable")
    prints = np.zeros(400, np.uint64)
    prints[order] = values[scene]
    rounds: list[int] = []
    chosen = STRATEGIES[strategy]

    def counted(candidates: Candidates, k: int, rng: np.random.Generator, **options: Any) -> Any:
        rounds.append(0 if candidates.labelled is None else len(candidates.labelled))
        return chosen.pick(candidates, k, rng, **options)

    monkeypatch.setattr(picks, "STRATEGIES", {**STRATEGIES, strategy: replace(chosen, pick=counted)})
    rule = msgspec.convert(
        {"strategy": strategy, "explore_fraction": 0.0, "random_audit_fraction": 0.0}, CycleConfig
    )
    labelled = np.zeros((2, 8), np.float32)
    context = Context(labelled, fingerprints=Fingerprints(prints, np.ones(400, bool)))
    found = pick(pool, 40, rule, 1, context=context)
    ids = list(pool.image_ids)
    assert len({int(prints[ids.index(p.image_id)]) for p in found}) == len(found) == 40
    assert len(rounds) <= 9
    assert rounds == sorted(rounds)
    assert rounds[0] == 2


def test_the_most_uncertain_of_near_duplicates_is_picked() -> None:
    pool = scored(12)
    prints = Fingerprints(np.zeros(12, np.uint64), np.arange(12) < 6)
    settings = msgspec.convert(
        {"strategy": "margin", "explore_fraction": 0.0, "random_audit_fraction": 0.0}, CycleConfig
    )
    found = {p.image_id for p in pick(pool, 5, settings, 1, context=Context(fingerprints=prints))}
    alike = [name for name in list(pool.image_ids)[:6] if name in found]
    best = int(np.argmax(pool.uncertainty[:6]))
    assert alike in ([], [list(pool.image_ids)[best]])
    without = replace(prints, known=np.zeros(12, bool))
    plain = {p.image_id for p in pick(pool, 5, settings, 1)}
    assert {p.image_id for p in pick(pool, 5, settings, 1, context=Context(fingerprints=without))} == plain

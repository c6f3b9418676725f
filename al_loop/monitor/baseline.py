"""References of the model in use: images drawn once, at random, from the pool when it was promoted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.state.database.image_table import last_arrived, pool_arrivals, pool_ids
from al_loop.state.database.model_table import newest_promotion
from al_loop.state.database.monitor_tables import (
    BaselineRow,
    drift_beginnings,
    insert_baseline,
    read_baseline,
)
from al_loop.state.workspace import Workspace

#: The reference that is drawn from the whole pool; the others are stretches of it, between drifts.
POOL = "pool"
_SHIFTS = 4  # the newest drifts that it is cut at


@dataclass(frozen=True)
class Baseline:
    """References of the model in use: name -> image ids.  Windows begin after the image that arrived as number `arrived`."""

    promotion: int
    arrived: int
    drawn: Mapping[str, Sequence[str]]


def baseline(workspace: Workspace) -> Baseline | None:
    """Return the references of the newest promotion, drawn on the first call; None while the pool is too small.

    Never the labelled images alone, which are selected and so unlike the pool. Where a drift was reported
    before, the pool is a mixture that no single window is like: what came before the drift, and what came
    since, are references of their own, so that neither the new normal nor a return to the old one is reported
    again.
    """
    store = workspace.store
    promotion = newest_promotion(store)
    if promotion is None:
        return None
    known = read_baseline(store, promotion.id)
    if known is not None:
        return Baseline(promotion.id, known.arrived, json.loads(known.drawn))
    rule, arrived = workspace.config.monitor.drift, promotion.arrived
    pool = pool_ids(store, until=arrived)
    if len(pool) < rule.window:
        # The model came before the photographs: the first that came are what it is used on.
        arrived = last_arrived(store)
        pool = pool_ids(store, until=arrived)
        if len(pool) < rule.window:
            return None
    rng = np.random.default_rng(np.random.SeedSequence([workspace.config.cycle.seed, promotion.id]))
    drawn = {POOL: _draw(pool, rule.reference, rng)}
    for name, images in _stretches(workspace, arrived).items():
        if len(images) >= rule.window:
            drawn[name] = _draw(images, rule.reference, rng)
    insert_baseline(store, BaselineRow(promotion.id, arrived, json.dumps(drawn)))
    return Baseline(promotion.id, arrived, drawn)


def _stretches(workspace: Workspace, arrived: int) -> dict[str, list[str]]:
    """The pool cut where a reported drift began: what came before, and since each of the newest drifts."""
    drifts = drift_beginnings(workspace.store, _SHIFTS)
    cuts = sorted((first, f"drift {alarm}") for alarm, first in drifts if first <= arrived)
    if not cuts:
        return {}
    names = {0: f"before {cuts[0][1]}"} | dict(cuts)
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for image, came in pool_arrivals(workspace.store, until=arrived):
        found[names[max(first for first in names if first <= came)]].append(image)
    return found


def _draw(images: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    order = rng.permutation(len(images))[:count]
    return [images[i] for i in sorted(order)]

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

#: The reference from the whole pool. The others are from stretches of it, between drifts.
POOL = "pool"
_DRIFTS = 4  # the newest, which the pool is cut at


@dataclass(frozen=True)
class Baseline:
    """References of the model in use.

    arrived: windows begin after the image with this number of arrival.
    drawn: name -> image ids.
    """

    promotion: int
    arrived: int
    drawn: Mapping[str, Sequence[str]]


def baseline(workspace: Workspace) -> Baseline | None:
    """Return the references of the newest promotion, drawn on the first call; None for a small pool.

    They are drawn from the pool, not from the labelled images, which are selected. After a reported drift the
    pool is a mixture: the images before it and those since become references of their own. So neither the new
    normal nor a return to the old one is reported again.
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
    if len(pool) < rule.window:  # the model came before the photographs
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
    """Return the pool cut where reported drifts began: the images before them, and since each of them."""
    drifts = drift_beginnings(workspace.store, _DRIFTS)
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

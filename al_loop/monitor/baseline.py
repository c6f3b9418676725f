"""What the model in use was promoted on: images drawn by lot from the pool of that moment, once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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

    Never the labelled images alone, which are selected and so unlike the pool. Where a drift was reported before, the
    pool is a mixture that no single window is like: what came before the drift, and what came since, are references of
    their own, so that neither the new normal nor a return to the old one is reported again.
    """
    store = workspace.store
    promotion = store.row("SELECT id, arrived FROM promotions ORDER BY id DESC LIMIT 1")
    if promotion is None:
        return None
    kept = store.row("SELECT arrived, drawn FROM baselines WHERE promotion = ?", promotion["id"])
    if kept is not None:
        return Baseline(promotion["id"], kept["arrived"], json.loads(kept["drawn"]))
    rule, arrived = workspace.config.monitor.drift, int(promotion["arrived"])
    pool = _pool(workspace, arrived)
    if len(pool) < rule.window:
        # The model came before the photographs: the first that came are what it is used on.
        arrived = store.count("SELECT coalesce(max(arrived), 0) FROM images")
        pool = _pool(workspace, arrived)
        if len(pool) < rule.window:
            return None
    rng = np.random.default_rng(np.random.SeedSequence([workspace.config.cycle.seed, promotion["id"]]))
    drawn = {POOL: _draw(pool, rule.reference, rng)}
    for name, images in _stretches(workspace, arrived).items():
        if len(images) >= rule.window:
            drawn[name] = _draw(images, rule.reference, rng)
    store.execute("INSERT INTO baselines VALUES (?, ?, ?)", promotion["id"], arrived, json.dumps(drawn))
    return Baseline(promotion["id"], arrived, drawn)


def _pool(workspace: Workspace, arrived: int) -> list[str]:
    rows = workspace.store.rows(
        "SELECT id FROM images WHERE role = 'pool' AND arrived <= ? ORDER BY arrived", arrived
    )
    return [str(row["id"]) for row in rows]


def _stretches(workspace: Workspace, arrived: int) -> dict[str, list[str]]:
    """The pool cut where a reported drift began: what came before, and since each of the newest drifts."""
    alarms = workspace.store.rows(
        "SELECT a.id, min(i.arrived) AS first FROM alarms a JOIN windows w ON w.id = a.first_window "
        "JOIN images i ON i.id IN (SELECT value FROM json_each(w.images)) "
        "WHERE a.trigger = 'drift' GROUP BY a.id ORDER BY a.id DESC LIMIT ?",
        _SHIFTS,
    )
    cuts = sorted((int(row["first"]), f"drift {row['id']}") for row in alarms if row["first"] <= arrived)
    if not cuts:
        return {}
    names = {0: f"before {cuts[0][1]}"} | dict(cuts)
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for row in workspace.store.rows(
        "SELECT id, arrived FROM images WHERE role = 'pool' AND arrived <= ? ORDER BY arrived", arrived
    ):
        found[names[max(first for first in names if first <= row["arrived"])]].append(str(row["id"]))
    return found


def _draw(images: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    order = rng.permutation(len(images))[:count]
    return [images[i] for i in sorted(order)]

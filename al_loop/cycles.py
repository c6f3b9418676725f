"""Cycles as the database knows them: begun, found again, with their settings frozen."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from al_loop import library, models
from al_loop.config import Config
from al_loop.console import Reporter
from al_loop.errors import DataError
from al_loop.models import Model
from al_loop.pools import POOL, write_pool
from al_loop.promotion import check_sets
from al_loop.workspace import Workspace, now


@dataclass(frozen=True)
class Cycle:
    """A cycle under way: what was frozen when it began."""

    number: int
    k: int
    model: Model
    settings: Config


def begin_cycle(workspace: Workspace, k: int | None, reporter: Reporter) -> Cycle:
    """Begin a cycle: freeze the pool and the settings; ModelError or DataError when something is missing."""
    model = models.current_model(workspace)
    check_sets(workspace)
    pool = library.unlabelled_count(workspace)
    if not pool:
        raise DataError(
            f"nothing to label: all {library.pool_size(workspace)} images of the pool are labelled. "
            "Add photographs: al-loop pool add PHOTOS..."
        )
    k = k or workspace.config.cycle.k
    if k > pool:
        reporter.line(f"k = {k}, but only {pool} images are unlabelled: taking all of them")
    number = next_number(workspace)
    folder = workspace.cycle_dir(number)
    folder.mkdir(parents=True, exist_ok=True)
    write_pool(folder / POOL, candidates(workspace))
    workspace.store.execute(
        "INSERT INTO cycles VALUES (?, ?, ?, ?, NULL, NULL, ?, NULL, "
        "(SELECT coalesce(max(arrived), 0) FROM images))",
        number,
        k,
        msgspec.json.encode(workspace.config).decode(),
        model.id,
        now(),
    )
    reporter.line(f"cycle {number}: k = {k}, model {model.id}, {pool} unlabelled images")
    return Cycle(number, k, model, workspace.config)


def open_cycle(workspace: Workspace, k: int | None, reporter: Reporter) -> Cycle | None:
    """Return the cycle under way with its frozen settings, if there is one."""
    row = workspace.store.row("SELECT * FROM cycles WHERE outcome IS NULL")
    if row is None:
        return None
    if k is not None and k != row["k"]:
        reporter.line(
            f"cycle {row['number']} is under way with k = {row['k']}; k = {k} can be had in the next"
        )
    frozen = msgspec.json.decode(row["settings"], type=Config)
    # Where the server is, and what computes, may change while people label; what is computed may not.
    settings = msgspec.structs.replace(
        frozen,
        label_studio=workspace.config.label_studio,
        device=workspace.config.device,
        gpus=workspace.config.gpus,
    )
    reporter.line(f"cycle {row['number']}: going on, k = {row['k']}, model {row['model_id']}")
    return Cycle(row["number"], row["k"], models.get_model(workspace, row["model_id"]), settings)


def open_cycle_number(workspace: Workspace) -> int | None:
    """Return the number of the cycle that is under way, if one is."""
    row = workspace.store.row("SELECT number FROM cycles WHERE outcome IS NULL")
    return int(row["number"]) if row else None


def next_number(workspace: Workspace) -> int:
    """Return the number of a cycle that begins now."""
    return 1 + workspace.store.count("SELECT coalesce(max(number), 0) FROM cycles")


def candidates(workspace: Workspace) -> Iterator[str]:
    """Return the ids of what a cycle that begins now may pick from, in their order."""
    ids = library.unlabelled_ids(workspace)
    if workspace.config.cycle.candidates != "all":
        return ids
    return heapq.merge(ids, [item.image.id for item in library.labelled(workspace)])

"""Cycles as the database knows them: begun, found again, with their settings frozen."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from msgspec import structs

from al_loop.core.config import Config
from al_loop.core.console import Reporter
from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.frozen_settings import LIVE, check, thawed
from al_loop.core.urls import masked_in
from al_loop.images import repository
from al_loop.models.promotion import check_sets
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import CycleRow, insert_cycle, last_number, open_cycles, read_cycle
from al_loop.state.database.image_table import candidate_ids_then
from al_loop.state.database.stage_table import read_stage
from al_loop.state.file_hashes import note_file, noted_file
from al_loop.state.id_list import POOL, pool_hash, read_pool, write_pool
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace, now
from strategies import Ids


@dataclass(frozen=True)
class Cycle:
    """A cycle under way: what was frozen when it began."""

    number: int
    k: int
    model: Model
    settings: Config


def begin_cycle(workspace: Workspace, k: int | None, reporter: Reporter) -> Cycle:
    """Begin a cycle: freeze the pool and the settings; ModelError or DataError when something is missing."""
    model = model_registry.current_model(workspace)
    check_sets(workspace)
    pool = repository.unlabelled_count(workspace)
    if not pool:
        raise DataError(
            f"nothing to label: all {repository.pool_size(workspace)} images of the pool are labelled. "
            "Add photographs: al-loop pool add PHOTOS..."
        )
    k = k or workspace.config.cycle.k
    if k > pool:
        reporter.line(f"k = {k}, but only {pool} images are unlabelled: taking all of them")
    number = next_number(workspace)
    folder = workspace.cycle_dir(number)
    folder.mkdir(parents=True, exist_ok=True)
    freeze_pool(workspace, number)
    settings = msgspec.json.encode(masked_in(msgspec.to_builtins(workspace.config))).decode()
    insert_cycle(workspace.store, number, k, settings, model.id, now())
    reporter.line(f"cycle {number}: k = {k}, model {model.id}, {pool} unlabelled images")
    return Cycle(number, k, model, workspace.config)


def open_cycle(workspace: Workspace, k: int | None, reporter: Reporter) -> Cycle | None:
    """Return the cycle under way with its frozen settings, if there is one; ConfigError where these cannot be used."""
    row = open_cycle_row(workspace)
    if row is None:
        return None
    if k is not None and k != row.k:
        reporter.line(f"cycle {row.number} is under way with k = {row.k}; k = {k} can be had in the next")
    settings = live_settings(workspace, thawed(row.settings))
    check(settings, row.number, selected=pushing(workspace, row.number))
    reporter.line(f"cycle {row.number}: going on, k = {row.k}, model {row.model_id}")
    return Cycle(row.number, row.k, model_registry.get_model(workspace, row.model_id), settings)


def live_settings(workspace: Workspace, frozen: Config) -> Config:
    """Return frozen settings with those that may change while people label: where the server is, and what computes."""
    return structs.replace(frozen, **{name: getattr(workspace.config, name) for name in LIVE})


def open_cycle_row(workspace: Workspace) -> CycleRow | None:
    """Return the row of the cycle that is under way, if one is."""
    return next(iter(open_cycles(workspace.store)), None)


def open_cycle_number(workspace: Workspace) -> int | None:
    """Return the number of the cycle that is under way, if one is."""
    row = open_cycle_row(workspace)
    return row.number if row else None


def pushing(workspace: Workspace, number: int) -> bool:
    """Say whether a cycle's push has begun, so that its tasks may be on the server."""
    return read_stage(workspace.store, f"cycle-{number}", "push") is not None


def next_number(workspace: Workspace) -> int:
    """Return the number of a cycle that begins now."""
    return 1 + last_number(workspace.store)


def freeze_pool(workspace: Workspace, number: int) -> None:
    """Write down what a cycle may pick from, and note what that is."""
    path = workspace.cycle_dir(number) / POOL
    write_pool(path, candidates(workspace))
    note_file(workspace, path, pool_hash(read_pool(path)))


def frozen_pool(workspace: Workspace, number: int) -> Ids:
    """Return the images that a cycle may pick from, as they were when it began.

    A list that was changed or lost is made again, from what the database knows of that time. Raises WorkspaceError where that
    gives another list.
    """
    path = workspace.cycle_dir(number) / POOL
    noted = noted_file(workspace, path)
    with suppress(OSError, ValueError, TypeError, RecursionError):
        found = read_pool(path)
        if noted is None or pool_hash(found) == noted:
            return found
    if noted is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pool(path, _candidates_then(workspace, number))
        found = read_pool(path)
        if pool_hash(found) == noted:
            return found
    raise WorkspaceError(
        f"{path} is not the list with which cycle {number} began, and cannot be made again: labels or images of that time "
        "have changed. Restore it from a backup"
    )


def _candidates_then(workspace: Workspace, number: int) -> Iterator[str]:
    """Return what `candidates` gave when a cycle began, as far as that can be told."""
    row = read_cycle(workspace.store, number)
    assert row is not None
    also = ("labelled", "empty") if thawed(row.settings).cycle.candidates == "all" else ()
    return candidate_ids_then(workspace.store, number, row.arrived, also)


def candidates(workspace: Workspace) -> Iterator[str]:
    """Return the ids of what a cycle that begins now may pick from, in their order."""
    ids = repository.unlabelled_ids(workspace)
    if workspace.config.cycle.candidates != "all":
        return ids
    return heapq.merge(ids, [item.image.id for item in repository.labelled(workspace)])

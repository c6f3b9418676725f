"""Begin a cycle, which freezes its pool and its settings, and read the open cycle from the database."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from msgspec import structs

from al_loop.core.config import Config
from al_loop.core.console import Reporter
from al_loop.core.errors import ConfigError, DataError, ModelError, WorkspaceError
from al_loop.core.frozen_settings import LIVE, check, thawed
from al_loop.core.urls import masked_in
from al_loop.images import repository
from al_loop.loop.selection import check_strategy
from al_loop.loop.validation_sample import sample_size
from al_loop.models.pretrain import initial_model
from al_loop.models.promotion import check_sets
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import CycleRow, insert_cycle, last_number, open_cycles, read_cycle
from al_loop.state.database.image_table import candidate_ids_of_cycle, pool_size
from al_loop.state.database.stage_table import read_stage
from al_loop.state.file_hashes import note_file, noted_file
from al_loop.state.id_list import POOL, pool_hash, read_pool, write_pool
from al_loop.state.model_registry import INITIAL, Model
from al_loop.state.workspace import Workspace, now
from strategies import Ids


@dataclass(frozen=True)
class Cycle:
    """An open cycle: its number, and what was frozen when it began.

    validation_images: number of images that it draws for the validation set.
    """

    number: int
    k: int
    model: Model
    settings: Config
    validation_images: int = 0


def begin_cycle(workspace: Workspace, k: int | None, reporter: Reporter) -> Cycle:
    """Begin a cycle: freeze the pool and the settings.

    Without a model, the cycle has images labelled for the first training.

    k: number of images to label. None: as in the settings.
    Raises ModelError if there is no model, but images to train it on; DataError without an evaluation set of
    promotion.sets, or without an unlabelled image.
    """
    pool = repository.unlabelled_count(workspace)
    if not pool:
        raise DataError(
            f"nothing to label: all {pool_size(workspace.store)} images of the pool are labelled. "
            "Add photographs: al-loop pool add PHOTOS..."
        )
    sample = sample_size(workspace)
    check_sets(workspace, drawn=sample > 0)
    k = k or workspace.config.cycle.k
    if k > pool - sample:
        others = f" besides the {sample} of the validation set" if sample else ""
        reporter.line(f"k = {k}, but only {pool - sample} images{others} are unlabelled: taking all of them")
    model = _starting_model(workspace, reporter)
    settings = settings_with(model, workspace.config)
    check_strategy(settings.cycle.strategy, settings)
    number = 1 + last_number(workspace.store)
    freeze_pool(workspace, number, settings)
    frozen = msgspec.json.encode(masked_in(msgspec.to_builtins(settings))).decode()
    insert_cycle(workspace.store, CycleRow(number, k, frozen, model.id, None, None, now(), None, 0, sample))
    named = "no model yet" if model.origin == INITIAL else f"model {model.id}"
    reporter.line(f"cycle {number}: k = {k}, {named}, {pool} unlabelled images")
    if sample:
        reporter.line(f"  no validation set yet: {sample} random images are labelled for it, too")
    return Cycle(number, k, model, settings, sample)


def _starting_model(workspace: Workspace, reporter: Reporter) -> Model:
    """Return the current model, or an untrained one if there is none."""
    if model_registry.has_model(workspace):
        return model_registry.current_model(workspace)
    if model_registry.can_pretrain(workspace):
        raise ModelError("no model yet, but images to train it on. Train it: al-loop pretrain")
    return initial_model(workspace, reporter)


def settings_with(model: Model, config: Config) -> Config:
    """Return the settings of a cycle that begins with a model.

    An untrained model finds no objects. The images are then picked by its features: typical ones, each of
    another kind.
    Source: Hacohen 2022, "Active Learning on a Budget".
    """
    if model.origin != INITIAL:
        return config
    cycle = structs.replace(
        config.cycle, strategy="typiclust", explore_fraction=0.0, random_audit_fraction=0.0
    )
    return structs.replace(config, cycle=cycle)


def open_cycle(workspace: Workspace, k: int | None, reporter: Reporter) -> Cycle | None:
    """Return the open cycle with its frozen settings, if there is one.

    Raises ConfigError for unusable settings, and for another `task` than al-loop.toml has.
    """
    row = open_cycle_row(workspace)
    if row is None:
        return None
    if k is not None and k != row.k:
        reporter.line(f"cycle {row.number} is under way with k = {row.k}; use k = {k} in the next cycle")
    settings = live_settings(workspace, thawed(row.settings))
    selected = push_has_begun(workspace, row.number)
    check(settings, row.number, selected=selected)
    if not selected:
        check_strategy(settings.cycle.strategy, settings)
    check_task(workspace, row.number, settings)
    reporter.line(f"cycle {row.number}: continuing, k = {row.k}, model {row.model_id}")
    model = model_registry.get_model(workspace, row.model_id)
    return Cycle(row.number, row.k, model, settings, row.validation_images)


def check_task(workspace: Workspace, number: int, settings: Config) -> None:
    """Raise ConfigError if people label a cycle for another `task` than al-loop.toml has.

    Its project has the controls of its own task. Once the labels are pulled, the task does not matter.
    """
    mine, live = settings.task, workspace.config.task
    pull = read_stage(workspace.store, f"cycle-{number}", "pull")
    if mine == live or (pull is not None and pull.state == "done"):
        return
    if not push_has_begun(workspace, number):
        raise ConfigError(
            f'cycle {number} began with task = "{mine}"; al-loop.toml says "{live}" now. Apply it to the '
            f'cycle: al-loop cycle --refreeze. Or restore task = "{mine}"'
        )
    raise ConfigError(
        f'cycle {number} was pushed with task = "{mine}"; al-loop.toml says "{live}" now. Restore '
        f'task = "{mine}" until the cycle is finished. Or end the cycle, keep its labels, and begin the next '
        f'one with "{live}": al-loop cycle --abandon'
    )


def live_settings(workspace: Workspace, frozen: Config) -> Config:
    """Return frozen settings, but with the current settings of the server and the hardware."""
    return structs.replace(frozen, **{name: getattr(workspace.config, name) for name in LIVE})


def open_cycle_row(workspace: Workspace) -> CycleRow | None:
    """Return the row of the open cycle, if there is one."""
    return next(iter(open_cycles(workspace.store)), None)


def open_cycle_number(workspace: Workspace) -> int | None:
    """Return the number of the open cycle, if there is one."""
    row = open_cycle_row(workspace)
    return row.number if row else None


def push_has_begun(workspace: Workspace, number: int) -> bool:
    """Whether a cycle's push has begun, so that its tasks may be on the server."""
    return read_stage(workspace.store, f"cycle-{number}", "push") is not None


def freeze_pool(workspace: Workspace, number: int, settings: Config) -> None:
    """Write the candidates of a cycle to its pool file, and store the hash of the list."""
    path = workspace.cycle_dir(number) / POOL
    path.parent.mkdir(parents=True, exist_ok=True)
    write_pool(path, candidates(workspace, settings))
    note_file(workspace, path, pool_hash(read_pool(path)))


def frozen_pool(workspace: Workspace, number: int) -> Ids:
    """Return the candidates that a cycle had when it began.

    A changed or missing pool file is rebuilt from the database. Raises WorkspaceError if the rebuilt list
    differs.
    """
    path = workspace.cycle_dir(number) / POOL
    expected = noted_file(workspace, path)
    with suppress(OSError, ValueError, TypeError, RecursionError):
        pool = read_pool(path)
        if expected in (None, pool_hash(pool)):
            return pool
    if expected is not None:
        row = read_cycle(workspace.store, number)
        assert row is not None
        statuses = ("labelled", "empty") if thawed(row.settings).cycle.candidates == "all" else ()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pool(path, candidate_ids_of_cycle(workspace.store, number, row.arrived, statuses))
        pool = read_pool(path)
        if pool_hash(pool) == expected:
            return pool
    raise WorkspaceError(
        f"{path} is not the list that cycle {number} began with, and cannot be rebuilt: labels or images "
        "have changed since. Restore the file from a backup"
    )


def candidates(workspace: Workspace, settings: Config | None = None) -> Iterator[str]:
    """Return the sorted ids of the candidates of a new cycle. settings: in place of the workspace's."""
    ids = repository.unlabelled_ids(workspace)
    if (settings or workspace.config).cycle.candidates != "all":
        return ids
    return heapq.merge(ids, [item.image.id for item in repository.labelled(workspace)])

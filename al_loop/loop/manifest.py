"""`manifest.json` of a finished cycle: what went in, what came out, and which versions made it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from al_loop.core.files import file_sha256, hash_of, write_json
from al_loop.core.frozen_settings import thawed
from al_loop.core.urls import masked_in
from al_loop.core.versions import versions
from al_loop.state.database.cycle_table import complete_numbers, read_cycle
from al_loop.state.database.model_table import ModelRow, model_of_cycle, read_model
from al_loop.state.database.pick_table import picked_images
from al_loop.state.file_hashes import note_file, shards_in
from al_loop.state.id_list import POOL, pool_hash, read_pool
from al_loop.state.model_registry import config_file, saved_metrics
from al_loop.state.score_key import ScoreKey
from al_loop.state.stages import output_of
from al_loop.state.workspace import Workspace

#: Beside the stages that wrote them: what the selection knew of labels, and the labels as they were pulled.
KNOWN, LABELS = "known.json", "labels.json"
#: The picks as the selection wrote them, and the record of a finished cycle.
PICKS, MANIFEST = "picks.json", "manifest.json"
#: Raised when a reader of old manifests would misread new ones; docs/manifest.schema.json describes this one.
VERSION = 2
_PICK_FIELDS = (
    "rank", "image_id", "stored_sha256", "uncertainty", "reason", "audit", "task_key", "state",
)  # fmt: skip


class _Model(msgspec.Struct):
    id: str
    weights_sha256: str
    config_sha256: str | None = None


class _Sized(msgspec.Struct):
    bytes: int
    sha256: str


class _Pool(msgspec.Struct):
    images: int
    hash: str


class _Labels(msgspec.Struct):
    labels_hash: str


class _Pick(msgspec.Struct):
    image_id: str
    stored_sha256: str


class _Read(msgspec.Struct):
    """What is read of a manifest; what else stands in it is for people."""

    cycle: int
    k: int
    settings: dict[str, Any]
    model: _Model
    candidate: _Model | None
    pool: _Pool
    scores: dict[str, _Sized]
    selected_with: str | None
    labels: _Labels | None
    picks: list[_Pick]
    versions: dict[str, str | None]


def check_shape(manifest: dict[str, Any], number: int) -> None:
    """Raise ValueError for a manifest that lacks what is read of it, or that is another cycle's."""
    try:
        found = msgspec.convert(manifest, _Read)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if found.cycle != number:
        raise ValueError(f"expected that of cycle {number}, got {found.cycle}")


def write_manifest(workspace: Workspace, number: int) -> Path:
    """Write the manifest of a cycle and return its path; the same cycle gives the same manifest."""
    store = workspace.store
    row = read_cycle(store, number)
    if row is None:
        raise KeyError(f"no cycle {number}")
    folder = workspace.cycle_dir(number)
    candidate = model_of_cycle(store, number)
    start = read_model(store, row.model_id)
    pool = read_pool(folder / POOL)
    settings = thawed(row.settings)
    # The scores of the pool, and those that al-loop 0.1 rescored in fp32.
    key = ScoreKey.of(settings, row.model_id)
    folders = {workspace.scores_dir(key), workspace.scores_dir(key.exact)}
    scores = {path: end for place in folders for path, end in shards_in(workspace, place).extent().items()}
    manifest: dict[str, Any] = {
        "manifest": VERSION,
        "cycle": number,
        "k": row.k,
        "outcome": row.outcome,
        "reason": row.reason,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "settings": masked_in(msgspec.to_builtins(settings)),
        "model": _model(workspace, start),
        "candidate": _model(workspace, candidate),
        "pool": {"images": len(pool), "hash": pool_hash(pool)},
        # Columns grow: what of them was there then, and its hash.
        "scores": {
            str(path.relative_to(workspace.root)): {"bytes": end, "sha256": file_sha256(path, end)}
            for path, end in sorted(scores.items())
        },
        "selected_with": hash_of(folder / "select" / KNOWN),
        "labels": output_of(store, f"cycle-{number}", "pull", folder / "pull") or None,
        "picks": [
            {name: getattr(pick, name) for name in _PICK_FIELDS} for pick in picked_images(store, number)
        ],
        "metrics": {
            name: _metrics(workspace, found) for name, found in (("before", start), ("after", candidate))
        },
        "versions": versions(),
    }
    path = folder / MANIFEST
    write_json(path, manifest)
    note_file(workspace, path, file_sha256(path))
    return path


def complete_manifests(workspace: Workspace) -> None:
    """Write the manifests that a run killed at its very end did not get to; a cycle that was given up has none."""
    for number in complete_numbers(workspace.store):
        if not (workspace.cycle_dir(number) / MANIFEST).is_file():
            write_manifest(workspace, number)


def _model(workspace: Workspace, row: ModelRow | None) -> dict[str, Any] | None:
    """A model's hashes; where an older al-loop noted none of the config, that of the file as it lies."""
    if row is None:
        return None
    config = row.config_sha256 or hash_of(config_file(workspace.model_dir(row.id), None))
    return {"id": row.id, "weights_sha256": row.weights_sha256, "config_sha256": config}


def _metrics(workspace: Workspace, model: ModelRow | None) -> Any:
    metrics = saved_metrics(workspace, model.id) if model else None
    return asdict(metrics) if metrics else None

"""`manifest.json` of a finished cycle: its inputs, its results, and the versions that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import file_sha256, hash_of, read_json, write_json
from al_loop.core.frozen_settings import thawed
from al_loop.core.urls import masked_in
from al_loop.core.versions import versions
from al_loop.state.database.cycle_table import ABANDONED, complete_numbers, last_number, read_cycle
from al_loop.state.database.model_table import ModelRow, model_of_cycle, read_evaluation, read_model
from al_loop.state.database.pick_table import picked_images
from al_loop.state.file_hashes import note_file, shards_in
from al_loop.state.id_list import POOL, pool_hash, read_pool
from al_loop.state.model_registry import config_file
from al_loop.state.score_key import ScoreKey
from al_loop.state.stages import output_of, output_of_cycle
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import metrics_to_plain

#: Files of stages: the labels at the selection, and the labels as they were pulled.
KNOWN, LABELS = "known.json", "labels.json"
#: The picks of the selection, and the record of a finished cycle.
PICKS, MANIFEST = "picks.json", "manifest.json"
#: Format of the manifest, as in docs/manifest.schema.json. Increase it if readers of older manifests would
#: misread the new ones.
VERSION = 2
_PICK_FIELDS = (
    "rank", "image_id", "stored_sha256", "uncertainty", "reason", "audit", "validation", "task_key", "state",
)  # fmt: skip
_REWRITE_HINT = "Delete it; the next run writes it again: al-loop cycle"


class _Model(msgspec.Struct):
    id: str
    weights_sha256: str
    config_sha256: str | None = None


class _File(msgspec.Struct):
    bytes: int
    sha256: str


class _Pool(msgspec.Struct):
    images: int
    hash: str


class _Labels(msgspec.Struct):
    labels_hash: str


class _Metrics(msgspec.Struct):
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class _Pick(msgspec.Struct):
    image_id: str
    stored_sha256: str


class Manifest(msgspec.Struct):
    """The part of a manifest that al-loop reads; the rest is for people."""

    cycle: int
    k: int
    settings: dict[str, Any]
    model: _Model
    candidate: _Model | None
    pool: _Pool
    scores: dict[str, _File]
    selected_with: str | None
    labels: _Labels | None
    picks: list[_Pick]
    versions: dict[str, str | None]
    validation_images: int = 0
    metrics: _Metrics = msgspec.field(default_factory=_Metrics)

    @property
    def models(self) -> list[_Model]:
        """Return the model at the beginning and the candidate, if there is one."""
        return [self.model, self.candidate] if self.candidate else [self.model]


def read_manifest(workspace: Workspace, number: int) -> Manifest:
    """Return the manifest of a finished cycle.

    Raises DataError if the cycle has no manifest, WorkspaceError for a damaged manifest.
    """
    path = workspace.cycle_dir(number) / MANIFEST
    row = read_cycle(workspace.store, number)
    if row is None:
        last = last_number(workspace.store)
        raise DataError(f"no cycle {number}; {f'there are 1 to {last}' if last else 'there is none yet'}")
    if row.outcome is None:
        raise DataError(f"cycle {number} is under way and has no manifest yet. Finish it: al-loop cycle")
    if row.outcome == ABANDONED:
        raise DataError(
            f"cycle {number} was abandoned and has no manifest: no model depends on it. Its labels are in "
            "those of later cycles"
        )
    try:
        content = read_json(path)
        version = content["manifest"]
        if version == VERSION:
            manifest = msgspec.convert(content, Manifest)
            if manifest.cycle == number:
                return manifest
            raise ValueError(f"expected the manifest of cycle {number}, got that of {manifest.cycle}")
    except FileNotFoundError:
        raise WorkspaceError(f"{path} is missing. The next run writes it again: al-loop cycle") from None
    except KeyError:
        raise WorkspaceError(
            f"{path} was written by an older al-loop, which recorded less than this one checks. "
            f"{_REWRITE_HINT}"
        ) from None
    except (OSError, ValueError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise WorkspaceError(f"{path} is damaged ({error}). {_REWRITE_HINT}") from None
    advice = _REWRITE_HINT if isinstance(version, int) and version < VERSION else "Upgrade al-loop"
    raise WorkspaceError(f"{path} has format {version}, this al-loop knows {VERSION}. {advice}")


def write_manifest(workspace: Workspace, number: int) -> Path:
    """Write the manifest of a cycle and return its path. The same cycle gives the same manifest."""
    store = workspace.store
    row = read_cycle(store, number)
    if row is None:
        raise KeyError(f"no cycle {number}")
    folder = workspace.cycle_dir(number)
    start, candidate = read_model(store, row.model_id), model_of_cycle(store, number)
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
        "validation_images": row.validation_images,
        "outcome": row.outcome,
        "reason": row.reason,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "settings": masked_in(msgspec.to_builtins(settings)),
        "model": _model(workspace, start),
        "candidate": _model(workspace, candidate),
        "pool": {"images": len(pool), "hash": pool_hash(pool)},
        # Columns may grow later: record their current size, and the hash of that many bytes.
        "scores": {
            str(path.relative_to(workspace.root)): {"bytes": end, "sha256": file_sha256(path, end)}
            for path, end in sorted(scores.items())
        },
        "selected_with": hash_of(folder / "select" / KNOWN),
        "labels": output_of_cycle(workspace, number, "pull") or None,
        "self_training": _self_training(workspace, candidate),
        "picks": [
            {name: getattr(pick, name) for name in _PICK_FIELDS} for pick in picked_images(store, number)
        ],
        "metrics": {"before": _metrics(workspace, start), "after": _metrics(workspace, candidate)},
        "versions": versions(),
    }
    path = folder / MANIFEST
    write_json(path, manifest)
    note_file(workspace, path, file_sha256(path))
    return path


def complete_manifests(workspace: Workspace) -> None:
    """Write the missing manifests of finished cycles. A cycle that was killed at the very end has none."""
    for number in complete_numbers(workspace.store):
        if not (workspace.cycle_dir(number) / MANIFEST).is_file():
            write_manifest(workspace, number)


def _model(workspace: Workspace, row: ModelRow | None) -> dict[str, Any] | None:
    """Return a model's hashes. Hash the config file if the database has no hash of it."""
    if row is None:
        return None
    config = row.config_sha256 or hash_of(config_file(workspace.model_dir(row.id), None))
    return {"id": row.id, "weights_sha256": row.weights_sha256, "config_sha256": config}


def _self_training(workspace: Workspace, model: ModelRow | None) -> Any:
    """Return how the training with unlabelled images ended. None without one."""
    if model is None:
        return None
    output = output_of(workspace.store, model.id, "train", workspace.model_dir(model.id))
    return output.get("self_training")


def _metrics(workspace: Workspace, model: ModelRow | None) -> Any:
    """Return the metrics of a model; those of masks with the hash of the set, for `verify`."""
    evaluation = read_evaluation(workspace.store, model.id) if model else None
    if evaluation is None:
        return None
    plain = metrics_to_plain(evaluation.metrics)
    return plain | ({"validation_hash": evaluation.validation_hash} if evaluation.metrics.masks else {})

"""The workspace's models: which there are, which is current, how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.errors import ModelError
from al_loop.core.files import file_sha256
from al_loop.state.database import model_table
from al_loop.state.database.model_table import ModelRow
from al_loop.state.workspace import Workspace, now
from al_loop.structures.metrics import VALIDATION, Metrics

WEIGHTS = "weights.pth"
CONFIG = "config.json"
#: What older workspaces have in its place; it is read, and never executed.
OLD_CONFIG = "config.py"
#: Model configs that come with al-loop.
SHIPPED = ("r50", "small")


@dataclass(frozen=True)
class Model:
    """A model of the workspace; `folder` holds its weights and the resolved config they belong to."""

    id: str
    parent: str | None
    origin: str
    cycle: int | None
    folder: Path
    weights_sha256: str
    created_at: str
    removed_at: str | None = None  # its files were deleted by gc
    config_sha256: str | None = None  # None: made by an al-loop that did not note it

    @property
    def weights(self) -> Path:
        """Return the file of the weights."""
        return self.folder / WEIGHTS

    @property
    def config(self) -> Path:
        """Return the file of the resolved config."""
        return config_file(self.folder, self.config_sha256)


def config_file(folder: Path, sha256: str | None) -> Path:
    """Return the file of a model's config: that of an older al-loop where there is no other and no hash was noted."""
    new, old = folder / CONFIG, folder / OLD_CONFIG
    return old if sha256 is None and not new.is_file() and old.is_file() else new


class WeightsGuard:
    """The weights of a model that a run uses: they must stay what they are, or what it finds belongs to no model."""

    def __init__(self, model: Model) -> None:
        """Look at the file, before it is read."""
        self._model, self._seen = model, _stamp(model.weights)

    def check(self) -> None:
        """Raise ModelError where the file is another one now; it is read only if its size or time is another."""
        path, expected = self._model.weights, self._model.weights_sha256
        seen = _stamp(path)
        if seen == self._seen:
            return
        got = "no file" if seen is None else file_sha256(path)
        if got != expected:
            raise ModelError(
                f"{path} was changed during the run: expected SHA-256 {expected}, got {got}. All that is kept was made by "
                "the weights as they were. Put the file back, or use another model (al-loop models list); then run the "
                "same command again"
            )
        self._seen = seen


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with a file: its number, size and time; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def current_model(workspace: Workspace) -> Model:
    """Return the model in use; ModelError says how to get a first one."""
    row = model_table.newest_promotion(workspace.store)
    if row is None:
        raise ModelError(
            "no model yet. Make one: al-loop render RECIPE --count 400, then al-loop pretrain; "
            "or: al-loop models import CHECKPOINT"
        )
    return get_model(workspace, row.model_id)


def has_model(workspace: Workspace) -> bool:
    """Say whether a model is in use."""
    return model_table.newest_promotion(workspace.store) is not None


def get_model(workspace: Workspace, model_id: str) -> Model:
    """Return a model by id; ModelError lists those there are."""
    row = model_table.read_model(workspace.store, model_id)
    if row is None:
        known = ", ".join(model_table.model_ids(workspace.store))
        raise ModelError(f"no model {model_id!r}; there are: {known or 'none'}. See: al-loop models list")
    return _model(workspace, row)


def all_models(workspace: Workspace) -> list[Model]:
    """Return every model, oldest first."""
    return [_model(workspace, row) for row in model_table.all_models(workspace.store)]


def descent(every: Sequence[Model]) -> list[tuple[int, Model]]:
    """Return the models with each below what it was made from, and how many models lie above it."""
    below: dict[str | None, list[Model]] = {}
    for model in every:
        below.setdefault(model.parent, []).append(model)
    found: list[tuple[int, Model]] = []
    left = [(0, model) for model in reversed(below.get(None, []))]
    while left:
        depth, model = left.pop()
        found.append((depth, model))
        left += [(depth + 1, child) for child in reversed(below.get(model.id, []))]
    return found


def register_model(
    workspace: Workspace,
    model_id: str,
    origin: str,
    weights_sha256: str,
    parent: str | None,
    cycle: int | None,
    config_sha256: str | None = None,
) -> Model:
    """Record a model whose folder is complete; doing it again changes nothing.

    A candidate that was trained again before its cycle ended, on other labels, replaces the first: what
    was known of that one is forgotten.
    """
    row = ModelRow(model_id, parent, origin, cycle, weights_sha256, now(), None, config_sha256)
    with workspace.store.transaction():
        model_table.write_model(workspace.store, row)
    return get_model(workspace, model_id)


def promote(workspace: Workspace, model: Model, reason: str) -> None:
    """Make a model the current one; nothing happens if it is. ModelError where its files are gone."""
    if model.removed_at is not None:
        raise ModelError(
            f"the files of {model.id} were deleted by gc on {model.removed_at}. Choose another: al-loop models list"
        )
    if not (has_model(workspace) and current_model(workspace).id == model.id):
        model_table.insert_promotion(workspace.store, model.id, reason, now())


def rollback(workspace: Workspace, model_id: str | None = None) -> tuple[Model, Model]:
    """Go back to an earlier model, by default the one before the current; return (old, new) current.

    Raises ModelError when there is nothing to go back to.
    """
    current = current_model(workspace)
    if model_id is None:
        model_id = model_table.promoted_before(workspace.store, current.id)
        if model_id is None:
            raise ModelError(
                f"{current.id} is the first model: there is none to go back to. See: al-loop models list"
            )
    target = get_model(workspace, model_id)
    if target.id == current.id:
        raise ModelError(f"{target.id} is the current model already. See: al-loop models list")
    promote(workspace, target, f"rolled back from {current.id}")
    return current, target


def save_metrics(
    workspace: Workspace, model_id: str, validation_hash: str, metrics: Metrics, name: str = VALIDATION
) -> None:
    """Keep what a model reached on the validation set, or on another of that name."""
    model_table.write_evaluation(workspace.store, model_id, validation_hash, metrics, name)


def saved_metrics(
    workspace: Workspace, model_id: str, validation_hash: str | None = None, name: str = VALIDATION
) -> Metrics | None:
    """Return a model's metrics on the set of that hash, or on the last one of that name it was judged on."""
    found = model_table.read_evaluation(workspace.store, model_id, validation_hash, name)
    return found.metrics if found else None


def _model(workspace: Workspace, row: ModelRow) -> Model:
    return Model(
        row.id,
        row.parent,
        row.origin,
        row.cycle,
        workspace.model_dir(row.id),
        row.weights_sha256,
        row.created_at,
        row.removed_at,
        row.config_sha256,
    )
